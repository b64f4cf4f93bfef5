from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import patient_numbers, resample_counts
from covidcxr_tf.evaluate.classification import OVERALL, PER_CLASS, call_classes, confusion, evaluate_table
from covidcxr_tf.evaluate.thresholds import choose_threshold, fixed_threshold


def table(labels: list[str], probs: Any, classes: tuple[str, ...] = ("normal", "covid19")) -> pd.DataFrame:
    count = len(labels)
    films = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "label": labels,
            "split": "test",
            "source": "cohen",
        }
    )
    probs = np.asarray(probs, float)
    probs = np.stack([1 - probs, probs], axis=1) if probs.ndim == 1 else probs
    for number, name in enumerate(classes):
        films[f"prob_{name}"] = probs[:, number]
    return films


def random_table(films: int, classes: tuple[str, ...], seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    truth = np.append(np.arange(len(classes)), generator.integers(0, len(classes), films - len(classes)))
    scores = generator.normal(size=(films, len(classes)))
    scores[np.arange(films), truth] += 1
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    result = table([classes[k] for k in truth], probs, classes)
    result["source"] = np.where(generator.random(films) < 0.5, "a", "b")
    return result


SICK, WELL = "covid19", "normal"


def test_hand_worked() -> None:
    # called at .5: + + - + - -   truth: + + + - - -
    films = table([SICK] * 3 + [WELL] * 3, [0.9, 0.6, 0.3, 0.8, 0.2, 0.1])
    found = evaluate_table(films, resamples=200)
    assert (found["n"], found["patients"], found["classes"], found["positive"]) == (6, 6, [WELL, SICK], SICK)
    assert found["confusion"] == [[2, 1], [1, 2]]
    assert found["accuracy"]["value"] == found["balanced_accuracy"]["value"] == 4 / 6
    sick = found["per_class"][SICK]
    assert sick["support"] == 3
    assert [sick[name]["value"] for name in ("sensitivity", "specificity", "precision", "f1")] == [2 / 3] * 4
    # pairs in the right order: .9 beats 3, .6 beats 2, .3 beats 2
    assert found["auroc"]["value"] == sick["auroc"]["value"] == pytest.approx(7 / 9)
    # precision at each positive: 1/1, 2/3, 3/4
    assert found["auprc"]["value"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # (.1^2 + .4^2 + .7^2 + .8^2 + .2^2 + .1^2) / 6
    assert found["brier"]["value"] == pytest.approx((0.01 + 0.16 + 0.49 + 0.64 + 0.04 + 0.01) / 6)
    # six films make one bin: mean .4833 against a share of .5
    assert found["ece"]["value"] == pytest.approx(0.5 - 2.9 / 6)
    assert found["threshold"] is None
    assert found["threshold_from"] == "argmax"
    assert found["schema_version"] == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 3, 5]))
def test_agrees_with_scikit_learn(seed: int, number: int) -> None:
    classes = tuple(f"c{k}" for k in range(number))
    films = random_table(40, classes, seed)
    found = evaluate_table(films, resamples=0)
    truth = films["label"].str[1:].astype(int).to_numpy()
    probs = films[[f"prob_{name}" for name in classes]].to_numpy()
    called = probs.argmax(axis=1)
    assert found["confusion"] == oracle.confusion_matrix(truth, called, labels=range(number)).tolist()
    expected = {
        "accuracy": oracle.accuracy_score(truth, called),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, called),
        "macro_f1": oracle.f1_score(truth, called, average="macro"),
        "brier": oracle.brier_score_loss(truth, probs, labels=range(number)),
        "auroc": oracle.roc_auc_score(truth, probs[:, 1])
        if number == 2
        else oracle.roc_auc_score(truth, probs, multi_class="ovr", average="macro"),
        "auprc": oracle.average_precision_score(truth, probs[:, 1])
        if number == 2
        else oracle.average_precision_score(np.eye(number)[truth], probs, average="macro"),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-12), name
    for k, name in enumerate(classes):
        entry = found["per_class"][name]
        assert entry["support"] == (truth == k).sum()
        assert entry["sensitivity"]["value"] == pytest.approx(oracle.recall_score(truth == k, called == k))
        assert entry["specificity"]["value"] == pytest.approx(oracle.recall_score(truth != k, called != k))
        assert entry["f1"]["value"] == pytest.approx(oracle.f1_score(truth == k, called == k))
        assert entry["auroc"]["value"] == pytest.approx(oracle.roc_auc_score(truth == k, probs[:, k]))
        if (called == k).any():
            assert entry["precision"]["value"] == pytest.approx(oracle.precision_score(truth == k, called == k))
        else:
            assert entry["precision"]["why"] == f"no film was called {name}"


