"""Cut-offs, chosen on validation films and nowhere else.

A cut-off chosen on the films that it is judged on flatters itself, so a table with any other split is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.bootstrap import Floats
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
        ``"youden"``, ``"sensitivity"``, ``"fixed"`` or ``"stored"``.
    threshold_from : str
        One line for ``metrics.json``.
    sensitivity, specificity : float or None
        On the validation films; None for a fixed one.
    """

    value: float
    chosen_by: str
    threshold_from: str
    positive: str | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    films: int = 0
    patients: int = 0

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
    method: Literal["youden", "sensitivity"] = "youden",
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
        sensitivity of at least `target`.
    target : float
        In (0, 1].

    Raises
    ------
    SplitError
        If a film is not of the validation split, or one side has no film.
    UsageError
        An unknown method or class, a target outside (0, 1].
    """
    if method not in ("youden", "sensitivity"):
        raise UsageError(f"'{method}' is no way to choose a threshold", expected="youden or sensitivity")
    if not 0 < target <= 1:
        raise UsageError(f"target sensitivity {target}", expected="a number above 0, at most 1")
    table = check_predictions(table)
    _refuse_other_splits(table)
    positive = class_names(table)[-1] if positive is None else positive
    scores, is_positive = one_against_rest(table, positive)
    if not 0 < is_positive.sum() < len(is_positive):
        raise SplitError(
            f"{int(is_positive.sum())} of {len(is_positive)} validation films are {positive}",
            expected="films on both sides to choose a threshold",
        )
    cuts, sensitivity, specificity = _operating_points(scores, is_positive)
    if method == "youden":
        youden = sensitivity + specificity
        best = int(np.flatnonzero(youden >= youden.max() - 1e-12)[0])
    else:
        best = int(np.flatnonzero(sensitivity >= target)[-1])
    aim = "Youden index" if method == "youden" else f"sensitivity of at least {target:g}"
    patients = int(table["patient_id"].nunique())
    return Threshold(
        float(cuts[best]),
        method,
        f"validation, {aim} ({len(table)} films of {patients} patients)",
        positive,
        float(sensitivity[best]),
        float(specificity[best]),
        len(table),
        patients,
    )


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


def _refuse_other_splits(table: pd.DataFrame) -> None:
    splits = table["split"].to_numpy(object) if "split" in table.columns else np.full(len(table), "", object)
    for row in np.flatnonzero(splits != "validation")[:1]:
        raise SplitError(
            f"the split is '{splits[row]}'",
            where=f"predictions, row {row + 2}, column split",
            expected="validation films only, as a threshold chosen on the films it is judged on flatters itself",
        )
