"""Temperature scaling: one number that makes a model as sure as it is right, without changing any call.

Fitted on validation films and nowhere else: fitted on the films that it is judged on it flatters the calibration.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from covidcxr_tf.errors import DataError, SplitError, UsageError
from covidcxr_tf.evaluate.bootstrap import Floats
from covidcxr_tf.evaluate.table import check_predictions, class_indices, class_names, probabilities
from covidcxr_tf.evaluate.thresholds import refuse_other_splits

LOWEST, HIGHEST = 0.02, 50.0  # beyond, the films say nothing about how sure the model should be
SMALLEST = 1e-12  # stands for a probability of 0, whose logarithm is infinite


@dataclass(frozen=True)
class Temperature:
    """softmax(logits / value).

    Attributes
    ----------
    value : float
        Above 1: the model was too sure; below 1: not sure enough.
    nll_before, nll_after : float
        Mean negative log likelihood on the films that it was fitted on, in nats.
    films, patients : int
        These; 0 patients where they were not told.
    """

    value: float
    nll_before: float
    nll_after: float
    films: int
    patients: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, fit for JSON."""
        return asdict(self)


def apply_temperature(outputs: npt.ArrayLike, value: float) -> Floats:
    """Return probabilities at a temperature, float64 [films, classes].

    Parameters
    ----------
    outputs : float [films, classes]
        Logits, or probabilities (all in [0, 1] with rows that sum to 1): their logarithms are logits.
    value : float
        Above 0; at 1 probabilities stay what they are.

    Raises
    ------
    UsageError
        A temperature that is not above 0, outputs that are no table of finite numbers.
    """
    if not (np.isfinite(value) and value > 0):
        raise UsageError(f"temperature {value}", expected="a number above 0")
    return special.softmax(_as_logits(outputs) / value, axis=1)


def fit_temperature(outputs: npt.ArrayLike, labels: npt.ArrayLike) -> Temperature:
    """Return the temperature of least negative log likelihood.

    Parameters
    ----------
    outputs : float [films, classes]
        Logits or probabilities, as in `apply_temperature`.
    labels : int [films]
        Class numbers.

    Raises
    ------
    DataError
        Where there is no least: every film right by any margin (the likelihood rises with sureness for ever), or the
        outputs no better than chance (it rises with doubt).
    UsageError
        Shapes that do not fit, a label without a column.

    Source: Guo et al. 2017, section 4.2. The likelihood is concave in 1 / temperature, so the least is the only one.
    """
    scores, truth = _as_logits(outputs), np.asarray(labels)
    if truth.shape != (len(scores),) or not len(truth):
        raise UsageError(f"outputs {scores.shape} and labels {truth.shape}", expected="(films, classes) and (films,)")
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise UsageError("a label has no column", expected=f"whole numbers from 0 to {scores.shape[1] - 1}")
    chosen = np.take_along_axis(scores, truth[:, None], axis=1)[:, 0]

    def slope(sureness: float) -> float:
        expected = np.sum(special.softmax(sureness * scores, axis=1) * scores, axis=1)
        return float(np.mean(expected - chosen))

    surest, least_sure = 1 / LOWEST, 1 / HIGHEST
    if slope(surest) <= 0:
        raise DataError("(nearly) every film is right: the surer the better", expected="some wrong validation films")
    if slope(least_sure) >= 0:
        raise DataError("the probabilities do no better than chance", expected="a model that ranks validation films")
    sureness = optimize.brentq(slope, least_sure, surest, xtol=1e-14, rtol=1e-14)
    return Temperature(1 / float(sureness), _nll(scores, truth), _nll(scores * sureness, truth), len(truth))


def fit_table_temperature(table: pd.DataFrame) -> Temperature:
    """Return the temperature of a predictions table in which every ``split`` is ``validation``.

    Raises
    ------
    SplitError
        If a film is of another split.
    DataError
        As `fit_temperature`; also for a table of a model of findings (whose outputs share no softmax).
    """
    table = check_predictions(table)
    refuse_other_splits(table, "as a temperature fitted on the films it is judged on flatters itself")
    classes = class_names(table)
    if len(set(table["label"])) < 2:
        raise SplitError("validation films of one class only", expected="at least two classes to fit a temperature")
    found = fit_temperature(probabilities(table, classes), class_indices(table["label"], classes))
    return Temperature(**found.as_dict() | {"patients": int(table["patient_id"].nunique())})


def _as_logits(outputs: npt.ArrayLike) -> Floats:
    """Return logits; of probabilities their logarithms, which differ from the logits by a number a film."""
    values = np.asarray(outputs, np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise UsageError(f"outputs of shape {values.shape}", expected="finite numbers, (films, at least two classes)")
    inside = bool(((values >= 0) & (values <= 1)).all())
    if inside and np.allclose(values.sum(axis=1), 1, rtol=0, atol=1e-3):
        return np.log(np.maximum(values, SMALLEST))
    return values


def _nll(scores: Floats, truth: npt.NDArray[np.int64]) -> float:
    return float(-np.mean(np.take_along_axis(special.log_softmax(scores, axis=1), truth[:, None], axis=1)))
