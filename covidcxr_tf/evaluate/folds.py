"""Cross-validation as tables: the pooled figures, and mean and spread of the fold-wise ones.

Source: VGG16 five-fold study, results (pooled and fold-wise ROC, mean and standard deviation over folds).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.errors import DataError, ManifestError, SplitError
from covidcxr_tf.evaluate.classification import OVERALL, PER_CLASS, evaluate_table
from covidcxr_tf.evaluate.table import check_predictions, class_names, read_predictions

NOTE = (
    "Each fold's films were judged by a network of its own, so pooled areas compare probabilities of several networks. "
    "The spread of the folds is no interval: their training films overlap."
)


def read_folds(run: str | Path, split: str = "test") -> dict[str, pd.DataFrame]:
    """Return fold -> predictions table from ``fold_K/predictions_<split>.csv`` of a run folder, in order of K.

    Raises
    ------
    DataError
        For a folder without folds.
    ManifestError
        For a faulty table.
    """
    found = {
        int(match[1]): path
        for path in Path(run).glob(f"fold_*/predictions_{split}.csv")
        if (match := re.fullmatch(r"fold_(\d+)", path.parent.name))
    }
    if not found:
        raise DataError("holds no fold", where=run, expected=f"fold_1/predictions_{split}.csv and so on")
    return {f"fold_{number}": read_predictions(found[number]) for number in sorted(found)}


def pool_folds(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the films of all folds with ``fold``, the name of the one that judged them.

    Raises
    ------
    ManifestError
        A faulty table, a film in two folds, or folds of different classes.
    SplitError
        A patient in two folds, or fewer than two folds.
    """
    if len(tables) < 2:
        raise SplitError(f"{len(tables)} fold(s)", expected="at least two")
    checked = {name: check_predictions(table, where=name) for name, table in tables.items()}
    first = next(iter(checked.values()))
    for name, table in checked.items():
        if class_names(table) != class_names(first):
            raise ManifestError(
                f"has the classes {', '.join(class_names(table))}",
                where=name,
                expected=f"{', '.join(class_names(first))}, as the other folds",
            )
    pooled = pd.concat([table.assign(fold=name) for name, table in checked.items()], ignore_index=True)
    folds = pooled.groupby("patient_id")["fold"].nunique()
    for patient in folds.index[folds > 1][:1]:
        both = sorted(set(pooled.loc[pooled["patient_id"] == patient, "fold"]))
        raise SplitError(
            f"the patient {patient} stands in {' and '.join(both)}",
            expected="each patient in one fold",
            remedy="make the folds with `covidcxr data split --folds K`",
        )
    return check_predictions(pooled, where="folds")


def evaluate_folds(
    tables: Mapping[str, pd.DataFrame], positive: str | None = None, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return ``metrics.json`` of a cross-validation: the pooled metrics, with the fold-wise ones under ``folds``.

    Parameters
    ----------
    tables : mapping
        Fold -> predictions table of its test films. Where all have ``predicted``, films are judged as they were
        called, by each fold's own cut-off; else by the most probable class.
    positive : str, optional
        The class that curves are about; the last one if omitted.
    resamples, seed : int
        Of the bootstrap over patients.

    Returns
    -------
    dict
        That of ``evaluate_table`` on all films, and ``folds``: ``names``, ``per_fold`` (fold -> its metrics),
        ``mean_sd`` (metric -> ``mean``, ``sd`` (n - 1), ``values`` a fold, null where undefined there, ``why``) and
        ``mean_sd_per_class``, ``note``.

    Raises
    ------
    ManifestError, SplitError, UsageError
        As `pool_folds` and `evaluate_table`.
    """
    pooled = pool_folds(tables)
    as_called = all("predicted" in table.columns for table in tables.values())
    origin = "each fold's own call" if as_called else None

    def judged(table: pd.DataFrame) -> dict[str, Any]:
        return evaluate_table(table, positive, None, resamples, seed, threshold_from=origin, as_called=as_called)

    per_fold = {name: judged(pooled[pooled["fold"] == name]) for name in tables}
    by_class = {
        name: {
            metric: {fold: found["per_class"][name][metric] for fold, found in per_fold.items()} for metric in PER_CLASS
        }
        for name in class_names(pooled)
    }
    return {
        **judged(pooled),
        "folds": {
            "names": list(tables),
            "per_fold": per_fold,
            "mean_sd": {
                metric: mean_sd({fold: found[metric] for fold, found in per_fold.items()}) for metric in OVERALL
            },
            "mean_sd_per_class": {
                name: {metric: mean_sd(values) for metric, values in metrics.items()}
                for name, metrics in by_class.items()
            },
            "note": NOTE,
        },
    }


def mean_sd(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation (n - 1) of one metric over folds.

    Parameters
    ----------
    metrics : mapping
        Fold -> ``{"value", ...}``; a value may be None.

    Returns
    -------
    dict
        ``mean``, ``sd``, ``n`` (folds in which it is defined), ``values``. Both are null with ``why`` where a fold is
        undefined: a mean over the other folds would be one over other films.
    """
    values = {fold: metric["value"] for fold, metric in metrics.items()}
    missing = [fold for fold, value in values.items() if value is None]
    defined = [value for value in values.values() if value is not None]
    found: dict[str, Any] = {"mean": None, "sd": None, "n": len(defined), "values": values}
    if missing:
        why = "; ".join(f"{fold}: {metrics[fold].get('why', 'undefined')}" for fold in missing)
        return {**found, "why": f"undefined in {why}"}
    found["mean"] = float(np.mean(defined))
    if len(defined) < 2:
        return {**found, "why": "a spread needs at least two folds"}
    return {**found, "sd": float(np.std(defined, ddof=1))}
