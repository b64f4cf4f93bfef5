"""Decision curves: whether acting on a model does more good than acting on everybody, or on nobody.

Net benefit counts true calls, less false calls weighed by the odds of the probability from which on a reader would act:
whoever acts from 10 % on holds one missed disease for as bad as nine needless actions. Source: Vickers & Elkin 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap
from covidcxr_tf.evaluate.roc import ratio

PROBABILITIES = np.arange(1, 100) / 100


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit in units of true calls a film, at each probability from which on one would act.

    Attributes
    ----------
    act_from : float64 [T]
        In (0, 1).
    model, treat_all : float64 [T]
        Of acting on called films, on every film. Of acting on none it is 0.
    lower, upper : float64 [T] or None
        Pointwise 95 % band of `model` over patients; None without resamples or with fewer than two patients.
    prevalence : float
        The share of the disease that it holds for.
    stated : bool
        Whether that was stated, or is the films' own.
    """

    act_from: Floats
    model: Floats
    treat_all: Floats
    lower: Floats | None
    upper: Floats | None
    prevalence: float
    stated: bool

    def better(self) -> list[list[float]]:
        """Return the ranges [from, to] of `act_from` in which the model beats acting on all and on none."""
        ahead = self.model > np.maximum(self.treat_all, 0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ahead.astype(np.int8), [0]])))
        return [
            [float(self.act_from[start]), float(self.act_from[end - 1])] for start, end in edges.reshape(-1, 2).tolist()
        ]


def decision_curve(
    scores: Floats,
    is_positive: npt.NDArray[np.bool_],
    patient_ids: npt.NDArray[Any],
    prevalence: float | None = None,
    resamples: int = 0,
    seed: int = 0,
    act_from: npt.ArrayLike = PROBABILITIES,
) -> DecisionCurve | None:
    """Return the net benefit of a model, or None where only one side has films.

    Parameters
    ----------
    scores : float64 [films]
        Calibrated probabilities: of others the curve says what acting on their cut-offs does, not what they mean.
    is_positive : bool [films]
    patient_ids : object [films]
    prevalence : float, optional
        In (0, 1). Probabilities are then shifted from the films' own share of positives to this one, as Bayes has it
        (Saerens 2002, equation 4: the odds of the one by those of the other). Omitted: the films' own share, which says
        nothing about anywhere else.
    resamples, seed : int
        Of the band over patients.
    act_from : float [T]
        Probabilities in (0, 1).

    Raises
    ------
    UsageError
        A prevalence or a probability outside (0, 1).
    """
    cuts = np.asarray(act_from, np.float64)
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(f"prevalence {prevalence:g}", expected="a number between 0 and 1, as 0.05")
    if not ((cuts > 0) & (cuts < 1)).all():
        raise UsageError("a probability to act from is not between 0 and 1", expected="0.01 to 0.99")
    truth = np.asarray(is_positive, bool)
    if not 0 < truth.sum() < len(truth):
        return None
    probs = np.asarray(scores, np.float64)
    if prevalence is not None:
        probs = at_prevalence(probs, float(truth.mean()), prevalence)
    called = probs[None, :] >= cuts[:, None]
    right, wrong = (called & truth).astype(np.float64), (called & ~truth).astype(np.float64)
    odds = (cuts / (1 - cuts))[:, None]

    def net(weights: Floats) -> Floats:
        sick, well = truth @ weights, ~truth @ weights
        share = ratio(sick, sick + well) if prevalence is None else np.full(weights.shape[1], prevalence)
        return ratio(right @ weights, sick) * share - odds * ratio(wrong @ weights, well) * (1 - share)

    common = float(truth.mean()) if prevalence is None else prevalence
    lower = upper = None
    if resamples and len(set(patient_ids)) > 1:
        drawn = bootstrap(lambda weights: dict(enumerate(net(weights))), patient_ids, resamples, seed)
        kept = np.stack([drawn[number] for number in range(len(cuts))])
        kept = kept[:, np.isfinite(kept).all(axis=0)]
        if kept.shape[1]:
            lower, upper = np.quantile(kept, [0.025, 0.975], axis=1)
    treat_all = common - (1 - common) * odds[:, 0]
    model = net(np.ones((len(truth), 1)))[:, 0]
    return DecisionCurve(cuts, model, treat_all, lower, upper, common, prevalence is not None)


def at_prevalence(probs: Floats, of_films: float, stated: float) -> Floats:
    """Return probabilities of a disease with share `of_films` as they are where its share is `stated`."""
    sick, well = probs * stated / of_films, (1 - probs) * (1 - stated) / (1 - of_films)
    return sick / (sick + well)