def test_bootstrap_equals_scikit_learn_on_written_out_resamples() -> None:
    films = random_table(50, ("a", "b", "c"), 3)
    films["patient_id"] = [f"p{i // 3}" for i in range(50)]
    found = evaluate_table(films, resamples=60, seed=5)
    numbers, patients = patient_numbers(films["patient_id"].to_numpy(object))
    (counts,) = resample_counts(patients, 60, 5, 60)
    probs = films[["prob_a", "prob_b", "prob_c"]].to_numpy()
    truth = films["label"].map({"a": 0, "b": 1, "c": 2}).to_numpy()
    accuracy, auroc, sensitivity = [], [], []
    for k in range(60):
        rows = np.repeat(np.arange(50), counts[numbers, k].astype(int))
        accuracy.append(oracle.accuracy_score(truth[rows], probs[rows].argmax(axis=1)))
        auroc.append(oracle.roc_auc_score(truth[rows], probs[rows], multi_class="ovr"))
        sensitivity.append(np.mean(probs[rows].argmax(axis=1)[truth[rows] == 1] == 1))
    bounds = (0.025, 0.975)
    assert found["accuracy"]["ci95"] == pytest.approx(np.quantile(accuracy, bounds).tolist())
    assert found["auroc"]["ci95"] == pytest.approx(np.quantile(auroc, bounds).tolist())
    assert found["per_class"]["b"]["sensitivity"]["ci95"] == pytest.approx(np.quantile(sensitivity, bounds).tolist())


def test_intervals_hold_their_values_and_shrink_with_patients() -> None:
    def width(films: int) -> float:
        found = evaluate_table(random_table(films, ("a", "b"), 1), resamples=500)
        for name in OVERALL:
            lower, upper = found[name]["ci95"]
            assert lower < upper
            # The error of calibration may be its own upper bound, see calibration_error.
            assert lower < found[name]["value"] < upper or (name == "ece" and lower < found[name]["value"] == upper)
        return float(np.diff(found["accuracy"]["ci95"])[0])

    assert width(900) / width(100) == pytest.approx(1 / 3, rel=0.35)


def test_films_of_one_patient_do_not_narrow_the_interval() -> None:
    single = random_table(100, ("a", "b"), 2)
    fourfold = pd.concat([single] * 4, ignore_index=True)
    fourfold["path"] = [f"{i}.png" for i in range(400)]
    as_patients = evaluate_table(fourfold, resamples=800)["auroc"]
    as_films = evaluate_table(fourfold.assign(patient_id=fourfold["path"]), resamples=800)["auroc"]
    alone = evaluate_table(single, resamples=800)["auroc"]
    assert as_patients["value"] == pytest.approx(alone["value"])
    assert as_patients["ci95"] == pytest.approx(alone["ci95"], abs=1e-9)
    assert np.diff(as_patients["ci95"]) > 1.6 * np.diff(as_films["ci95"])


def test_same_seed_same_document_and_order_of_films_does_not_move_values() -> None:
    films = random_table(60, ("a", "b", "c"), 4)
    first = evaluate_table(films, resamples=100, seed=1)
    assert first == evaluate_table(films, resamples=100, seed=1)
    assert first["accuracy"]["ci95"] != evaluate_table(films, resamples=100, seed=2)["accuracy"]["ci95"]
    turned = evaluate_table(films.iloc[::-1], resamples=100, seed=1)
    for name in OVERALL:
        assert turned[name]["value"] == pytest.approx(first[name]["value"])


def walk(node: Any) -> list[dict[str, Any]]:
    """Every metric in a document."""
    if isinstance(node, dict):
        own = [node] if "value" in node else []
        return own + [metric for child in node.values() for metric in walk(child)]
    return []


