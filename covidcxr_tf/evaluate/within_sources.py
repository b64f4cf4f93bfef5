"""Classes told apart inside one source, where the hospital cannot help: the only areas that say something of a disease.

Pooled over sources, a network that knows the hospital scores as well as one that knows the disease.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.errors import ManifestError
from covidcxr_tf.evaluate.delong import clustered_delong, interval

#: Films that a side needs: an area over fewer is left undefined.
LEAST = 5


def within_source_areas(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the area of every pair of classes in every source that holds both.

    The score of class A against B is p_A / (p_A + p_B), what the network says when only the two are possible; of class
    A against the rest it is p_A.

    Parameters
    ----------
    table : DataFrame
        Predictions with ``source``, ``label``, ``patient_id`` and ``prob_CLASS``.
    classes : sequence of str
        Of the network; rows of other labels are left out.

    Returns
    -------
    DataFrame
        One row a source and pair: ``source, positive, negative, films_positive, films_negative, auc, low, high,
        why``. ``negative`` is ``rest`` for one against all others. ``low`` and ``high`` are the 95 % interval
        by patient (Obuchowski 1997); NaN, with ``why``, where it or the area is undefined.

    Raises
    ------
    ManifestError
        If a column is missing.
    """
    needed = {"source", "label", "patient_id", *(f"prob_{name}" for name in classes)}
    missing = sorted(needed - set(table.columns))
    if missing:
        raise ManifestError(f"no column '{missing[0]}'", expected="predictions with " + ", ".join(sorted(needed)))
    films = table[table["label"].isin(list(classes))].dropna(subset=[f"prob_{name}" for name in classes])
    rows = []
    for source, part in films.groupby("source", sort=True):
        for negative, positive in combinations(classes, 2):
            both = part[part["label"].isin([positive, negative])]
            rows.append(_row(str(source), both, positive, negative))
        if len(classes) > 2:
            rows += [_row(str(source), part, name, "rest") for name in classes]
    columns = ["source", "positive", "negative", "films_positive", "films_negative", "auc", "low", "high", "why"]
    found = pd.DataFrame([row for row in rows if row is not None], columns=columns)
    return found


def _row(source: str, part: pd.DataFrame, positive: str, negative: str) -> dict[str, Any] | None:
    truth = part["label"].eq(positive).to_numpy()
    films = {"films_positive": int(truth.sum()), "films_negative": int((~truth).sum())}
    row: dict[str, Any] = {"source": source, "positive": positive, "negative": negative, **films}
    if not min(films.values()):
        return None
    if min(films.values()) < LEAST:
        return {**row, "auc": np.nan, "low": np.nan, "high": np.nan, "why": f"fewer than {LEAST} films of a class"}
    scores = part[f"prob_{positive}"].to_numpy(np.float64)
    if negative != "rest":
        scores = scores / np.maximum(scores + part[f"prob_{negative}"].to_numpy(np.float64), np.finfo(np.float64).tiny)
    found = interval(clustered_delong(scores[np.newaxis], truth, part["patient_id"].to_numpy()), 0)
    low, high = found["ci95"] or found.get("exact") or (np.nan, np.nan)
    return {**row, "auc": found["value"], "low": low, "high": high, "why": found.get("why", "")}
