"""Areas under correlated ROC curves with their covariance: DeLong by ranks, and Obuchowski's form for patients.

DeLong's covariance takes every film for an independent draw. Films of one patient are not: they resemble each other,
and its intervals are then too narrow. Obuchowski's form sums each patient's part first, and is DeLong's where every
patient has one film.

Source: DeLong, DeLong & Clarke-Pearson 1988 (definition); Sun & Xu 2014 (the same from mid-ranks, O(n log n) instead of
O(mn)); Obuchowski 1997 (clusters, equations for several tests); Fricks 2021, section 2.3 and Tables 3 to 5 (use).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, patient_numbers

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DeLong:
    """Areas of M models on the same films.

    Attributes
    ----------
    aucs : float64 [M]
        In [0, 1]; a tie of a positive and a negative film counts one half.
    covariance : float64 [M, M]
        NaN where a side has fewer than two films (or, by patient, films of fewer than two patients).
    difference_variance : float64 [M, M]
        Variance of each difference of two areas, from the differences themselves: exactly 0 for equal rankings.
    positives, negatives : int
        Films on each side.
    disjoint_pairs : int
        The largest number of pairs of a positive and a negative film that share no film (by patient: no patient),
        and so are independent.
    by_patient : bool
        Whether films of one patient were taken together.
    """

    aucs: Floats
    covariance: Floats
    difference_variance: Floats
    positives: int
    negatives: int
    disjoint_pairs: int
    by_patient: bool = False


def delong(scores: npt.ArrayLike, is_positive: npt.ArrayLike) -> DeLong:
    """Return areas and covariance of several models, taking the films for independent.

    Parameters
    ----------
    scores : float [M, N]
        One row a model, any real scale; higher means more likely positive.
    is_positive : bool [N]

    Raises
    ------
    UsageError
        Shapes that do not fit, a score that is no number, a side without films.
    """
    values, truth = _checked(scores, is_positive)
    positive, negative = _placements(values, truth)
    aucs = positive.mean(axis=1)

    def covariance(first: Floats, second: Floats) -> Floats:
        return _mean_covariance(first) + _mean_covariance(second)

    m, n = positive.shape[1], negative.shape[1]
    return DeLong(
        aucs, covariance(positive, negative), _of_differences(positive, negative, covariance), m, n, min(m, n)
    )


def clustered_delong(
    scores: npt.ArrayLike, is_positive: npt.ArrayLike, patient_ids: Sequence[Hashable] | npt.NDArray[Any]
) -> DeLong:
    """Return areas and covariance of several models, taking the patients for independent (Obuchowski 1997).

    Parameters
    ----------
    scores : float [M, N]
    is_positive : bool [N]
    patient_ids : sequence [N]
        The patient of each film; one may have films on both sides.

    Raises
    ------
    UsageError
        As `delong`, and for another number of patients than films.
    """
    values, truth = _checked(scores, is_positive)
    if len(patient_ids) != len(truth):
        raise UsageError(f"{len(patient_ids)} patients of {len(truth)} films", expected="the patient of each film")
    numbers, patients = patient_numbers(patient_ids)
    positive, negative = _placements(values, truth)
    aucs = positive.mean(axis=1)
    films = np.stack([np.bincount(numbers[side], minlength=patients) for side in (truth, ~truth)])
    some_positive, some_negative = films > 0

    def covariance(first: Floats, second: Floats) -> Floats:
        sums = [
            _sum_by(_centred(part), numbers[side], patients) / side.sum()
            for part, side in ((first, truth), (second, ~truth))
        ]
        both = sums[0] @ sums[1].T
        return (
            _correction(int(some_positive.sum())) * (sums[0] @ sums[0].T)
            + _correction(int(some_negative.sum())) * (sums[1] @ sums[1].T)
            + _correction(patients) * (both + both.T)
        )

    disjoint = min(int(some_positive.sum()), int(some_negative.sum()), patients // 2)
    variances = _of_differences(positive, negative, covariance)
    m, n = positive.shape[1], negative.shape[1]
    return DeLong(aucs, covariance(positive, negative), variances, m, n, disjoint, True)


def interval(result: DeLong, model: int, level: float = LEVEL) -> dict[str, Any]:
    """Return one model's area as ``metrics.json`` has it: normal approximation, cut off at 0 and 1.

    Parameters
    ----------
    result : DeLong
    model : int
        Row of the scores.
    level : float
        In (0, 1).

    Returns
    -------
    dict
        ``value``, ``ci95``, ``standard_error``. Where the variance is 0, as at an area of 1, the interval would have no
        width, which claims a certainty that no number of films gives: ``ci95`` is null with ``why``, and at an area
        of 0 or 1 ``exact`` is the Clopper-Pearson interval over `disjoint_pairs`, all in the right (or wrong) order:
        true but wide, as it uses few of the pairs.
    """
    reach = standard_errors(level)
    area, variance = float(result.aucs[model]), float(result.covariance[model, model])
    found: dict[str, Any] = {"value": area, "ci95": None}
    if not np.isfinite(variance):
        unit = "patients" if result.by_patient else "films"
        return {**found, "why": f"a variance needs two {unit} on each side"}
    if variance > 0:
        error = float(np.sqrt(variance))
        bounds = [max(0.0, area - reach * error), min(1.0, area + reach * error)]
        return {**found, "ci95": bounds, "standard_error": error}
    if area not in (0.0, 1.0):
        return {**found, "why": "every film is placed alike: the variance is 0 and says nothing"}
    order = "right" if area == 1.0 else "wrong"
    why = f"every pair of films is in the {order} order: the variance is 0, and an interval without width would mislead"
    bound = float(((1 - level) / 2) ** (1 / result.disjoint_pairs))
    exact = [bound, 1.0] if area == 1.0 else [0.0, 1.0 - bound]
    method = f"Clopper-Pearson over {result.disjoint_pairs} pairs of films that share no "
    return {**found, "why": why, "exact": exact, "exact_by": method + ("patient" if result.by_patient else "film")}


def standard_errors(level: float) -> float:
    """Return how many standard errors a two-sided normal interval reaches to each side; 1.96 for 0.95."""
    if not 0 < level < 1:
        raise UsageError(f"level {level}", expected="a number between 0 and 1")
    return float(stats.norm.ppf((1 + level) / 2))


@dataclass(frozen=True)
class PairTests:
    """Two-sided tests of equal areas, for each two of M models.

    Attributes
    ----------
    difference, standard_error, z, p_values : float64 [M, M]
        Row minus column; NaN on the diagonal and where undefined (equal rankings, no variance).
    """

    difference: Floats
    standard_error: Floats
    z: Floats
    p_values: Floats


def paired_tests(result: DeLong) -> PairTests:
    """Return DeLong's test of each two models."""
    difference = result.aucs[:, None] - result.aucs[None, :]
    variance = np.where(result.difference_variance > 0, result.difference_variance, np.nan)
    error = np.sqrt(variance)
    z = difference / error
    return PairTests(difference, error, z, 2 * stats.norm.sf(np.abs(z)))


