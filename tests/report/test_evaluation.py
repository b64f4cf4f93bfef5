from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.report.evaluation import draw_evaluation, judge_predictions


def films(classes: tuple[str, ...], count: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    truth = np.arange(count) % len(classes)
    probs = generator.dirichlet(np.ones(len(classes)), count)
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "label": [classes[k] for k in truth],
            "source": ["cohen", "cohen", "armiro", "armiro"] * (count // 4),
            **{f"prob_{name}": probs[:, k] for k, name in enumerate(classes)},
        }
    )


@pytest.mark.parametrize("classes", [("normal", "covid19"), ("a", "b", "c")])
def test_pictures_and_their_data(classes: tuple[str, ...], tmp_path: Path) -> None:
    table = films(classes)
    metrics = judge_predictions(table, tmp_path, resamples=40, seed=2)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics == evaluate_table(table, resamples=40, seed=2)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {"calibration", "confusion", "precision_recall", "roc", "roc_within_source"}
    stems |= {"decision"} if len(classes) == 2 else set()  # acting on one of more classes is no single decision
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".csv")}
    confusion = pd.read_csv(tmp_path / "figures" / "confusion.csv")
    assert confusion["films"].tolist() == np.ravel(metrics["confusion"]).tolist()
    roc = pd.read_csv(tmp_path / "figures" / "roc.csv")
    drawn = classes if len(classes) > 2 else ("covid19", "covid19 95 % band")
    assert set(roc["curve"]) == set(drawn)
    for name in classes[-1:]:
        curve = roc[roc["curve"] == name]
        area = np.trapezoid(curve["sensitivity"], curve["one_minus_specificity"])
        assert area == pytest.approx(metrics["per_class"][name]["auroc"]["value"])
    within = pd.read_csv(tmp_path / "figures" / "roc_within_source.csv")
    assert set(within["curve"]) == {f"{classes[-1]} within {source}" for source in ("cohen", "armiro")}


def test_one_class_only_is_drawn_without_curves(tmp_path: Path) -> None:
    table = films(("normal", "covid19"))
    table = table[table["label"] == "covid19"]
    written = draw_evaluation(table, evaluate_table(table, resamples=20), tmp_path, "_test", resamples=20)
    assert {path.name for path in written} == {
        f"{stem}_test.png" for stem in ("calibration", "confusion", "precision_recall", "roc")
    }
    assert all(path.is_file() for path in written)


def test_nothing_is_written_where_nothing_can_be_judged(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        judge_predictions(films(("normal", "covid19")), tmp_path / "out", positive="flu")
    assert not (tmp_path / "out").exists()
