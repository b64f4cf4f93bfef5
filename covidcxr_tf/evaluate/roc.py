"""Ranking: areas under the ROC and precision-recall curves, with weights, and the curves' points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve
from sklearn.metrics import roc_curve as sklearn_roc_curve

from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankedScores:
    """Films sorted once by score, so that each resample costs cumulative sums only.

    Attributes
    ----------
    positives, negatives : int64
        Film numbers, highest score first.
    ahead, level : int64 [positives]
        Negatives that score higher than each positive; negatives that score at least as high.
    tie_end : int64 [positives]
        For each positive, how many positives score at least as high.
    """

    positives: Indices
    negatives: Indices
    ahead: Indices
    level: Indices
    tie_end: Indices

    @classmethod
    def sort(cls, scores: Floats, is_positive: Bools) -> RankedScores:
        """Sort films [N] by score, highest first."""
        order = np.argsort(-scores, kind="stable")
        positives, negatives = order[is_positive[order]], order[~is_positive[order]]
        fallen, rivals = -scores[positives], -scores[negatives]
        return cls(
            positives,
            negatives,
            ahead=np.searchsorted(rivals, fallen, side="left"),
            level=np.searchsorted(rivals, fallen, side="right"),
            tie_end=np.searchsorted(fallen, fallen, side="right"),
        )

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the area under the ROC curve and the average precision in each resample.

        Parameters
        ----------
        weights : float64 [films, K]
            Non-negative.

        Returns
        -------
        auroc : float64 [K]
            Share of (positive, negative) pairs in the right order, a tie counting one half (Hanley & McNeil 1982).
            NaN where one side has no weight.
        auprc : float64 [K]
            Mean precision at each positive, without interpolation (Davis & Goadrich 2006). NaN where one
            side has no weight: without negatives any score would reach 1.
        """
        drawn = weights.take(self.positives, axis=0)
        true_calls = _cumulate(drawn)
        false_calls = _cumulate(weights.take(self.negatives, axis=0))
        true_at = true_calls[1:] if _is_run(self.tie_end) else true_calls.take(self.tie_end, axis=0)
        false_at = false_calls.take(self.level, axis=0)
        # Pairs in the wrong order; a tie lies half-way between `level` and `ahead`.
        wrong = np.einsum("nk,nk->k", drawn, false_at)
        tied = np.flatnonzero(self.ahead != self.level)
        if len(tied):
            spread = false_at[tied] - false_calls.take(self.ahead[tied], axis=0)
            wrong -= np.einsum("nk,nk->k", drawn[tied], spread) / 2
        pairs = true_calls[-1] * false_calls[-1]
        called = true_at + false_at
        precision = np.divide(true_at, called, out=called, where=called > 0)
        hits = np.where(pairs > 0, np.einsum("nk,nk->k", drawn, precision), np.nan)
        return ratio(pairs - wrong, pairs), ratio(hits, true_calls[-1])


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def areas(scores: Floats, is_positive: Bools, weights: Floats | None = None) -> tuple[float, float]:
    """Return the area under the ROC curve and the average precision, NaN where undefined; `weights` is [films]."""
    column = np.ones((len(scores), 1)) if weights is None else np.asarray(weights, np.float64)[:, None]
    auroc, auprc = RankedScores.sort(np.asarray(scores, np.float64), np.asarray(is_positive, bool)).areas(column)
    return float(auroc[0]), float(auprc[0])


@dataclass(frozen=True)
class Curve:
    """Points of a curve.

    Attributes
    ----------
    horizontal, vertical : float64 [points]
        ROC: 1 - specificity and sensitivity. Precision-recall: recall (sensitivity) and precision.
    thresholds : float64 [points]
        A film is called positive at this score or above; the last (precision-recall) or first (ROC) point calls
        no film and has infinity.
    positives, negatives : int
        Films on each side.
    """

    horizontal: Floats
    vertical: Floats
    thresholds: Floats
    positives: int
    negatives: int


def roc_points(scores: Floats, is_positive: Bools) -> Curve | None:
    """Return the ROC curve, or None where only one side has films."""
    positives = int(np.sum(is_positive))
    if not 0 < positives < len(scores):
        return None
    false_rate, true_rate, thresholds = sklearn_roc_curve(is_positive, scores, drop_intermediate=False)
    return Curve(false_rate, true_rate, thresholds, positives, len(scores) - positives)


def precision_recall_points(scores: Floats, is_positive: Bools) -> Curve | None:
    """Return the precision-recall curve, or None where only one side has films."""
    positives = int(np.sum(is_positive))
    if not 0 < positives < len(scores):
        return None
    precision, recall, thresholds = precision_recall_curve(is_positive, scores)
    return Curve(recall, precision, np.append(thresholds, np.inf), positives, len(scores) - positives)


@dataclass(frozen=True)
class Band:
    """A pointwise 95 % band: `lower` and `upper` sensitivity at each 1 - specificity in `horizontal`."""

    horizontal: Floats
    lower: Floats
    upper: Floats


def roc_band(
    scores: Floats,
    is_positive: Bools,
    patient_ids: npt.NDArray[Any],
    resamples: int = 1000,
    seed: int = 0,
    points: int = 201,
) -> Band | None:
    """Return the pointwise percentile band of the ROC curve over patients, or None where there is no curve."""
    scores, is_positive = np.asarray(scores, np.float64), np.asarray(is_positive, bool)
    if not 0 < is_positive.sum() < len(scores) or len(set(patient_ids)) < 2 or not resamples:
        return None
    grid = np.linspace(0, 1, points)
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    side = is_positive[order][:, None]

    def sensitivity_on_grid(weights: Floats) -> dict[int, Floats]:
        ranked = weights.take(order, axis=0)
        true_calls = _cumulate(ranked * side).take(np.append(0, last_of_tie + 1), axis=0)
        false_calls = _cumulate(ranked * ~side).take(np.append(0, last_of_tie + 1), axis=0)
        true_rate, false_rate = ratio(true_calls, true_calls[-1:]), ratio(false_calls, false_calls[-1:])
        columns = [np.interp(grid, false_rate[:, k], true_rate[:, k]) for k in range(weights.shape[1])]
        return dict(enumerate(np.stack(columns, axis=1)))

    drawn = np.stack(list(bootstrap(sensitivity_on_grid, patient_ids, resamples, seed).values()))
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    if not drawn.shape[1]:
        return None
    lower, upper = np.quantile(drawn, [0.025, 0.975], axis=1)
    return Band(grid, lower, upper)


def _cumulate(rows: Floats) -> Floats:
    """Return cumulative sums down the rows, with a row of zeros on top."""
    sums = np.empty((rows.shape[0] + 1, rows.shape[1]))
    sums[0] = 0
    np.cumsum(rows, axis=0, out=sums[1:])
    return sums


def _is_run(ends: Indices) -> bool:
    return bool((ends == np.arange(1, len(ends) + 1)).all())
