"""Cut-offs, chosen on validation films and nowhere else.

A cut-off chosen on the films that it is judged on flatters itself, so a table with any other split is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import DataError, SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.cut_offs import (
    AIMS,
    Method,
    aim_in_words,
    check_method,
    cut_off_interval,
    operating_points,
    serves,
)
from covidcxr_tf.evaluate.proportions import clustered_share, share_metric
from covidcxr_tf.evaluate.table import check_predictions, class_names, one_against_rest

FIXED = (0.5, 0.9)  # the cut-offs of Haghanifar 2020 and of common reports


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
    ci95 : tuple of float or None
        Where other validation patients would have put it (`cut_off_interval`).
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
    ci95: tuple[float, float] | None = None

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
    resamples: int = 0,
    seed: int = 0,
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
    resamples, seed : int
        Of ``ci95`` (`cut_off_interval`); 0 for none.

    Raises
    ------
    SplitError
        If a film is not of the validation split, or one side has no film.
    UsageError
        An unknown method or class, a target outside (0, 1].
    DataError
        A specificity that no cut-off reaches which calls any film.
    """
    check_method(method, target)
    table = check_predictions(table)
    refuse_other_splits(table)
    positive = class_names(table)[-1] if positive is None else positive
    scores, is_positive = one_against_rest(table, positive)
    if not 0 < is_positive.sum() < len(is_positive):
        raise SplitError(
            f"{int(is_positive.sum())} of {len(is_positive)} validation films are {positive}",
            expected="films on both sides to choose a threshold",
        )
    cuts, sensitivity, specificity = operating_points(scores, is_positive)
    good = serves(method, target, sensitivity, specificity)
    if not good.any():
        raise DataError(
            f"no cut-off has a specificity of {target:g} and calls a film: the highest score is of a film without",
            expected=f"a target of at most {specificity.max():.4g}",
        )
    # Of several, sensitivity asks for the highest cut-off; the others for the lowest, which misses least.
    best = int(np.flatnonzero(good)[-1 if method == "sensitivity" else 0])
    patient_ids = table["patient_id"].to_numpy(object)
    moved = None
    if resamples:
        moved = cut_off_interval(scores, is_positive, patient_ids, method, target, resamples, seed)["ci95"]
    return Threshold(
        float(cuts[best]),
        method,
        f"validation, {aim_in_words(method, target)} ({len(table)} films of {len(set(patient_ids))} patients)",
        positive,
        float(sensitivity[best]),
        float(specificity[best]),
        len(table),
        len(set(patient_ids)),
        _interval(scores[is_positive] >= cuts[best], patient_ids[is_positive]),
        _interval(scores[~is_positive] < cuts[best], patient_ids[~is_positive]),
        None if moved is None else (moved[0], moved[1]),
    )


def threshold_from_words(
    words: str, validation: pd.DataFrame, positive: str | None = None, resamples: int = 0, seed: int = 0
) -> Threshold:
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
    return choose_threshold(validation, positive, cast(Method, method), wanted, resamples, seed)


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
