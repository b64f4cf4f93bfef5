from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from covidcxr_tf.evaluate.calibration import (
    bin_gaps,
    bin_intervals,
    brier,
    brier_parts,
    calibration_pairs,
    ece,
    reliability,
)
from covidcxr_tf.evaluate.proportions import wilson


def test_hand_worked_two_bins() -> None:
    # ten films at .2 of which 3 came true, ten at .9 of which 8 did: |.2 - .3| and |.9 - .8|
    predicted = np.repeat([0.2, 0.9], 10)
    came_true = np.array([1] * 3 + [0] * 7 + [1] * 8 + [0] * 2, bool)
    bins = reliability(predicted, came_true)
    assert bins.count.tolist() == [10, 10]
    assert bins.predicted == pytest.approx([0.2, 0.9])
    assert bins.observed == pytest.approx([0.3, 0.8])
    assert bins.error == pytest.approx(0.1)


def test_bins_hold_equal_mass_and_fewer_when_small() -> None:
    generator = np.random.default_rng(0)
    came_true = np.zeros(3000, bool)
    assert reliability(generator.random(3000), came_true).count.tolist() == [200] * 15
    assert len(reliability(generator.random(45), came_true[:45]).count) == 4
    assert len(reliability(generator.random(9), came_true[:9]).count) == 1
    assert len(reliability(np.full(500, 0.3), came_true[:500]).count) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 300), st.sampled_from([1, 3, 1000]))
def test_films_keep_their_bins_in_any_order_and_ties_share_one(seed: int, films: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    predicted, came_true = generator.integers(0, levels + 1, films) / levels, generator.random(films) < 0.5
    bins = reliability(predicted, came_true)
    shuffled = generator.permutation(films)
    again = reliability(predicted[shuffled], came_true[shuffled])
    assert np.array_equal(again.number, bins.number[shuffled])
    assert again.error == pytest.approx(bins.error)
    for value in np.unique(predicted):
        assert len(set(bins.number[predicted == value])) == 1
    assert bins.count.min() >= 1
    assert bins.count.sum() == films
    assert 0 <= bins.error <= 1


def test_good_probabilities_have_a_small_error_and_shifted_ones_that_of_the_shift() -> None:
    generator = np.random.default_rng(1)
    chance = generator.uniform(0.2, 0.6, 60_000)
    truth = (generator.random(60_000) < chance).astype(int)
    assert ece(np.stack([1 - chance, chance], axis=1), truth) < 0.012
    shifted = chance + 0.3
    assert ece(np.stack([1 - shifted, shifted], axis=1), truth) == pytest.approx(0.3, abs=0.01)


def test_gaps_with_weights_equal_the_error_of_repeated_films() -> None:
    generator = np.random.default_rng(2)
    predicted, came_true = generator.random(80), generator.random(80) < 0.4
    bins = reliability(predicted, came_true)
    gaps = bin_gaps(bins, predicted, came_true)
    assert np.abs(gaps @ np.ones(80)).sum() / 80 == pytest.approx(bins.error)
    weights = generator.integers(0, 4, 80).astype(float)
    by_hand = 0.0
    for number in range(len(bins.count)):
        inside = np.repeat(np.flatnonzero(bins.number == number), weights[bins.number == number].astype(int))
        by_hand += abs(np.sum(predicted[inside] - came_true[inside]))
    assert np.abs(gaps @ weights).sum() / weights.sum() == pytest.approx(by_hand / weights.sum())


def test_pairs_are_the_positive_class_of_two_and_the_top_of_more() -> None:
    predicted, came_true, kind = calibration_pairs(np.array([[0.7, 0.3], [0.1, 0.9]]), np.array([0, 0]), 0)
    assert predicted.tolist() == [0.7, 0.1]
    assert came_true.tolist() == [True, True]
    assert "positive" in kind
    probs = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    predicted, came_true, kind = calibration_pairs(probs, np.array([2, 0]), 0)
    assert predicted.tolist() == [0.5, 0.6]
    assert came_true.tolist() == [False, True]
    assert "most probable" in kind


def test_brier_by_hand() -> None:
    # two classes: (.7 - 1)^2 = .09 and (.2 - 0)^2 = .04
    assert brier(np.array([[0.3, 0.7], [0.8, 0.2]]), np.array([1, 0])) == pytest.approx(0.065)
    # three: .25 + .09 + .04
    assert brier(np.array([[0.5, 0.3, 0.2]]), np.array([0])) == pytest.approx(0.38)
    assert brier(np.array([[0.0, 1.0, 0.0]]), np.array([0])) == 2


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_brier_agrees_with_scikit_learn(classes: int) -> None:
    generator = np.random.default_rng(classes)
    probs = generator.dirichlet(np.ones(classes), 50)
    truth = generator.integers(0, classes, 50)
    assert brier(probs, truth) == pytest.approx(brier_score_loss(truth, probs, labels=range(classes)))


def test_brier_parts_by_hand() -> None:
    # ten at .2 with 3 events, ten at .9 with 8: share .55, uncertainty .2475
    predicted = np.repeat([0.2, 0.9], 10)
    came_true = np.array([1] * 3 + [0] * 7 + [1] * 8 + [0] * 2, bool)
    parts = brier_parts(reliability(predicted, came_true), predicted, came_true)
    assert parts.reliability == pytest.approx((0.1**2 + 0.1**2) / 2)
    assert parts.resolution == pytest.approx((0.25**2 + 0.25**2) / 2)
    assert parts.uncertainty == pytest.approx(0.2475)
    assert parts.within_bins == pytest.approx(0, abs=1e-15)
    # by films: 3 of .64, 7 of .04, 8 of .01, 2 of .81
    assert parts.brier == pytest.approx((3 * 0.64 + 7 * 0.04 + 8 * 0.01 + 2 * 0.81) / 20)
    assert parts.brier == pytest.approx(0.01 - 0.0625 + 0.2475)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 300), st.sampled_from([1, 5, 1000]))
def test_brier_parts_add_up_whatever_the_bins(seed: int, films: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    predicted, came_true = generator.integers(0, levels + 1, films) / levels, generator.random(films) < 0.4
    bins = reliability(predicted, came_true)
    parts = brier_parts(bins, predicted, came_true)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert total == pytest.approx(parts.brier, abs=1e-12)
    assert parts.brier == pytest.approx(brier_score_loss(came_true, predicted, labels=[0, 1]), abs=1e-12)
    assert 0 <= parts.resolution <= parts.uncertainty + 1e-12
    if len(np.unique(predicted)) == len(bins.count):
        assert parts.within_bins == pytest.approx(0, abs=1e-12)


def test_bins_have_intervals_over_patients() -> None:
    predicted = np.repeat([0.2, 0.9], 10)
    came_true = np.array([1] * 3 + [0] * 7 + [1] * 8 + [0] * 2, bool)
    bins = reliability(predicted, came_true)
    apart = bin_intervals(bins, came_true, np.arange(20).astype(object))
    assert apart[0] == pytest.approx(wilson(3, 10))
    assert apart[1] == pytest.approx(wilson(8, 10))
    assert np.isnan(bin_intervals(bins, came_true, np.full(20, "p", object))).all()
