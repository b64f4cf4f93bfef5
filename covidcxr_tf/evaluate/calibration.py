"""Calibration: expected calibration error with bins of equal mass, and the Brier score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from covidcxr_tf.evaluate.bootstrap import Floats

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
    ever adds to the error: the interval leans upward, and can lie above the value where calibration is good.
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
