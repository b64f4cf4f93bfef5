from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score

from covidcxr_tf.errors import DataError, ManifestError
from covidcxr_tf.evaluate.segmentation import dice, evaluate_masks, jaccard, missed_share, score_classes, score_masks


def test_hand_worked() -> None:
    truth = np.array([[1, 1, 0], [0, 0, 0]])
    predicted = np.array([[0, 1, 1], [1, 0, 0]])
    assert dice(truth, predicted) == 2 * 1 / (2 + 3)
    assert jaccard(truth, predicted) == 1 / 4
    # masks on disk are 0/255
    assert score_masks((truth * 255).astype(np.uint8), predicted) == {"dice": 0.4, "jaccard": 0.25}


def test_empty_masks() -> None:
    empty, full = np.zeros((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    for overlap in (dice, jaccard):
        assert overlap(empty, empty) == 1
        assert overlap(empty, full) == overlap(full, empty) == 0
        assert overlap(full, full) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2000))
def test_agrees_with_scikit_learn_and_with_each_other(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, predicted = (generator.random((2, 6, 5)) < generator.random()).astype(np.uint8)
    truth[0, 0] = 1
    one, other = dice(truth, predicted), jaccard(truth, predicted)
    assert one == pytest.approx(f1_score(truth.ravel(), predicted.ravel()))
    assert other == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel()))
    assert other == pytest.approx(one / (2 - one))
    assert one == dice(predicted, truth)


def test_large_masks_do_not_overflow() -> None:
    assert dice(np.ones((600, 600), np.uint8), np.ones((600, 600), np.uint8)) == 1


def test_shapes_must_agree() -> None:
    with pytest.raises(DataError, match=r"\(2, 3\) and \(3, 2\)"):
        dice(np.zeros((2, 3)), np.zeros((3, 2)))


def scores(films: int, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).uniform(0.8, 1, films)
    return pd.DataFrame(
        {
            "patient_id": [f"p{i // 2}" for i in range(films)],
            "source": np.where(np.arange(films) < films // 2, "a", "b"),
            "dice": values,
            "jaccard": values / (2 - values),
        }
    )


def test_summary() -> None:
    rows = scores(80)
    metrics = evaluate_masks(rows, resamples=500, seed=1)
    assert (metrics["n"], metrics["patients"]) == (80, 40)
    for name in ("dice", "jaccard"):
        entry = metrics[name]
        assert entry["value"] == entry["mean"] == pytest.approx(rows[name].mean())
        assert entry["ci95"][0] < entry["value"] < entry["ci95"][1]
        assert entry["median"] == pytest.approx(rows[name].median())
        assert entry["p05"] == pytest.approx(np.percentile(rows[name], 5))
    assert {name: part["n"] for name, part in metrics["by_source"].items()} == {"a": 40, "b": 40}
    assert metrics == evaluate_masks(rows, resamples=500, seed=1)


def test_no_source_and_one_patient() -> None:
    metrics = evaluate_masks(scores(2).drop(columns=["source", "jaccard"]), resamples=50)
    assert list(metrics["by_source"]) == ["unknown"]
    assert "jaccard" not in metrics
    assert metrics["dice"]["ci95"] is None
    assert metrics["dice"]["why"]


def test_classes_by_hand() -> None:
    truth = np.array([[0, 1, 1], [2, 2, 2]])
    predicted = np.array([[1, 1, 1], [2, 2, 0]])
    found = score_classes(truth, predicted, {"heart": 1, "left_lung": 2, "right_lung": 3})
    assert found == {
        "dice_heart": 4 / 5,
        "jaccard_heart": 2 / 3,
        "dice_left_lung": 4 / 5,
        "jaccard_left_lung": 2 / 3,
        "dice_right_lung": 1,  # nowhere and not found
        "jaccard_right_lung": 1,
    }


def test_classes_are_summed_over_the_films_that_show_them() -> None:
    rows = scores(40).assign(dice_heart=0.5, jaccard_heart=1 / 3, dice_spleen=np.nan, jaccard_spleen=np.nan)
    rows.loc[:9, "dice_heart"] = 1.0
    rows.loc[20:, ["dice_heart", "jaccard_heart"]] = np.nan
    metrics = evaluate_masks(rows, resamples=50)
    heart = metrics["by_class"]["heart"]
    assert (heart["n"], heart["patients"]) == (20, 10)
    assert heart["dice"]["value"] == 0.75
    assert heart["jaccard"]["value"] == pytest.approx(1 / 3)
    assert metrics["by_class"]["spleen"] == {"n": 0, "patients": 0, "why": "no film has a drawing of it"}
    # What is told of both lungs is what is told without classes.
    plain = evaluate_masks(scores(40), resamples=50)
    assert "by_class" not in plain
    assert {key: metrics[key] for key in plain} == plain


def test_an_impossible_overlap_of_a_class_is_named() -> None:
    rows = scores(4).assign(dice_heart=[0.5, np.nan, 1.5, 0.5])
    with pytest.raises(ManifestError, match="row 4, column dice_heart"):
        evaluate_masks(rows)


def test_broken_rows() -> None:
    rows = scores(4)
    rows.loc[2, "dice"] = np.nan
    with pytest.raises(ManifestError, match="row 4, column dice"):
        evaluate_masks(rows)
    for bad in (scores(4).drop(columns="patient_id"), scores(4).iloc[:0], scores(4)[["patient_id"]]):
        with pytest.raises(ManifestError, match="expected patient_id"):
            evaluate_masks(bad)


def test_what_is_left_out_counts_against_the_true_mask_alone() -> None:
    truth, found = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    truth[:2] = 1
    found[1:] = 1
    assert missed_share(truth, found) == 0.5  # what was found too much does not count
    assert missed_share(found, truth) == pytest.approx(8 / 12)
    assert missed_share(truth, np.zeros((4, 4))) == 1
    assert missed_share(np.zeros((4, 4)), truth) == 0
    with pytest.raises(DataError):
        missed_share(truth, found[:2])
