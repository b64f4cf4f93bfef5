from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from covidcxr_tf.evaluate.roc import RankedScores, areas, precision_recall_points, roc_band, roc_points


def test_hand_worked() -> None:
    # positives .9 .6 .3, negatives .8 .3: pairs right: .9 beats 2, .6 beats 1, .3 ties 1 -> 3.5 of 6.
    scores = np.array([0.9, 0.6, 0.3, 0.8, 0.3])
    positive = np.array([1, 1, 1, 0, 0], bool)
    auroc, auprc = areas(scores, positive)
    assert auroc == 3.5 / 6
    # precision at each positive: 1/1, 2/3, 3/5 (the tie takes both films)
    assert auprc == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_weights_count_films_several_times() -> None:
    scores, positive = np.array([0.9, 0.4, 0.6]), np.array([True, True, False])
    # the first film three times, the second once: pairs right 3 of 4
    assert areas(scores, positive, np.array([3, 1, 1]))[0] == 0.75
    assert areas(scores, positive, np.array([0, 1, 1]))[0] == 0


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_one_side_only_is_undefined(positive: list[bool]) -> None:
    auroc, auprc = areas(np.array([0.1, 0.9]), np.array(positive))
    assert np.isnan(auroc)
    assert np.isnan(auprc)
    assert roc_points(np.array([0.1, 0.9]), np.array(positive)) is None
    assert precision_recall_points(np.array([0.1, 0.9]), np.array(positive)) is None


def test_perfect_and_constant_scores() -> None:
    positive = np.array([False, False, True, True])
    assert areas(np.array([0.1, 0.2, 0.8, 0.9]), positive) == (1.0, 1.0)
    assert areas(np.array([0.9, 0.8, 0.2, 0.1]), positive)[0] == 0.0
    assert areas(np.full(4, 0.5), positive) == (0.5, 0.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([2, 5, 1000]))
def test_agrees_with_scikit_learn_with_ties_and_weights(seed: int, films: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, films) / levels
    positive = generator.random(films) < 0.5
    positive[:2] = [True, False]
    weights = generator.integers(0, 4, (films, 3)).astype(float)
    weights[:2] = 1
    auroc, auprc = RankedScores.sort(scores, positive).areas(weights)
    for k in range(3):
        assert auroc[k] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights[:, k]), abs=1e-12)
        expected = average_precision_score(positive, scores, sample_weight=weights[:, k])
        assert auprc[k] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40))
def test_area_is_the_chance_that_a_positive_scores_higher(films: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in films], float)
    positive = np.array([side for _, side in films])
    won = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    auroc, _ = areas(scores, positive)
    assert auroc == pytest.approx(np.mean(won), abs=1e-12) if won else np.isnan(auroc)
    # turning scores and sides over changes nothing
    assert areas(-scores, ~positive)[0] == pytest.approx(auroc, nan_ok=True, abs=1e-12)


def test_curve_areas_and_corners() -> None:
    generator = np.random.default_rng(3)
    positive = generator.random(200) < 0.4
    scores = np.round(positive * 0.3 + generator.random(200), 1)
    roc, curve = roc_points(scores, positive), precision_recall_points(scores, positive)
    assert roc is not None
    assert curve is not None
    auroc, auprc = areas(scores, positive)
    assert np.trapezoid(roc.vertical, roc.horizontal) == pytest.approx(auroc)
    assert -np.sum(np.diff(curve.horizontal) * curve.vertical[:-1]) == pytest.approx(auprc)
    assert (roc.horizontal[0], roc.vertical[0], roc.thresholds[0]) == (0, 0, np.inf)
    assert (roc.horizontal[-1], roc.vertical[-1]) == (1, 1)
    assert roc.positives == curve.positives == positive.sum()
    assert len(curve.thresholds) == len(curve.horizontal)


def test_band_holds_the_curve_and_narrows_with_films() -> None:
    generator = np.random.default_rng(5)

    def band_of(films: int) -> tuple[float, bool]:
        positive = np.arange(films) % 3 == 0
        scores = positive * 0.8 + generator.normal(size=films)
        band, curve = roc_band(scores, positive, np.arange(films), 300, seed=1), roc_points(scores, positive)
        assert band is not None
        assert curve is not None
        # at equal abscissae the curve's value is its highest, as np.interp takes the last
        on_grid = np.interp(band.horizontal, curve.horizontal, curve.vertical)
        holds = bool(((band.lower <= on_grid + 1e-9) & (on_grid <= band.upper + 1e-9)).mean() > 0.97)
        return float(np.mean(band.upper - band.lower)), holds

    (wide, wide_holds), (narrow, narrow_holds) = band_of(60), band_of(960)
    assert wide_holds
    assert narrow_holds
    # sixteen times the films: a quarter of the width
    assert narrow / wide == pytest.approx(0.25, rel=0.3)


def test_no_band_where_nothing_can_be_drawn() -> None:
    scores = np.array([0.1, 0.9])
    assert roc_band(scores, np.array([True, True]), np.array(["a", "b"])) is None
    assert roc_band(scores, np.array([True, False]), np.array(["a", "a"])) is None
    assert roc_band(scores, np.array([True, False]), np.array(["a", "b"]), resamples=0) is None
