"""Cut-offs, chosen on validation films and nowhere else.

A cut-off chosen on the films that it is judged on flatters itself, so a table with any other split is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from covidcxr_tf.errors import DataError, SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap, describe
from covidcxr_tf.evaluate.proportions import clustered_share, share_metric
from covidcxr_tf.evaluate.roc import ratio
from covidcxr_tf.evaluate.table import check_predictions, class_names, one_against_rest

FIXED = (0.5, 0.9)  # the cut-offs of Haghanifar 2020 and of common reports
Method = Literal["youden", "sensitivity", "specificity"]
AIMS = {"sensitivity": "sensitivity of at least {:g}", "specificity": "specificity of at least {:g}"}
SLACK = 1e-12  # shares that differ by rounding only are equal


@dataclass(frozen=True)
class Threshold:
    """A cut-off and where it comes from; a film with at least `value` is called positive.

    Attributes
    ----------
    value : float
        In [0, 1].
    chosen_by : str
        ``"youden"``, ``"sensitivity"``, ``"specificity"``, ``"fixed"`` or ``"stored"``.
    threshold_from : str
        One line for ``metrics.json``.
    sensitivity, specificity : float or None
        On the validation films; None for a fixed one.
    sensitivity_ci95, specificity_ci95 : tuple of float or None
        Their intervals over patients (``proportions.share_metric``). A cut-off looks best on the films that chose it:
        what it does on others is in their ``metrics.json``.
    """

    value: float
    chosen_by: str
    threshold_from: str
    positive: str | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    films: int = 0
    patients: int = 0
    sensitivity_ci95: tuple[float, float] | None = None
    specificity_ci95: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, fit for JSON."""
        return asdict(self)


def fixed_threshold(value: float = 0.5) -> Threshold:
    """Return a cut-off that no film had a say in.

    Raises
    ------
    UsageError
        Outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise UsageError(f"threshold {value}", expected="a number from 0 to 1")
    return Threshold(float(value), "fixed", f"fixed beforehand at {value:g}")


def choose_threshold(
    table: pd.DataFrame,
    positive: str | None = None,
    method: Method = "youden",
    target: float = 0.95,
) -> Threshold:
    """Return the cut-off on the probability of `positive` that serves best on validation films.

    Parameters
    ----------
    table : DataFrame
        A predictions table in which every ``split`` is ``validation``.
    positive : str, optional
        The class; the last one if omitted. With more than two classes it is held against the rest.
    method : str
        ``"youden"``: the largest sensitivity + specificity - 1 (Youden 1950); of equal ones the lowest cut-off, as a
        missed disease costs more than a second look. ``"sensitivity"``: the highest cut-off that still has a
        sensitivity of at least `target`. ``"specificity"``: the lowest one that has a specificity of at least `target`.
    target : float
        In (0, 1].

    Raises
    ------
    SplitError
        If a film is not of the validation split, or one side has no film.
    UsageError
        An unknown method or class, a target outside (0, 1].
    DataError
        A specificity that no cut-off reaches which calls any film.
    """
    _check_method(method, target)
    table = check_predictions(table)
    refuse_other_splits(table)
    positive = class_names(table)[-1] if positive is None else positive
    scores, is_positive = one_against_rest(table, positive)
    if not 0 < is_positive.sum() < len(is_positive):
        raise SplitError(
            f"{int(is_positive.sum())} of {len(is_positive)} validation films are {positive}",
            expected="films on both sides to choose a threshold",
        )
    cuts, sensitivity, specificity = _operating_points(scores, is_positive)
    good = _serves(method, target, sensitivity, specificity)
    if not good.any():
        raise DataError(
            f"no cut-off has a specificity of {target:g} and calls a film: the highest score is of a film without",
            expected=f"a target of at most {specificity.max():.4g}",
        )
    # Of several, sensitivity asks for the highest cut-off; the others for the lowest, which misses least.
    best = int(np.flatnonzero(good)[-1 if method == "sensitivity" else 0])
    aim = AIMS[method].format(target) if method in AIMS else "Youden index"
    patient_ids = table["patient_id"].to_numpy(object)
    return Threshold(
        float(cuts[best]),
        method,
        f"validation, {aim} ({len(table)} films of {len(set(patient_ids))} patients)",
        positive,
        float(sensitivity[best]),
        float(specificity[best]),
        len(table),
        len(set(patient_ids)),
        _interval(scores[is_positive] >= cuts[best], patient_ids[is_positive]),
        _interval(scores[~is_positive] < cuts[best], patient_ids[~is_positive]),
    )


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
    _check_method(method, target)
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
        good = _serves(method, target, np.where(drawn, sensitivity, np.nan), np.where(drawn, specificity, np.nan))
        last = len(cuts) - 1 - good[::-1].argmax(axis=0)
        best = last if method == "sensitivity" else good.argmax(axis=0)
        return {"cut": np.where(good.any(axis=0), cuts[best], np.nan)}

    value = float(chosen(np.ones((len(scores), 1)))["cut"][0])
    patients = len(set(patient_ids))
    drawn = bootstrap(chosen, patient_ids, resamples if patients > 1 else 0, seed)["cut"]
    return describe(value, drawn, patients, "no cut-off serves on these films")


def threshold_from_words(words: str, validation: pd.DataFrame, positive: str | None = None) -> Threshold:
    """Return the cut-off that ``youden``, ``sensitivity=0.9`` or ``specificity=0.95`` asks for.

    Raises
    ------
    UsageError, SplitError, DataError
        As `choose_threshold`; words that are none of these.
    """
    method, sign, target = words.partition("=")
    if method not in ("youden", *AIMS) or bool(sign) != (method in AIMS):
        raise UsageError(f"threshold '{words}'", expected="youden, sensitivity=0.9 or specificity=0.95")
    try:
        wanted = float(target) if sign else 1.0
    except ValueError:
        raise UsageError(f"threshold '{words}'", expected=f"a number after {method}=, as 0.9") from None
    return choose_threshold(validation, positive, cast(Method, method), wanted)


def stored_threshold(run: str | Path) -> Threshold | None:
    """Return the cut-off that a run folder's ``metrics.json`` records, or None where it has none.

    Raises
    ------
    WeightsError
        If the file is there and damaged.
    """
    path = Path(run) / "metrics.json"
    if not path.is_file():
        return None
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        value, origin, positive = (metrics.get(key) for key in ("threshold", "threshold_from", "positive"))
        return None if value is None else Threshold(float(value), "stored", f"the run's own: {origin}", positive)
    except (ValueError, TypeError, AttributeError) as cause:
        raise WeightsError(f"damaged: {cause}", where=path, expected="metrics.json of a run folder") from cause


def _operating_points(scores: Floats, is_positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return each distinct score, ascending, with the sensitivity and specificity of the cut-off there."""
    cuts, place = np.unique(scores, return_inverse=True)
    positives = np.bincount(place, is_positive, len(cuts))
    rest = np.bincount(place, ~is_positive, len(cuts))
    missed, cleared = np.cumsum(positives) - positives, np.cumsum(rest) - rest
    return cuts, 1 - missed / positives.sum(), cleared / rest.sum()