@pytest.mark.parametrize(
    "films",
    [
        table([SICK] * 5, [0.1, 0.9, 0.8, 0.6, 0.7]),
        table([WELL] * 5, [0.1, 0.9, 0.8, 0.6, 0.7]),
        table([SICK, WELL], [0.5, 0.5]),
        table([SICK], [0.9]),
        table([SICK, WELL] * 9, [0.9] * 18),
        random_table(12, ("a", "b", "c", "d"), 1),
        random_table(12, ("a", "b", "c"), 1).replace({"label": {"c": "a"}}),
    ],
    ids=["sick only", "well only", "two films", "one film", "all called sick", "four classes", "a class missing"],
)
def test_what_is_undefined_is_null_with_a_reason_and_never_nan(films: pd.DataFrame) -> None:
    found = evaluate_table(films, resamples=80)
    json.dumps(found, allow_nan=False)
    metrics = walk(found)
    assert len(metrics) > len(OVERALL) + 2 * len(PER_CLASS)
    for metric in metrics:
        if metric["value"] is None:
            assert metric["ci95"] is None
            assert metric["why"]
        else:
            assert math.isfinite(metric["value"])
            assert metric["ci95"] is not None or metric["why"]


def test_reasons() -> None:
    found = evaluate_table(table([SICK] * 5, [0.6, 0.9, 0.8, 0.6, 0.7]), resamples=50)
    assert found["accuracy"]["value"] == 1
    assert found["auroc"]["why"] == found["auprc"]["why"] == "every film is covid19"
    assert found["balanced_accuracy"]["why"] == found["macro_f1"]["why"] == "no film is normal"
    well, sick = found["per_class"][WELL], found["per_class"][SICK]
    assert well["sensitivity"]["why"] == well["f1"]["why"] == well["auroc"]["why"] == "no film is normal"
    assert well["precision"]["why"] == "no film was called normal"
    assert well["specificity"]["value"] == 1
    assert sick["specificity"]["why"] == "every film is covid19"
    assert sick["sensitivity"]["value"] == 1
    missing = random_table(12, ("a", "b", "c"), 1).replace({"label": {"c": "a"}})
    assert evaluate_table(missing, resamples=50)["auroc"]["why"] == "no film is c"


def test_one_patient_has_values_and_no_intervals() -> None:
    found = evaluate_table(random_table(20, ("a", "b"), 1).assign(patient_id="p", source="a"), resamples=50)
    assert found["patients"] == 1
    for metric in walk(found):
        assert metric["ci95"] is None
        assert "two" in metric["why"]
        assert metric["value"] is not None


def test_a_perfect_ranking_and_a_constant_one() -> None:
    perfect = evaluate_table(table([SICK] * 10 + [WELL] * 10, [0.9] * 10 + [0.1] * 10), resamples=100)["auroc"]
    assert (perfect["value"], perfect["ci95"]) == (1, [1, 1])
    assert "understates" in perfect["note"]
    constant = evaluate_table(table([SICK] * 10 + [WELL] * 10, [0.5] * 20), resamples=100)["auroc"]
    assert (constant["value"], constant["ci95"]) == (0.5, [0.5, 0.5])


def test_resamples_without_the_class_are_dropped_and_told() -> None:
    found = evaluate_table(table([SICK, *[WELL] * 9], np.linspace(0.9, 0.1, 10)), resamples=2000)
    share = found["per_class"][SICK]["sensitivity"]["undefined_share"]
    # one patient of ten is missed by (9/10)^10 of the resamples
    assert share == pytest.approx(0.9**10, abs=0.04)
    assert "undefined_share" not in found["accuracy"]


def test_threshold_decides_who_is_called() -> None:
    films = table([SICK] * 2 + [WELL] * 2, [0.9, 0.6, 0.6, 0.1])
    films["predicted"] = [SICK, SICK, SICK, WELL]
    plain, high, low = (evaluate_table(films, threshold=t, resamples=20) for t in (None, 0.7, 0.0))
    assert plain["confusion"] == [[1, 1], [0, 2]]
    assert plain["predicted_changed"] == 0
    assert high["confusion"] == [[2, 0], [1, 1]]
    assert high["predicted_changed"] == 2
    assert (high["threshold"], high["threshold_from"]) == (0.7, "given")
    assert low["confusion"] == [[0, 2], [0, 2]]
    # at the threshold is positive, and ranking does not care
    assert evaluate_table(films, threshold=0.6, resamples=0)["confusion"] == plain["confusion"]
    assert high["auroc"]["value"] == plain["auroc"]["value"]
    # with the other class as the positive one, .3 for it is what .7 was for this
    assert evaluate_table(films, positive=WELL, threshold=0.45, resamples=0)["confusion"] == [[1, 1], [0, 2]]


