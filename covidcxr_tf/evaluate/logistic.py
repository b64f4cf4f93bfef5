"""Outcome against the logit of a probability: the line behind calibration slope, intercept and recalibration.

Newton's method on one or two coefficients; whether a finite answer exists is decided beforehand, not by divergence.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from covidcxr_tf.evaluate.bootstrap import Floats, patient_numbers

# A float32 softmax says exactly 1 from about 1 - 6e-8 on, whose logit is infinite.
EDGE = 1e-7
STEPS = 100
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """logit P(outcome) = intercept + slope * logit(probability).

    Attributes
    ----------
    intercept, slope : float or None
        None where undefined.
    covariance : float64 [k, k] or None
        Of (intercept, slope), or of the intercept alone where the slope was fixed; sandwich over patients, None for
        fewer than two.
    why : str
        Why it is undefined.
    """

    intercept: float | None
    slope: float | None
    covariance: Floats | None
    why: str = ""


def logits(probs: npt.ArrayLike) -> Floats:
    """Return log(p / (1 - p)), float64, of probabilities kept 1e-7 away from 0 and 1."""
    return special.logit(np.clip(np.asarray(probs, np.float64), EDGE, 1 - EDGE))


def log_loss(logit: Floats, outcome: Bools) -> float:
    """Return the mean negative log likelihood of outcomes, in nats."""
    return float(np.mean(np.logaddexp(0, np.where(outcome, -logit, logit))))


def fit_line(
    logit: Floats,
    outcome: Bools,
    patient_ids: Sequence[Hashable] | npt.NDArray[Any],
    *,
    slope: float | None = None,
) -> Line:
    """Return the line of greatest likelihood.

    Parameters
    ----------
    logit : float64 [films]
        Finite.
    outcome : bool [films]
    patient_ids : sequence [films]
        Patients are taken for independent, their films are not.
    slope : float, optional
        Fixed at this; then only the intercept is fitted.
    """
    why = _why_not(logit, outcome, slope is None)
    if why:
        return Line(None, None, None, why)
    design = np.ones((len(logit), 1)) if slope is not None else np.stack([np.ones(len(logit)), logit], axis=1)
    offset = np.zeros(len(logit)) if slope is None else slope * logit
    found = _newton(design, offset, outcome)
    chance = special.expit(offset + design @ found)
    information = (design * (chance * (1 - chance))[:, None]).T @ design
    numbers, patients = patient_numbers(patient_ids)
    scores = np.stack([np.bincount(numbers, column * (outcome - chance)) for column in design.T], axis=1)
    covariance = None
    if patients > 1:
        bread = np.linalg.inv(information)
        covariance = patients / (patients - 1) * bread @ (scores.T @ scores) @ bread
    return Line(float(found[0]), float(found[1]) if slope is None else slope, covariance)


def _why_not(logit: Floats, outcome: Bools, with_slope: bool) -> str:
    """Return why no finite line exists, or nothing: one side only, equal probabilities, sides that do not overlap."""
    sick, well = logit[outcome], logit[~outcome]
    if not len(sick) or not len(well):
        return "films of one side only"
    if not with_slope:
        return ""
    if np.ptp(logit) == 0:
        return "all probabilities are equal"
    if sick.min() >= well.max() or sick.max() <= well.min():
        return "a cut-off separates the two sides: the slope has no finite estimate"
    return ""


def _newton(design: Floats, offset: Floats, outcome: Bools) -> Floats:
    """Return the coefficients; steps are halved until the likelihood rises, which it must for some length."""
    found = np.zeros(design.shape[1])
    loss = log_loss(offset, outcome)
    for _ in range(STEPS):
        chance = special.expit(offset + design @ found)
        gradient = design.T @ (outcome - chance)
        step = np.linalg.lstsq((design * (chance * (1 - chance))[:, None]).T @ design, gradient, rcond=None)[0]
        for _halving in range(60):
            attempt = log_loss(offset + design @ (found + step), outcome)
            if attempt <= loss + 1e-15:
                break
            step = step / 2
        found, loss = found + step, attempt
        if np.max(np.abs(step)) < 1e-12 * (1 + np.max(np.abs(found))):
            break
    return found