def _check_method(method: str, target: float) -> None:
    if method not in ("youden", *AIMS):
        raise UsageError(f"'{method}' is no way to choose a threshold", expected="youden, sensitivity or specificity")
    if not 0 < target <= 1:
        aim = "sensitivity" if method == "youden" else method
        raise UsageError(f"target {aim} {target}", expected="a number above 0, at most 1")


def _serves(method: str, target: float, sensitivity: Floats, specificity: Floats) -> npt.NDArray[np.bool_]:
    """Return which cut-offs (first axis) do what is asked; NaN never does."""
    if method == "youden":
        youden = np.nan_to_num(sensitivity + specificity, nan=-1.0)
        return (youden >= youden.max(axis=0) - SLACK) & (youden >= 0)
    share = sensitivity if method == "sensitivity" else specificity
    return np.nan_to_num(share, nan=-1.0) >= target - SLACK


def _interval(hit: npt.NDArray[np.bool_], patient_ids: npt.NDArray[Any]) -> tuple[float, float] | None:
    bounds = share_metric(clustered_share(hit, patient_ids))["ci95"]
    return None if bounds is None else (bounds[0], bounds[1])


def refuse_other_splits(
    table: pd.DataFrame, because: str = "as a threshold chosen on the films it is judged on flatters itself"
) -> None:
    """Raise `SplitError` where a film of a predictions table is not of the validation split."""
    splits = table["split"].to_numpy(object) if "split" in table.columns else np.full(len(table), "", object)
    for row in np.flatnonzero(splits != "validation")[:1]:
        raise SplitError(
            f"the split is '{splits[row]}'",
            where=f"predictions, row {row + 2}, column split",
            expected=f"validation films only, {because}",
        )
