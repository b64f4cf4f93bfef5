"""Calibration: expected calibration error with bins of equal mass, Brier score and its parts, slope and intercept."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats
from covidcxr_tf.evaluate.delong import standard_errors
from covidcxr_tf.evaluate.logistic import EDGE, Line, fit_line, logits
from covidcxr_tf.evaluate.proportions import clustered_share, share_metric

BINS = 15  # Guo et al. 2017, section 2
FILMS_A_BIN = 10  # fewer films make a bin's observed share mostly noise


@dataclass(frozen=True)
class Bins:
    """Films in bins of (as far as ties allow) equal mass.

    Attributes
    ----------
    number : int64 [films]
        The bin of each film.
    count : int64 [bins]
        Films in each, at least 1.
    predicted, observed : float64 [bins]
        Mean predicted probability, share of films in which it came true.
    """

    number: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    predicted: Floats
    observed: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean |predicted - observed| over films, in [0, 1]."""
        return float(np.sum(self.count * np.abs(self.predicted - self.observed)) / self.count.sum())


def reliability(predicted: Floats, came_true: npt.NDArray[np.bool_], bins: int = BINS) -> Bins:
    """Return films in bins of equal mass.

    Parameters
    ----------
    predicted : float64 [films]
        Probabilities in [0, 1].
    came_true : bool [films]
        Whether the event happened.
    bins : int
        At most so many; fewer with less than 10 films a bin. Equal probabilities always share a bin, so that the
        order of the films does not matter.

    Source: equal mass: Nguyen & O'Connor 2015, section 2.
    """
    predicted = np.asarray(predicted, np.float64)
    wanted = min(bins, max(1, len(predicted) // FILMS_A_BIN))
    first_of_bin = np.arange(1, wanted) * len(predicted) // wanted
    edges = np.unique(np.sort(predicted)[first_of_bin])
    _, number = np.unique(np.searchsorted(edges, predicted, side="right"), return_inverse=True)
    count = np.bincount(number)
    return Bins(
        number.astype(np.int64),
        count,
        np.bincount(number, predicted) / count,
        np.bincount(number, np.asarray(came_true, np.float64)) / count,
    )


def calibration_pairs(
    probs: Floats, truth: npt.NDArray[np.int64], positive: int
) -> tuple[Floats, npt.NDArray[np.bool_], str]:
    """Return the probabilities that are held against outcomes, the outcomes, and which they are.

    Two classes: the probability of the positive one. More: that of the most probable one ("top label", Guo et al.
    2017), which says nothing about the others.
    """
    if probs.shape[1] == 2:
        return probs[:, positive], truth == positive, "probability of the positive class"
    called = probs.argmax(axis=1)
    return probs.max(axis=1), called == truth, "probability of the most probable class"


def bin_gaps(bins: Bins, predicted: Floats, came_true: npt.NDArray[np.bool_]) -> sparse.csr_array:
    """Return float64 [bins, films]: predicted minus outcome of each film, in the row of its bin.

    Times film weights it gives each bin's gap; the sum of their sizes over the films' weight is the expected
    calibration error of a resample, in the bins of the whole set. Resampling adds noise to each bin, and noise only
    ever adds to the error: see `calibration_error` for the interval that comes of it.
    """
    gaps = predicted - np.asarray(came_true, np.float64)
    return sparse.csr_array((gaps, (bins.number, np.arange(len(gaps)))), shape=(len(bins.count), len(gaps)))


def brier_terms(probs: Floats, truth: npt.NDArray[np.int64]) -> Floats:
    """Return each film's part of the Brier score, float64 [films].

    Two classes: (p - outcome)^2 of the positive class, in [0, 1]. More: the sum of it over classes, in [0, 2]
    (Brier 1950, equation 2).
    """
    errors = (probs - np.eye(probs.shape[1])[truth]) ** 2
    return errors.mean(axis=1) if probs.shape[1] == 2 else errors.sum(axis=1)


def ece(probs: Floats, truth: npt.NDArray[np.int64], positive: int = -1, bins: int = BINS) -> float:
    """Return the expected calibration error of probabilities [films, classes]; `truth` holds class numbers."""
    predicted, came_true, _ = calibration_pairs(probs, truth, positive % probs.shape[1])
    return reliability(predicted, came_true, bins).error


def brier(probs: Floats, truth: npt.NDArray[np.int64]) -> float:
    """Return the mean Brier score of probabilities [films, classes]; see `brier_terms` for its range."""
    return float(brier_terms(probs, truth).mean())


def bin_intervals(bins: Bins, came_true: npt.NDArray[np.bool_], patient_ids: npt.NDArray[Any]) -> Floats:
    """Return the 95 % interval over patients of each bin's observed share, float64 [bins, 2], NaN where undefined."""
    found = np.full((len(bins.count), 2), np.nan)
    for number in range(len(bins.count)):
        inside = bins.number == number
        bounds = share_metric(clustered_share(came_true[inside], patient_ids[inside]))["ci95"]
        found[number] = bounds or (np.nan, np.nan)
    return found


@dataclass(frozen=True)
class BrierParts:
    """brier = reliability - resolution + uncertainty + within_bins, exactly.

    Attributes
    ----------
    reliability : float
        Mean squared gap between a bin's probability and its observed share; 0 is best.
    resolution : float
        How far the bins' shares lie from the overall one; the more the better, at most `uncertainty`.
    uncertainty : float
        What the overall share p costs by itself, p (1 - p).
    within_bins : float
        What is lost by taking a bin's films together (Stephenson 2008); 0 where each bin holds one probability, as in
        Murphy's own decomposition.
    brier : float
    bins : int
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    brier: float
    bins: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, fit for JSON."""
        return asdict(self)


def brier_parts(bins: Bins, predicted: Floats, came_true: npt.NDArray[np.bool_]) -> BrierParts:
    """Return the parts of the Brier score of one event, in the given bins.

    Parameters
    ----------
    bins : Bins
        Of these films (`reliability`).
    predicted : float64 [films]
    came_true : bool [films]

    Source: Murphy 1973; the two terms within bins, variance less twice the covariance: Stephenson, Coelho & Jolliffe
    2008, equation 7.
    """
    outcome, weight = np.asarray(came_true, np.float64), bins.count / bins.count.sum()
    share = float(outcome.mean())
    spread = predicted - bins.predicted[bins.number]
    noise = outcome - bins.observed[bins.number]
    return BrierParts(
        float(weight @ (bins.predicted - bins.observed) ** 2),
        float(weight @ (bins.observed - share) ** 2),
        share * (1 - share),
        float(np.mean(spread**2) - 2 * np.mean(spread * noise)),
        float(np.mean((predicted - outcome) ** 2)),
        len(bins.count),
    )


def calibration_line(
    predicted: npt.ArrayLike,
    came_true: npt.ArrayLike,
    patient_ids: Sequence[Hashable] | npt.NDArray[Any],
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return calibration slope and intercept of one event, with intervals over patients.

    Parameters
    ----------
    predicted : float [films]
        Probabilities; those within 1e-7 of 0 and 1 are moved there, and counted in ``moved``.
    came_true : bool [films]
    patient_ids : sequence [films]
    level : float

    Returns
    -------
    dict
        ``slope``: 1 is best, below 1 the probabilities are too extreme. ``intercept``: with the slope held at 1
        ("calibration in the large"); 0 is best, above 0 the event is commoner than predicted. ``intercept_with_slope``:
        of the line itself. Each ``{"value", "ci95"}`` (normal approximation, sandwich variance over patients), null
        with ``why`` where undefined.

    Source: Cox 1958; Van Calster 2016, section 2 (the two intercepts).
    """
    probs, outcome = np.asarray(predicted, np.float64), np.asarray(came_true, bool)
    logit = logits(probs)
    line, large = fit_line(logit, outcome, patient_ids), fit_line(logit, outcome, patient_ids, slope=1.0)
    return {
        "slope": _coefficient(line, 1, level),
        "intercept": _coefficient(large, 0, level),
        "intercept_with_slope": _coefficient(line, 0, level),
        "moved": int(np.sum((probs < EDGE) | (probs > 1 - EDGE))),
    }


def _coefficient(line: Line, place: int, level: float) -> dict[str, Any]:
    value = (line.intercept, line.slope)[place]
    if value is None:
        return {"value": None, "ci95": None, "why": line.why}
    if line.covariance is None:
        return {"value": value, "ci95": None, "why": "an interval over patients needs at least two of them"}
    reach = standard_errors(level) * float(np.sqrt(line.covariance[place, place]))
    return {"value": value, "ci95": [value - reach, value + reach]}
