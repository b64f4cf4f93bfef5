"""Labels for DICOM films from a table of one's own, joined by path or identifier; no identifier leaves this module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from covidcxr_tf.data.schema import HEADER_ROWS, place
from covidcxr_tf.data.tables import read_text_table
from covidcxr_tf.errors import ManifestError

KEYS = ("path", "SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "study_id", "patient_id")
"""Columns that a table of labels may be joined by, the first that is there; the last two are a manifest's own names."""


class Labels:
    """A table with the column ``label`` and one of `KEYS`.

    Raises
    ------
    ManifestError
        If a column is missing, a cell empty, or one key has two labels. Messages name rows, never what stands in them.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ManifestError("there is no such file", where=path, expected=f"a CSV of label and {', '.join(KEYS)}")
        table, faults = read_text_table(path)
        if faults:
            raise faults[0].error(path)
        self.key = next((name for name in KEYS if name in table.columns), "")
        if not self.key or "label" not in table.columns:
            raise ManifestError(
                "columns are missing", where=path, expected=f"label, and one of {', '.join(KEYS)}, in the header"
            )
        self._labels: dict[str, str] = {}
        self._used: set[str] = set()
        rows: dict[str, int] = {}
        for row, (key, label) in enumerate(zip(table[self.key], table["label"], strict=True), start=HEADER_ROWS):
            if not key or not label:
                raise ManifestError("the cell is empty", where=place(path, row, "label" if key else self.key))
            if self._labels.setdefault(key, label) != label:
                raise ManifestError(f"another label than in row {rows[key]}, for the same key", where=place(path, row))
            rows.setdefault(key, row)

    def of(self, keys: Mapping[str, str]) -> str:
        """Return the label of a film by its keys (name of `KEYS` -> value); empty where the table has none."""
        key = keys.get(self.key, "")
        self._used.add(key)
        return self._labels.get(key, "")

    def unused(self) -> int:
        """Return how many keys of the table no film had."""
        return len(self._labels.keys() - self._used)
