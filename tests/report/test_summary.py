from __future__ import annotations

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.report.summary import caveats, format_metric, summarise, summary_rows


def films(classes: tuple[str, ...] = ("normal", "covid19"), count: int = 40) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    truth = np.arange(count) % len(classes)
    probs = generator.dirichlet(np.ones(len(classes)), count)
    columns = {f"prob_{name}": probs[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "label": [classes[k] for k in truth],
            "source": "cohen",
            **columns,
        }
    )


def test_format() -> None:
    assert format_metric({"value": 0.91249, "ci95": [0.88, 0.9412]}) == "0.912 (0.880 to 0.941)"
    assert format_metric({"value": 0.5, "ci95": None, "why": "one patient"}, 2) == "0.50 (no interval: one patient)"
    assert format_metric({"value": None, "ci95": None, "why": "no film is x"}) == "undefined: no film is x"
    assert format_metric(None) == "undefined: not computed"


def test_figures_within_a_source_come_before_pooled_ones() -> None:
    data = films()
    data.loc[data.index % 4 == 1, "source"] = "hannover"
    names = [name for name, _ in summary_rows(evaluate_table(data, resamples=30))]
    assert names.index("AUC of covid19 within cohen") < names.index("AUC")
    assert "AUC of covid19 within hannover" not in names
    text = summarise(evaluate_table(data, resamples=30))
    assert "all sources pooled" in text
    assert "note: 1 of 2 sources do not hold both covid19 and other films" in text
    assert "read those within cohen" in text


def test_one_source_with_both_classes_gives_no_such_note() -> None:
    metrics = evaluate_table(films(count=80), threshold=0.4, resamples=30, threshold_from="validation, x")
    assert caveats(metrics) == []
    assert ("called", "covid19 from 0.4 on, validation, x") in summary_rows(metrics)


def test_small_classes_and_unknown_sources_are_named() -> None:
    notes = caveats(evaluate_table(films().drop(columns="source"), resamples=30))
    assert any("source is not given" in note for note in notes)
    assert any("smallest class has 20 films" in note for note in notes)


def test_more_classes_name_each() -> None:
    names = [name for name, _ in summary_rows(evaluate_table(films(("a", "b", "c"), 60), resamples=30))]
    assert "AUC, mean over classes" in names
    assert {f"sensitivity for {name}" for name in "abc"} <= set(names)


def test_masks_and_several_splits() -> None:
    scores = pd.DataFrame({"patient_id": list("abc"), "dice": [0.9, 0.92, 0.97], "jaccard": [0.8, 0.85, 0.9]})
    masks = evaluate_masks(scores, resamples=30)
    text = dict(summary_rows(masks))
    assert text["Dice"].startswith("0.930 (")
    assert "median 0.920, 5th pct. 0.902" in text["Dice"]
    both = summary_rows({"validation": masks, "test": masks})
    assert len(both) == 2 * len(text)
    assert both[0][0] == "validation: films, patients"
