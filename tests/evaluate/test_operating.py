from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.calibration import brier, calibration_line
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.operating import class_facts, operating_point
from covidcxr_tf.evaluate.proportions import wilson


def table(classes: tuple[str, ...] = ("normal", "covid19"), count: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(len(classes)), count)
    truth = (probs.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "label": [classes[k] for k in truth],
            **{f"prob_{name}": probs[:, k] for k, name in enumerate(classes)},
        }
    )


def test_a_point_by_hand() -> None:
    scores, sick = np.array([0.9, 0.6, 0.3, 0.7, 0.2, 0.1]), np.array([1, 1, 1, 0, 0, 0], bool)
    point = operating_point(scores, sick, np.arange(6).astype(object), 0.6)
    assert (point["threshold"], point["called"]) == (0.6, 3)
    assert point["sensitivity"]["value"] == point["specificity"]["value"] == pytest.approx(2 / 3)
    assert point["sensitivity"]["ci95"] == pytest.approx(wilson(2, 3))
    assert "ppv" not in point
    # 2/3 of a tenth against 1/3 of nine tenths
    stated = operating_point(scores, sick, np.arange(6).astype(object), 0.6, prevalence=0.1)
    assert stated["ppv"]["value"] == pytest.approx(2 / 11)


@pytest.mark.parametrize("classes", [("normal", "covid19"), ("normal", "pneumonia", "covid19")])
def test_metrics_hold_the_facts_of_the_positive_class(classes: tuple[str, ...]) -> None:
    films = table(classes)
    metrics = evaluate_table(films, resamples=20, prevalence=0.1)
    scores, sick = films["prob_covid19"].to_numpy(), (films["label"] == "covid19").to_numpy()
    patients = films["patient_id"].to_numpy(object)
    facts = class_facts(scores, sick, patients, None, 0.1)
    assert {name: metrics[name] for name in facts} == facts
    assert metrics["prevalence"] == 0.1
    assert [point["threshold"] for point in metrics["operating_points"]] == [0.5, 0.9]
    assert metrics["calibration"]["slope"] == calibration_line(scores, sick, patients)["slope"]
    parts = metrics["calibration"]["brier_parts"]
    assert parts["brier"] == pytest.approx(brier(np.stack([1 - scores, scores], axis=1), sick.astype(int)))


def test_the_cut_off_in_use_comes_first_and_agrees_with_the_metrics() -> None:
    metrics = evaluate_table(table(), threshold=0.3, resamples=20)
    first = metrics["operating_points"][0]
    assert [point["threshold"] for point in metrics["operating_points"]] == [0.3, 0.5, 0.9]
    for name in ("sensitivity", "specificity"):
        assert first[name]["value"] == pytest.approx(metrics["per_class"]["covid19"][name]["value"])
    twice = evaluate_table(table(), threshold=0.5, resamples=20)
    assert [point["threshold"] for point in twice["operating_points"]] == [0.5, 0.9]


def test_one_side_is_null_and_says_why() -> None:
    films = table()
    films["label"] = "covid19"
    metrics = evaluate_table(films, resamples=20, prevalence=0.2)
    assert metrics["calibration"]["slope"]["why"] == "films of one side only"
    point = metrics["operating_points"][0]
    assert (point["specificity"]["value"], point["specificity"]["why"]) == (None, "no film without the class")
    assert (point["ppv"]["value"], point["ppv"]["why"]) == (None, "no film without the disease")
    assert metrics["decision"] == {"better": None, "why": "films of one side only"}


def test_wrong_prevalence() -> None:
    with pytest.raises(UsageError, match="prevalence 5"):
        evaluate_table(table(), resamples=20, prevalence=5)


def test_what_is_micro_and_what_is_macro_is_said() -> None:
    metrics = evaluate_table(table(("a", "b", "c")), resamples=20)
    assert metrics["accuracy"]["kind"].startswith("micro")
    assert "macro" in metrics["macro_f1"]["kind"]
    assert "macro" in metrics["balanced_accuracy"]["kind"]
