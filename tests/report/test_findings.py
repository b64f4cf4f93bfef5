from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.multilabel import evaluate_findings
from covidcxr_tf.report import figures
from covidcxr_tf.report.evaluation import judge_predictions
from covidcxr_tf.report.findings import draw_finding_areas
from covidcxr_tf.report.summary import summarise


def table() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    present = generator.random((60, 3)) < 0.4
    present[:, 2] = False
    chances = 1 / (1 + np.exp(-(np.array([0.3, 3.0, 1.0]) * present + generator.normal(size=(60, 3)))))
    names = np.array(["Edema", "Mass", "Pleural_Thickening"])
    words = ["|".join(names[row]) or "No Finding" for row in present]
    words[0] = ""
    columns = {f"prob_{name}": chances[:, k] for k, name in enumerate(names)}
    people = {"path": [f"{k}.png" for k in range(60)], "patient_id": [f"p{k // 2}" for k in range(60)]}
    return pd.DataFrame({**people, "label": "other", "findings": words, **columns})


def test_the_best_ranked_stands_on_top_and_the_undefined_at_the_bottom() -> None:
    metrics = evaluate_findings(table(), resamples=50)
    _, (axes,) = figures.new_figure()
    draw_finding_areas(metrics, axes)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    support = {name: found["support"] for name, found in metrics["per_class"].items()}
    assert labels == [f"Mass (n = {support['Mass']})", f"Edema (n = {support['Edema']})", "Pleural Thickening (n = 0)"]
    assert [text.get_text() for text in axes.texts] == ["undefined: no film has Pleural_Thickening"]
    drawn = [tuple(np.asarray(line.get_xdata(), float)) for line in axes.lines]
    assert tuple(metrics["per_class"]["Edema"]["auroc"]["ci95"]) in drawn


def test_a_table_of_findings_is_judged_as_such(tmp_path: Path) -> None:
    metrics = judge_predictions(table(), tmp_path, resamples=20)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"findings.png", "findings.csv"}
    data = pd.read_csv(tmp_path / "figures" / "findings.csv")
    assert data["finding"].tolist() == ["Mass", "Edema", "Pleural_Thickening"]
    assert data["auroc"].isna().tolist() == [False, False, True]
    with pytest.raises(UsageError, match="of a model of findings"):
        judge_predictions(table(), tmp_path, positive="Mass")


def test_the_summary_names_each_finding_and_what_is_left_out() -> None:
    text = summarise(evaluate_findings(table(), resamples=20))
    assert "AUC of Mass " in text and "AUC, mean over findings" in text
    assert "AUC of Pleural_Thickening              undefined: no film has Pleural_Thickening, n = 0 against 59" in text
    assert "leaves out Pleural_Thickening" in text and "as their findings are not known: 1" in text


def test_nothing_can_be_ranked() -> None:
    metrics = evaluate_findings(table().assign(findings="Edema|Mass"), resamples=10)
    _, (axes,) = figures.new_figure()
    draw_finding_areas(metrics, axes)
    assert len(axes.texts) == 3 and axes.get_legend() is None
