"""The tables that a judgement may need beside the judged one: validation films, and labelled films of the place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from covidcxr_tf.errors import SplitError, UsageError
from covidcxr_tf.evaluate.recalibration import Recalibration, apply_to_table, recalibrate_table
from covidcxr_tf.evaluate.table import pick_split, read_predictions
from covidcxr_tf.evaluate.thresholds import Threshold

BESIDE = "predictions_validation.csv"


def validation_films(given: str | Path | None, table: pd.DataFrame | None, folder: str | Path) -> pd.DataFrame:
    """Return the predictions that a cut-off may be chosen on.

    Parameters
    ----------
    given : str or path, optional
        Predictions table named by the user; its validation rows where it holds several splits.
    table : DataFrame, optional
        The whole predictions table, before any split was picked.
    folder : str or path
        Where ``predictions_validation.csv`` may lie (a run folder).

    Raises
    ------
    UsageError
        If there are none.
    SplitError, ManifestError
        As ``read_predictions`` and ``pick_split``.
    """
    beside = Path(folder) / BESIDE
    if given is None and table is not None and "validation" in set(table.get("split", [])):
        return pick_split(table, "validation")
    if given is None and not beside.is_file():
        raise UsageError(
            "no validation films to choose a cut-off on",
            expected=f"rows of the split validation, or {beside}",
            remedy="name a table with --validation, or a number with --threshold",
        )
    path = beside if given is None else Path(given)
    found = read_predictions(path)
    several = "split" in found.columns and len(set(found["split"])) > 1
    return pick_split(found, "validation", path) if several else found


def refuse_shared_patients(first: pd.DataFrame, judged: pd.DataFrame, purpose: str) -> None:
    """Raise `SplitError` where films of one patient both serve a purpose and judge its outcome."""
    shared = set(first["patient_id"]) & set(judged["patient_id"])
    if shared:
        raise SplitError(
            f"{len(shared)} patients of the judged films also stand in those {purpose}, '{min(shared)}' first",
            expected="other patients",
        )


def recalibrated(
    table: pd.DataFrame, local: pd.DataFrame, positive: str, threshold: Threshold | float | None
) -> tuple[pd.DataFrame, Recalibration, Threshold | float | None]:
    """Return a table recalibrated on local films, the recalibration, and the cut-off moved along.

    A cut-off that came with the model goes where its probability goes, so that it still calls the same films; a plain
    number is taken for what the user wants on the new scale.

    Raises
    ------
    SplitError
        If a patient stands in both tables.
    DataError, UsageError
        As ``recalibrate_table``.
    """
    refuse_shared_patients(local, table, "for recalibration")
    found = recalibrate_table(local, positive)
    if isinstance(threshold, Threshold):
        moved = float(found.apply(threshold.value))
        threshold = replace(threshold, value=moved, threshold_from=f"{threshold.threshold_from}, recalibrated")
    return apply_to_table(table, found, positive), found, threshold
