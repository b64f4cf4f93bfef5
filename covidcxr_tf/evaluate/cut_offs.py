"""Where a cut-off lies: what each one does, which of them serve an aim, and how far chance moves the chosen one."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap, describe
from covidcxr_tf.evaluate.roc import ratio

Method = Literal["youden", "sensitivity", "specificity"]
AIMS = {"sensitivity": "sensitivity of at least {:g}", "specificity": "specificity of at least {:g}"}
YOUDEN = "Youden index"
SLACK = 1e-12  # shares that differ by rounding only are equal


def aim_in_words(method: Method, target: float) -> str:
    """Return how ``threshold_from`` names a way to choose."""
    return AIMS[method].format(target) if method in AIMS else YOUDEN


def aim_of(threshold_from: str) -> tuple[Method, float] | None:
    """Return way and target that a ``threshold_from`` names; None where the cut-off was not chosen on films."""
    if YOUDEN in threshold_from:
        return "youden", 0.95
    found = re.search(r"(sensitivity|specificity) of at least (\S+)", threshold_from)
    return None if found is None else (cast(Method, found[1]), float(found[2]))


def cut_off_interval(
    scores: Floats,
    is_positive: npt.NDArray[np.bool_],
    patient_ids: npt.NDArray[Any],
    method: Method = "youden",
    target: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the chosen cut-off with its percentile interval: where other patients would have put it.

    Parameters
    ----------
    scores : float64 [films]
    is_positive : bool [films]
    patient_ids : object [films]
    method, target
        As in `choose_threshold`.
    resamples, seed : int
        Of the bootstrap over patients; a resample without a side, or without a cut-off that serves, is undefined.

    Returns
    -------
    dict
        ``value``, ``ci95`` and what else ``bootstrap.describe`` says.
    """
    check_method(method, target)
    cuts, place = np.unique(scores, return_inverse=True)
    films = np.arange(len(scores))
    sides = [
        sparse.csr_array((side.astype(np.float64), (place, films)), shape=(len(cuts), len(scores)))
        for side in (is_positive, ~is_positive)
    ]

    def chosen(weights: Floats) -> dict[str, Floats]:
        positives, rest = (side @ weights for side in sides)
        missed, cleared = np.cumsum(positives, axis=0) - positives, np.cumsum(rest, axis=0) - rest
        sensitivity = 1 - ratio(missed, positives.sum(axis=0))
        specificity = ratio(cleared, rest.sum(axis=0))
        drawn = positives + rest > 0  # a film that was not drawn cannot lend its score
        good = serves(method, target, np.where(drawn, sensitivity, np.nan), np.where(drawn, specificity, np.nan))
        last = len(cuts) - 1 - good[::-1].argmax(axis=0)
        best = last if method == "sensitivity" else good.argmax(axis=0)
        return {"cut": np.where(good.any(axis=0), cuts[best], np.nan)}

    value = float(chosen(np.ones((len(scores), 1)))["cut"][0])
    patients = len(set(patient_ids))
    drawn = bootstrap(chosen, patient_ids, resamples if patients > 1 else 0, seed)["cut"]
    return describe(value, drawn, patients, "no cut-off serves on these films")


def operating_points(scores: Floats, is_positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return each distinct score, ascending, with the sensitivity and specificity of the cut-off there."""
    cuts, place = np.unique(scores, return_inverse=True)
    positives = np.bincount(place, is_positive, len(cuts))
    rest = np.bincount(place, ~is_positive, len(cuts))
    missed, cleared = np.cumsum(positives) - positives, np.cumsum(rest) - rest
    return cuts, 1 - missed / positives.sum(), cleared / rest.sum()


def check_method(method: str, target: float) -> None:
    """Raise `UsageError` for an unknown method, or a target outside (0, 1]."""
    if method not in ("youden", *AIMS):
        raise UsageError(f"'{method}' is no way to choose a threshold", expected="youden, sensitivity or specificity")
    if not 0 < target <= 1:
        aim = "sensitivity" if method == "youden" else method
        raise UsageError(f"target {aim} {target}", expected="a number above 0, at most 1")


def serves(method: str, target: float, sensitivity: Floats, specificity: Floats) -> npt.NDArray[np.bool_]:
    """Return which cut-offs (first axis) do what is asked; NaN never does."""
    if method == "youden":
        youden = np.nan_to_num(sensitivity + specificity, nan=-1.0)
        return (youden >= youden.max(axis=0) - SLACK) & (youden >= 0)
    share = sensitivity if method == "sensitivity" else specificity
    return np.nan_to_num(share, nan=-1.0) >= target - SLACK