def bonferroni(p_values: npt.ArrayLike) -> Floats:
    """Return p-values [K] times K, at most 1; K counts undefined ones (NaN, which stay NaN) too."""
    values = np.asarray(p_values, np.float64)
    return np.minimum(values * len(values), 1.0)


def holm(p_values: npt.ArrayLike) -> Floats:
    """Return p-values [K] by Holm's step-down (1979): never larger than Bonferroni's, and valid for the same family.

    K counts undefined ones (NaN, which stay NaN) too, as the largest.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")  # NaN last
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _checked(scores: npt.ArrayLike, is_positive: npt.ArrayLike) -> tuple[Floats, Bools]:
    values, truth = np.asarray(scores, np.float64), np.asarray(is_positive, bool)
    if values.ndim != 2 or truth.ndim != 1 or values.shape[1] != len(truth):
        raise UsageError(f"scores {values.shape} and films {truth.shape}", expected="(models, films) and (films,)")
    if np.isnan(values).any():
        raise UsageError("a score is no number", expected="one score a film and model")
    if not 0 < truth.sum() < len(truth):
        raise UsageError(f"{int(truth.sum())} of {len(truth)} films are positive", expected="films on both sides")
    return values, truth


def _placements(scores: Floats, is_positive: Bools) -> tuple[Floats, Floats]:
    """Return each positive's share of negatives below it, and each negative's share of positives above it.

    Mid-ranks among all films less those among the own side count the other side: whole or half numbers, so exact.
    """
    overall = stats.rankdata(scores, axis=1)
    positive, negative = scores[:, is_positive], scores[:, ~is_positive]
    m, n = positive.shape[1], negative.shape[1]
    below = (overall[:, is_positive] - stats.rankdata(positive, axis=1)) / n
    above = 1 - (overall[:, ~is_positive] - stats.rankdata(negative, axis=1)) / m
    return below, above


def _mean_covariance(parts: Floats) -> Floats:
    """Return the covariance [M, M] of the means of `parts` [M, films]; NaN for one film."""
    films = parts.shape[1]
    centred = _centred(parts)
    return _correction(films) * (centred @ centred.T) / films**2


def _centred(parts: Floats) -> Floats:
    """Return each row less its mean."""
    return parts - parts.mean(axis=1, keepdims=True)


def _correction(units: int) -> float:
    return units / (units - 1) if units > 1 else np.nan


def _sum_by(parts: Floats, numbers: npt.NDArray[np.int64], groups: int) -> Floats:
    """Return the sums [M, groups] of `parts` [M, films]."""
    return np.stack([np.bincount(numbers, weights=row, minlength=groups) for row in parts])


def _of_differences(positive: Floats, negative: Floats, covariance: Callable[[Floats, Floats], Floats]) -> Floats:
    """Return the variance [M, M] of each difference of two areas."""
    models = len(positive)
    variances = np.zeros((models, models))
    for i, j in itertools.combinations(range(models), 2):
        value = covariance(positive[i : i + 1] - positive[j : j + 1], negative[i : i + 1] - negative[j : j + 1])
        variances[i, j] = variances[j, i] = value[0, 0]
    return variances
