"""How a model does in men and women, by age, view and source: one row a group, honest about small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL
from covidcxr_tf.evaluate.delong import clustered_delong, interval
from covidcxr_tf.evaluate.proportions import clustered_share, share_metric
from covidcxr_tf.evaluate.table import (
    UNKNOWN_SOURCE,
    check_predictions,
    class_names,
    one_against_rest,
    probabilities,
    sources,
)

BY = ("sex", "age", "view", "source")
AGE_EDGES = (18, 40, 60, 80)  # children apart, as their films are taken and read otherwise; then twenty years each
UNKNOWN = UNKNOWN_SOURCE
# Patients on the smaller side. Below, even an exact interval of a rate spans about half of what is possible.
FEW_PATIENTS = 10


def age_band(age: object) -> str:
    """Return ``"0-17"``, ``"18-39"``, ``"40-59"``, ``"60-79"``, ``"80+"``, or ``"unknown"`` for no number."""
    try:
        years = float(str(age))
    except ValueError:
        return UNKNOWN
    if not 0 <= years < np.inf:
        return UNKNOWN
    place = int(np.searchsorted(AGE_EDGES, years, side="right"))
    if place == len(AGE_EDGES):
        return f"{AGE_EDGES[-1]}+"
    return f"{AGE_EDGES[place - 1] if place else 0}-{AGE_EDGES[place] - 1}"


def with_manifest(table: pd.DataFrame, manifest: pd.DataFrame, columns: Sequence[str] = BY) -> pd.DataFrame:
    """Return a predictions table with columns of the manifest that its films come from.

    Parameters
    ----------
    table : DataFrame
        Predictions (``path``, ``patient_id``, maybe ``source``).
    manifest : DataFrame
        The films (``load_manifest``); films that were not predicted are left out.
    columns : sequence of str
        Those to take where the manifest has them; the table's own are replaced, but for its ``source``.

    Raises
    ------
    ManifestError
        A film that the manifest does not hold, or holds twice; one with another patient there.
    """
    keys = ["path", "source"] if "source" in table.columns and "source" in manifest.columns else ["path"]
    films = _with_sources(manifest, keys)
    wanted = [name for name in columns if name in manifest.columns and name not in keys]
    index = pd.MultiIndex.from_frame(films[keys])
    if not index.is_unique:
        twice = films.loc[films.duplicated(keys), "path"].iloc[0]
        raise ManifestError(f"the film '{twice}' stands there twice", where="manifest", expected="each film once")
    place = index.get_indexer(pd.MultiIndex.from_frame(_with_sources(table, keys)[keys]))
    for row in np.flatnonzero(place < 0)[:1]:
        name = f"'{table['path'].iloc[row]}'" + (f" of {table['source'].iloc[row]}" if len(keys) > 1 else "")
        raise ManifestError(
            f"the film {name} is not in the manifest ({int(np.sum(place < 0))} such films)",
            expected="the manifest of the predicted films",
        )
    patients = films["patient_id"].astype(str).to_numpy(object)[place]
    for row in np.flatnonzero(patients != table["patient_id"].astype(str).to_numpy(object))[:1]:
        raise ManifestError(
            f"the film '{table['path'].iloc[row]}' is of '{patients[row]}' and in the predictions of "
            f"'{table['patient_id'].iloc[row]}'",
            where="manifest",
            expected="the same patients",
        )
    taken = films[wanted].iloc[place].reset_index(drop=True)
    return table.reset_index(drop=True).drop(columns=wanted, errors="ignore").join(taken)


def subgroup_rows(
    table: pd.DataFrame,
    positive: str | None = None,
    threshold: float | None = None,
    by: Sequence[str] = BY,
    level: float = LEVEL,
) -> list[dict[str, Any]]:
    """Return one row a group: first all films, then each value of each column that the table has.

    Parameters
    ----------
    table : DataFrame
        Predictions with any of the columns `by` (``age`` in years: it is put in bands).
    positive : str, optional
        The class that is judged against the rest; the last one if omitted.
    threshold : float, optional
        Two classes: the cut-off on its probability; omitted, the most probable class is called.
    by : sequence of str
    level : float

    Returns
    -------
    list of dict
        ``by``, ``group``, ``n``, ``patients``, ``positives``, ``negatives`` (films), ``auroc`` (interval by patient,
        Obuchowski 1997), ``sensitivity``, ``specificity`` (``proportions.share_metric``), ``small`` with ``note`` where
        a side has fewer than 10 patients. Undefined figures are null with ``why``. Films without a value are the group
        ``"unknown"``.

    Raises
    ------
    UsageError
        An unknown class, a threshold outside [0, 1] or with more than two classes.
    ManifestError
        A faulty table.
    """
    table = check_predictions(table)
    classes = class_names(table)
    positive = classes[-1] if positive is None else positive
    scores, is_positive = one_against_rest(table, positive)
    if threshold is not None and (len(classes) != 2 or not 0 <= threshold <= 1):
        raise UsageError(f"threshold {threshold} of {len(classes)} classes", expected="0 to 1, of two classes")
    called = probabilities(table, classes).argmax(axis=1) == classes.index(positive)
    if threshold is not None:
        called = scores >= threshold
    patient_ids = table["patient_id"].to_numpy(object)
    rows = []
    for column, group, inside in group_films(table, by):
        films = (scores[inside], called[inside], is_positive[inside], patient_ids[inside])
        rows.append({"by": column, "group": group} | group_figures(*films, positive, level))
    return rows


def subgroup_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return `subgroup_rows` as a table with value, lower and upper bound of each figure (NaN where undefined)."""
    flat = []
    for row in rows:
        line = {name: row[name] for name in ("by", "group", "n", "patients", "positives", "negatives", "small")}
        for name in ("auroc", "sensitivity", "specificity"):
            line[name] = np.nan if row[name]["value"] is None else row[name]["value"]
            line[f"{name}_lower"], line[f"{name}_upper"] = row[name]["ci95"] or (np.nan, np.nan)
        flat.append(line | {"note": row.get("note", "")})
    return pd.DataFrame(flat)


