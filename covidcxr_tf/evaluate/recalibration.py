"""Local recalibration: a model's probabilities fitted to a hospital from a small labelled set of its own films.

The ranking stays (a positive slope is monotone): only what a probability means is mended. How much may be fitted goes
by how many patients the smaller side has: the intercept alone (how common the disease is), or the slope too (how sure
the model is); too few, and nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from covidcxr_tf.errors import DataError, UsageError
from covidcxr_tf.evaluate.bootstrap import Floats, patient_numbers
from covidcxr_tf.evaluate.logistic import fit_line, log_loss, logits
from covidcxr_tf.evaluate.table import PREFIX, check_predictions, class_names, one_against_rest

# Ten a fitted number: the floor of Peduzzi 1996. Patients count, as films of one patient are one event seen twice.
PATIENTS_FOR_INTERCEPT = 10
PATIENTS_FOR_SLOPE = 20


@dataclass(frozen=True)
class Recalibration:
    """logit(new) = intercept + slope * logit(old).

    Attributes
    ----------
    kind : str
        ``"intercept"`` or ``"slope and intercept"``.
    intercept, slope : float
    films, patients, positive_patients, negative_patients : int
        It was fitted on.
    log_loss_before, log_loss_after : float
        On these films, in nats; the second flatters itself.
    note : str
        Why less was fitted than asked for, if so.
    """

    kind: str
    intercept: float
    slope: float
    films: int
    patients: int
    positive_patients: int
    negative_patients: int
    log_loss_before: float
    log_loss_after: float
    note: str = ""

    def apply(self, probs: npt.ArrayLike) -> Floats:
        """Return recalibrated probabilities of the positive class, float64 of the same shape."""
        return special.expit(self.intercept + self.slope * logits(probs))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, fit for JSON."""
        return asdict(self)


def recalibrate(
    probs: npt.ArrayLike,
    is_positive: npt.ArrayLike,
    patient_ids: Sequence[Hashable] | npt.NDArray[Any],
    kind: Literal["auto", "intercept", "slope and intercept"] = "auto",
) -> Recalibration:
    """Return the recalibration that a small labelled set allows.

    Parameters
    ----------
    probs : float [films]
        Probability of the positive class.
    is_positive : bool [films]
    patient_ids : sequence [films]
    kind : str
        ``"auto"``: the intercept from 10 patients on each side on, the slope too from 20 on.

    Raises
    ------
    DataError
        Fewer than 10 patients on a side, or fewer than 20 where the slope is asked for.
    UsageError
        An unknown kind, or lengths that differ.

    Source: Steyerberg 2004 (updating by intercept, then slope); Peduzzi 1996 (ten events a coefficient).
    """
    if kind not in ("auto", "intercept", "slope and intercept"):
        raise UsageError(f"'{kind}' is no recalibration", expected="auto, intercept or slope and intercept")
    logit, truth = logits(probs), np.asarray(is_positive, bool)
    if not len(logit) == len(truth) == len(patient_ids):
        raise UsageError(
            f"{len(logit)} probabilities, {len(truth)} labels, {len(patient_ids)} patients", expected="one each a film"
        )
    numbers, patients = patient_numbers(patient_ids)
    sides = [len(set(numbers[side].tolist())) for side in (truth, ~truth)]
    needed = PATIENTS_FOR_SLOPE if kind == "slope and intercept" else PATIENTS_FOR_INTERCEPT
    if min(sides) < needed:
        raise DataError(
            f"{sides[0]} patients with and {sides[1]} without the class",
            expected=f"at least {needed} on each side to fit the {'intercept' if needed == 10 else kind}",
        )
    with_slope = kind == "slope and intercept" or (kind == "auto" and min(sides) >= PATIENTS_FOR_SLOPE)
    line, note = fit_line(logit, truth, patient_ids, slope=None if with_slope else 1.0), ""
    if with_slope and (line.slope is None or line.slope <= 0):
        note = line.why or f"the slope would be {line.slope:.3g}: it would turn the ranking round"
        if kind != "auto":
            raise DataError(f"no slope can be fitted: {note}", remedy="fit the intercept alone, or mend the labels")
        with_slope, line = False, fit_line(logit, truth, patient_ids, slope=1.0)
    intercept, slope = float(line.intercept or 0.0), float(line.slope or 1.0)
    after = log_loss(intercept + slope * logit, truth)
    chosen = "slope and intercept" if with_slope else "intercept"
    before = log_loss(logit, truth)
    return Recalibration(chosen, intercept, slope, len(truth), patients, sides[0], sides[1], before, after, note)


def recalibrate_table(table: pd.DataFrame, positive: str) -> Recalibration:
    """Return `recalibrate` of a labelled predictions table of two classes.

    Raises
    ------
    UsageError
        More than two classes, or an unknown one.
    DataError
        As `recalibrate`.
    """
    table = check_predictions(table)
    if len(class_names(table)) != 2:
        raise UsageError(f"recalibration with {len(class_names(table))} classes", expected="two classes")
    return recalibrate(*one_against_rest(table, positive), table["patient_id"].to_numpy(object))


def apply_to_table(table: pd.DataFrame, recalibration: Recalibration, positive: str) -> pd.DataFrame:
    """Return a copy of a predictions table of two classes with recalibrated probabilities, without ``predicted``."""
    (other,) = (name for name in class_names(table) if name != positive)
    changed = table.drop(columns="predicted", errors="ignore").copy()
    changed[PREFIX + positive] = recalibration.apply(table[PREFIX + positive])
    changed[PREFIX + other] = 1 - changed[PREFIX + positive]
    return changed


def as_recalibration(stored: Mapping[str, Any]) -> Recalibration:
    """Return what `Recalibration.as_dict` gave."""
    return Recalibration(**stored)
