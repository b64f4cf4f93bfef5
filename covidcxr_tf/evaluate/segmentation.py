"""Overlap of masks: Dice and Jaccard a film, and their means with intervals over patients.

Masks of several classes are judged class by class, each against all the rest.

Policy for empty masks: both empty is a perfect answer (1); one of them empty is a wrong one (0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import DataError, ManifestError
from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import ratio
from covidcxr_tf.evaluate.table import sources

Mask = npt.NDArray[Any]
OVERLAPS = ("dice", "jaccard")


def dice(truth: Mask, predicted: Mask) -> float:
    """Return 2 |A and B| / (|A| + |B|), in [0, 1], of two masks of one shape (non-zero = inside).

    Raises
    ------
    DataError
        If the shapes differ.

    Source: Dice 1945; Haghanifar 2020, 3.2.
    """
    shared, inside_truth, inside_predicted = _overlap(truth, predicted)
    both = inside_truth + inside_predicted
    return 2 * shared / both if both else 1.0


def jaccard(truth: Mask, predicted: Mask) -> float:
    """Return |A and B| / |A or B|, in [0, 1], of two masks of one shape (non-zero = inside).

    Raises
    ------
    DataError
        If the shapes differ.
    """
    shared, inside_truth, inside_predicted = _overlap(truth, predicted)
    union = inside_truth + inside_predicted - shared
    return shared / union if union else 1.0


def missed_share(truth: Mask, predicted: Mask) -> float:
    """Return the share of the true mask that the predicted one leaves out, in [0, 1]; 0 where nothing is there to miss.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    shared, inside_truth, _ = _overlap(truth, predicted)
    return 1 - shared / inside_truth if inside_truth else 0.0


def score_masks(truth: Mask, predicted: Mask) -> dict[str, float]:
    """Return both overlaps of one film, as columns for `evaluate_masks`."""
    return {"dice": dice(truth, predicted), "jaccard": jaccard(truth, predicted)}


def score_classes(truth: Mask, predicted: Mask, classes: Mapping[str, int]) -> dict[str, float]:
    """Return both overlaps of each class of one film, as columns ``dice_<class>`` and ``jaccard_<class>``.

    Parameters
    ----------
    truth, predicted : integers (H, W)
        The number of each pixel's class.
    classes : mapping
        Name -> number of the classes that are judged; the background is none of them.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    return {
        f"{overlap}_{name}": value
        for name, number in classes.items()
        for overlap, value in score_masks(np.equal(truth, number), np.equal(predicted, number)).items()
    }


def evaluate_masks(rows: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Return the document of ``metrics.json`` for masks.

    Parameters
    ----------
    rows : DataFrame
        One row a film: ``patient_id``, ``dice`` and ``jaccard`` (either or both), optional ``source``; optional
        ``dice_<class>`` and ``jaccard_<class>``, NaN where a film has no drawing of that class.
    resamples, seed : int
        Of the bootstrap over patients.

    Returns
    -------
    dict
        ``n``, ``patients``, for each overlap ``value`` (= ``mean`` over films), ``ci95`` of it, ``median`` and ``p05``
        (5th percentile of films), and the same in ``by_source``. With columns of classes also ``by_class``: name ->
        ``n``, ``patients`` and the overlaps over the films where the class was drawn.

    Raises
    ------
    ManifestError
        No row, a missing column, an overlap that is no number in [0, 1].
    """
    found = [name for name in OVERLAPS if name in rows.columns]
    if not found or "patient_id" not in rows.columns or not len(rows):
        raise ManifestError(
            "no film, or a column is missing", where="mask scores", expected="patient_id, dice, jaccard"
        )
    classes = [name.removeprefix("dice_") for name in rows.columns if name.startswith("dice_")]
    columns = [f"{overlap}_{name}" for name in classes for overlap in OVERLAPS if f"{overlap}_{name}" in rows.columns]
    for name in (*found, *columns):
        values = rows[name].to_numpy(np.float64)
        wrong = ~((values >= 0) & (values <= 1)) & ~(np.isnan(values) & (name in columns))
        for row in np.flatnonzero(wrong)[:1]:
            raise ManifestError(
                f"{values[row]} is no overlap", where=f"mask scores, row {row + 2}, column {name}", expected="0 to 1"
            )
    source = sources(rows)
    return {
        "schema_version": 1,
        **_summary(rows, found, resamples, seed),
        **({"by_class": {name: _of_class(rows, name, resamples, seed) for name in classes}} if classes else {}),
        "empty_masks": "both empty: 1; one empty: 0",
        "bootstrap": {"unit": "patient", "method": "percentile", "level": LEVEL, "resamples": resamples, "seed": seed},
        "by_source": {name: _summary(rows[source == name], found, resamples, seed) for name in sorted(set(source))},
    }


def _of_class(rows: pd.DataFrame, name: str, resamples: int, seed: int) -> dict[str, Any]:
    own = {f"{overlap}_{name}": overlap for overlap in OVERLAPS if f"{overlap}_{name}" in rows.columns}
    kept = rows[["patient_id", *own]].rename(columns=own).dropna(subset=list(own.values()))
    if kept.empty:
        return {"n": 0, "patients": 0, "why": "no film has a drawing of it"}
    return _summary(kept, list(own.values()), resamples, seed)


def _summary(rows: pd.DataFrame, found: list[str], resamples: int, seed: int) -> dict[str, Any]:
    patient_ids = rows["patient_id"].to_numpy(object)
    patients = patient_numbers(patient_ids)[1]
    values = {name: rows[name].to_numpy(np.float64) for name in found}

    def means(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        return {name: ratio(value @ weights, total) for name, value in values.items()}

    samples = bootstrap(means, patient_ids, resamples if patients > 1 else 0, seed)
    result: dict[str, Any] = {"n": len(rows), "patients": patients}
    for name, value in values.items():
        mean = float(value.mean())
        result[name] = describe(mean, samples[name], patients) | {
            "mean": mean,
            "median": float(np.median(value)),
            "p05": float(np.quantile(value, 0.05)),
        }
    return result


def _overlap(truth: Mask, predicted: Mask) -> tuple[int, int, int]:
    inside_truth, inside_predicted = np.asarray(truth) != 0, np.asarray(predicted) != 0
    if inside_truth.shape != inside_predicted.shape:
        raise DataError(
            f"masks of {inside_truth.shape} and {inside_predicted.shape} pixels", expected="two masks of one shape"
        )
    shared = np.count_nonzero(inside_truth & inside_predicted)
    return int(shared), int(np.count_nonzero(inside_truth)), int(np.count_nonzero(inside_predicted))
