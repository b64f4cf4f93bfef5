"""Cramer's V of two columns, with an interval over patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.audit.evidence import Floats
from covidcxr_tf.evaluate.bootstrap import bootstrap, describe, patient_numbers


def cramers_v(
    one: npt.NDArray[Any], other: npt.NDArray[Any], patients: npt.NDArray[Any], resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return Cramer's V of two columns as ``metrics.json`` has a metric: in [0, 1], 0 independent, 1 one is the other.

    Without bias correction; the interval is over patients. Not defined where either column has one value only.

    Source: Cramer 1946, Mathematical Methods of Statistics, section 21.9.
    """
    first, second = _indicators(one), _indicators(other)
    if first.shape[1] < 2 or second.shape[1] < 2:
        return {"value": None, "ci95": None, "why": "one of the two has a single value"}

    def statistics(weights: Floats) -> dict[str, Floats]:
        counts = np.einsum("ni,nj,nk->ijk", first, second, weights, optimize=True)
        return {"v": _v(counts)}

    samples = bootstrap(statistics, patients, resamples, seed)["v"]
    return describe(float(statistics(np.ones((len(first), 1)))["v"][0]), samples, patient_numbers(patients)[1])


def _indicators(column: npt.NDArray[Any]) -> Floats:
    names = np.unique(column.astype(str))
    return (column.astype(str)[:, None] == names[None]).astype(np.float64)


def _v(counts: Floats) -> Floats:
    """Return V [K] of tables of counts [I, J, K]; rows and columns that a resample leaves empty do not count."""
    total = counts.sum(axis=(0, 1))
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    expected = rows[:, None] * columns[None] / total
    terms = np.divide((counts - expected) ** 2, expected, out=np.zeros_like(counts), where=expected > 0)
    least = np.minimum((rows > 0).sum(axis=0), (columns > 0).sum(axis=0)) - 1
    whole = total * least
    return np.sqrt(np.divide(terms.sum(axis=(0, 1)), whole, out=np.full(len(whole), np.nan), where=whole > 0))