def _with_sources(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    return table.assign(source=sources(table)) if "source" in keys else table


def group_films(table: pd.DataFrame, by: Sequence[str] = BY) -> list[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Return (column, group, its films bool [N]), all films first; see `subgroup_rows` for the groups."""
    found = [("all", "all films", np.ones(len(table), bool))]
    for column in by:
        if column not in table.columns:
            continue
        words = np.array([_word(column, cell) for cell in table[column]], object)
        names = sorted(set(words) - {UNKNOWN}, key=_order) + ([UNKNOWN] if UNKNOWN in words else [])
        if names != [UNKNOWN]:  # a column without a word tells no groups apart
            found += [(column, name, words == name) for name in names]
    return found


def _word(column: str, cell: object) -> str:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)) or cell is pd.NA:
        return UNKNOWN
    return age_band(cell) if column == "age" else str(cell).strip() or UNKNOWN


def _order(name: str) -> tuple[int, str]:
    """Return ages in their order, words in that of the alphabet."""
    start = name.split("-")[0].rstrip("+")
    return (int(start) if start.isdigit() else 0, name)


def group_figures(
    scores: npt.NDArray[np.float64],
    called: npt.NDArray[np.bool_],
    is_positive: npt.NDArray[np.bool_],
    patient_ids: npt.NDArray[Any],
    positive: str,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return one row of `subgroup_rows`, but for the group's name, from the films of the group alone."""
    sides = [len(set(patient_ids[side])) for side in (is_positive, ~is_positive)]
    found: dict[str, Any] = {
        "n": len(scores),
        "patients": len(set(patient_ids)),
        "positives": int(is_positive.sum()),
        "negatives": int((~is_positive).sum()),
    }
    if min(sides):
        area = interval(clustered_delong(scores[None, :], is_positive, patient_ids), 0, level)
    else:
        area = {"value": None, "ci95": None, "why": f"{'every' if not sides[1] else 'no'} film is {positive}"}
    hits = clustered_share(called[is_positive], patient_ids[is_positive])
    cleared = clustered_share(~called[~is_positive], patient_ids[~is_positive])
    found["auroc"] = area
    found["sensitivity"] = share_metric(hits, level, f"no film is {positive}")
    found["specificity"] = share_metric(cleared, level, f"every film is {positive}")
    found["small"] = min(sides) < FEW_PATIENTS
    if found["small"]:
        found["note"] = f"{sides[0]} patients with and {sides[1]} without {positive}: too few to say more than a hint"
    return found
