"""The calibration line against statsmodels' logistic regression, and where it has no answer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.evaluate.calibration import calibration_line
from covidcxr_tf.evaluate.logistic import EDGE, fit_line, log_loss, logits

Floats = npt.NDArray[np.float64]


def films(seed: int, n: int = 200, patients: int = 70) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    logit = generator.normal(-0.3, 1.5, n)
    outcome = generator.random(n) < 1 / (1 + np.exp(-(0.5 + 0.7 * logit)))
    return logit, outcome, generator.integers(0, patients, n)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_line_and_variance_equal_statsmodels(seed: int) -> None:
    logit, outcome, patients = films(seed)
    groups = len(set(patients.tolist()))
    options = {"cov_type": "cluster", "cov_kwds": {"groups": patients, "use_correction": False}}
    for slope, design, offset in (
        (None, sm.add_constant(logit), np.zeros(200)),
        (1.0, np.ones((200, 1)), logit),
    ):
        line = fit_line(logit, outcome, patients, slope=slope)
        model = sm.GLM(outcome.astype(float), design, family=sm.families.Binomial(), offset=offset)
        fit = model.fit(tol=1e-14, maxiter=200, **options)
        ours = [line.intercept] if slope else [line.intercept, line.slope]
        assert ours == pytest.approx(fit.params.tolist(), abs=1e-9)
        assert line.covariance is not None
        assert line.covariance == pytest.approx(fit.cov_params() * groups / (groups - 1), abs=1e-9)


def test_perfectly_calibrated_in_expectation_gives_slope_one_and_intercept_zero() -> None:
    # each probability with just its share of outcomes: .2 of five, .5 of two, .8 of five
    probs = np.array([0.2] * 5 + [0.5] * 2 + [0.8] * 5)
    outcome = np.array([1, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0], bool)
    found = calibration_line(probs, outcome, np.arange(12))
    assert found["slope"]["value"] == pytest.approx(1, abs=1e-9)
    assert found["intercept"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["intercept_with_slope"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["slope"]["ci95"][0] < 1 < found["slope"]["ci95"][1]
    assert found["moved"] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 3), st.floats(-2, 2))
def test_a_bent_scale_is_seen_and_undone(seed: int, scale: float, shift: float) -> None:
    logit, outcome, patients = films(seed)
    line = fit_line(logit, outcome, patients)
    bent = fit_line(scale * logit + shift, outcome, patients)
    assert line.slope is not None and line.intercept is not None and bent.slope is not None
    assert bent.slope == pytest.approx(line.slope / scale, rel=1e-8)
    assert bent.intercept == pytest.approx(line.intercept - line.slope * shift / scale, rel=1e-7, abs=1e-8)


def test_no_other_line_is_likelier() -> None:
    logit, outcome, patients = films(5)
    line = fit_line(logit, outcome, patients)
    assert line.slope is not None and line.intercept is not None
    best = log_loss(line.intercept + line.slope * logit, outcome)
    for intercept, slope in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert log_loss(line.intercept + intercept + (line.slope + slope) * logit, outcome) > best


@pytest.mark.parametrize(
    ("probs", "outcome", "why"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], "separates"),
        ([0.1, 0.5, 0.5, 0.9], [0, 0, 1, 1], "separates"),  # overlap in one value only: no finite slope either
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], "separates"),
        ([0.4, 0.4, 0.4, 0.4], [0, 1, 0, 1], "equal"),
    ],
)
def test_without_a_finite_slope_the_intercept_is_still_there(probs: list[float], outcome: list[int], why: str) -> None:
    found = calibration_line(probs, np.array(outcome, bool), np.arange(4))
    for name in ("slope", "intercept_with_slope"):
        assert (found[name]["value"], found[name]["ci95"]) == (None, None)
        assert why in found[name]["why"]
    assert found["intercept"]["value"] is not None


def test_one_side_and_one_patient() -> None:
    found = calibration_line([0.2, 0.7], [True, True], ["a", "b"])
    assert all(found[name]["why"] == "films of one side only" for name in ("slope", "intercept"))
    alone = calibration_line([0.2, 0.7, 0.4, 0.5], [True, False, False, True], ["a"] * 4)
    assert alone["intercept"]["ci95"] is None
    assert "at least two" in alone["intercept"]["why"]


def test_sure_probabilities_are_moved_and_counted() -> None:
    found = calibration_line([0.0, 1.0, 0.3, 0.6, 1.0], [True, True, False, True, False], list("abcde"))
    assert found["moved"] == 3
    assert np.isfinite(found["intercept"]["value"])
    assert logits([0.0, 0.5, 1.0]).tolist() == pytest.approx([-np.log(1 / EDGE - 1), 0, np.log(1 / EDGE - 1)])


def test_log_loss_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss as theirs

    logit, outcome, _ = films(3)
    assert log_loss(logit, outcome) == pytest.approx(theirs(outcome, 1 / (1 + np.exp(-logit))), abs=1e-12)