def test_threshold_objects_carry_their_origin() -> None:
    films = random_table(40, (WELL, SICK), 2)
    chosen = choose_threshold(films.assign(split="validation"))
    found = evaluate_table(films, threshold=chosen, resamples=0)
    assert (found["threshold"], found["threshold_from"]) == (chosen.value, chosen.threshold_from)
    assert found["per_class"][SICK]["sensitivity"]["value"] == chosen.sensitivity
    assert found["per_class"][SICK]["specificity"]["value"] == chosen.specificity
    assert "beforehand" in evaluate_table(films, threshold=fixed_threshold(0.9), resamples=0)["threshold_from"]


def test_call_classes_and_confusion() -> None:
    probs = np.array([[0.4, 0.6], [0.8, 0.2]])
    assert call_classes(probs, 1, None).tolist() == [1, 0]
    assert call_classes(probs, 1, 0.1).tolist() == [1, 1]
    assert call_classes(probs, 0, 0.9).tolist() == [1, 1]
    assert confusion(np.array([0, 2, 2]), np.array([1, 2, 2]), 3).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 2]]


def test_within_source_shows_what_pooling_hides() -> None:
    # The score knows the hospital and nothing else: all of `b` is sick.
    labels = [SICK, WELL] * 10 + [SICK] * 20
    films = table(labels, [0.3, 0.3] * 10 + [0.8] * 20)
    films["source"] = ["a"] * 20 + ["b"] * 20
    found = evaluate_table(films, resamples=100)
    assert found["auroc"]["value"] == pytest.approx((20 + 10 / 2) / 30)
    assert found["within_source"]["a"]["value"] == 0.5
    assert (found["within_source"]["a"]["positives"], found["within_source"]["a"]["rest"]) == (10, 10)
    assert found["within_source"]["b"] == {
        "value": None,
        "ci95": None,
        "why": "every film is covid19",
        "positives": 20,
        "rest": 0,
    }
    assert found["by_source"]["a"]["n"] == found["by_source"]["b"]["n"] == 20
    assert found["by_source"]["b"]["accuracy"]["value"] == 1
    assert found["by_source"]["b"]["support"] == {WELL: 0, SICK: 20}
    assert found["by_source"]["b"]["sensitivity"]["value"] == 1


def test_films_of_unknown_source_have_no_within_source_area() -> None:
    films = random_table(30, (WELL, SICK), 1).drop(columns=["source", "split"])
    found = evaluate_table(films, resamples=20)
    assert found["within_source"]["unknown"]["value"] is None
    assert "not given" in found["within_source"]["unknown"]["why"]
    assert found["by_source"]["unknown"]["auroc"]["value"] == found["auroc"]["value"]
    assert found["splits"] == []


def test_within_source_is_about_the_positive_class_of_several() -> None:
    films = random_table(60, ("a", "b", "c"), 5)
    found = evaluate_table(films, positive="b", resamples=20)
    for source, part in films.groupby("source"):
        expected = oracle.roc_auc_score(part["label"] == "b", part["prob_b"])
        assert found["within_source"][source]["value"] == pytest.approx(expected)
    assert found["auroc"]["kind"] == "mean over classes, each against the rest"


def test_wrong_calls() -> None:
    films = random_table(20, ("a", "b", "c"), 1)
    with pytest.raises(UsageError, match="'flu' is no class of the table; expected a, b, c"):
        evaluate_table(films, positive="flu")
    with pytest.raises(UsageError, match="a threshold with 3 classes"):
        evaluate_table(films, threshold=0.5)
    with pytest.raises(UsageError, match=r"threshold -0\.1"):
        evaluate_table(random_table(20, ("a", "b"), 1), threshold=-0.1)
    with pytest.raises(ManifestError, match="row 3"):
        films.loc[1, "prob_a"] = np.nan
        evaluate_table(films)


def test_films_can_be_judged_as_they_were_called() -> None:
    films = table([SICK, SICK, WELL, WELL], [0.9, 0.2, 0.4, 0.1]).assign(predicted=[SICK, SICK, SICK, WELL])
    found = evaluate_table(films, SICK, resamples=0, as_called=True)
    assert found["confusion"] == [[1, 1], [0, 2]] and found["predicted_changed"] == 0
    assert (found["threshold"], found["threshold_from"]) == (None, "each film as it was called")
    assert evaluate_table(films, SICK, resamples=0)["confusion"] == [[2, 0], [1, 1]]
    with pytest.raises(UsageError, match="one of the two"):
        evaluate_table(films, SICK, 0.5, resamples=0, as_called=True)
    with pytest.raises(ManifestError, match="column predicted is missing"):
        evaluate_table(films.drop(columns="predicted"), SICK, resamples=0, as_called=True)
