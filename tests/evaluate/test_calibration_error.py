"""The interval of the calibration error: by hand, by simulation, and where the percentile one goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.evaluate.bootstrap import bootstrap
from covidcxr_tf.evaluate.calibration import bin_gaps, reliability
from covidcxr_tf.evaluate.calibration_error import describe_error, error_bounds

Drawn = tuple[float, np.ndarray, np.ndarray]


def drawn_gaps(predicted: np.ndarray, came_true: np.ndarray, patients: np.ndarray, seed: int) -> Drawn:
    bins = reliability(predicted, came_true)
    gaps = bin_gaps(bins, predicted, came_true)
    samples = bootstrap(lambda w: dict(enumerate((gaps @ w) / w.sum(axis=0))), patients, 300, seed)
    return bins.error, gaps @ np.ones(len(predicted)) / len(predicted), np.stack(list(samples.values()))


def test_one_bin_is_the_normal_interval_of_its_gap() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 200_000)
    lower, middle, upper = error_bounds(np.array([0.1]), 0.1 + noise[None, :])
    assert (lower, middle, upper) == pytest.approx((0.1 - 1.96 * 0.02, 0.1, 0.1 + 1.96 * 0.02), abs=5e-4)


def test_without_noise_the_error_is_what_it_is() -> None:
    gaps = np.array([0.03, -0.02])
    assert error_bounds(gaps, np.repeat(gaps[:, None], 50, axis=1)) == pytest.approx((0.05, 0.05, 0.05), abs=1e-9)
    assert error_bounds(np.zeros(3), np.zeros((3, 50))) == pytest.approx((0, 0, 0), abs=1e-9)


def test_an_error_that_is_small_by_luck_keeps_a_wide_upper_bound() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 100_000))
    by_luck, typical = (error_bounds(np.array([gap]), gap + noise)[2] for gap in (0.001, 0.0674))
    assert by_luck == pytest.approx(typical, abs=2e-3)  # .0674 is the median size of that noise
    assert by_luck > 0.2


@pytest.mark.parametrize(
    ("stretch", "shift", "a_patient"), [(1.0, 0.0, 1), (1.0, 0.0, 3), (1.4, 0.0, 1), (1.0, 0.7, 2)]
)
def test_it_covers_the_true_error_as_often_as_it_says(stretch: float, shift: float, a_patient: int) -> None:
    """Logits times `stretch` plus `shift` are stated; films of a patient share their outcome."""
    generator = np.random.default_rng(5)
    covered, held, percentile, middle_above = 0, 0, 0, 0
    for trial in range(120):
        logit = np.repeat(generator.normal(0, 1.2, 300 // a_patient), a_patient)
        chance = 1 / (1 + np.exp(-logit))
        predicted = 1 / (1 + np.exp(-(stretch * logit + shift)))
        came_true = np.repeat(generator.random(300 // a_patient), a_patient) < chance
        patients = np.arange(300) // a_patient
        value, gaps, drawn = drawn_gaps(predicted, came_true, patients, trial)
        number = reliability(predicted, came_true).number
        true = np.abs(np.bincount(number, predicted - chance)).sum() / 300
        found = describe_error(value, gaps, drawn, 300 // a_patient)
        lower, upper = found["ci95"]
        covered += lower <= true <= upper
        held += lower <= value <= upper
        middle_above += found["debiased"] > true
        percentile += bool(np.quantile(np.abs(drawn).sum(axis=0), 0.025) <= true)
    assert held == 120, "a reader finds the value in its own interval"
    # Binomial(120, .95): 107 and fewer have a chance of 1 in 1,000.
    assert covered >= 108
    if stretch == 1 and shift == 0:
        assert percentile == 0, "the percentile interval never holds the truth of a calibrated model"
        assert middle_above <= 75  # half of them, as far as a bound at 0 lets it: 76 and more, 1 in 300
    else:
        assert middle_above == pytest.approx(60, abs=25)
