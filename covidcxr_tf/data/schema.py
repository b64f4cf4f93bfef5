"""The columns of a manifest and the rule of each. Rules look at text and collect faults; none of them raises."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.catalog import nearest
from covidcxr_tf.data.paths import is_inside, real_path, unresolved
from covidcxr_tf.errors import ManifestError

REQUIRED = ("path", "label", "patient_id")
OPTIONAL = (
    "split",
    "fold",
    "source",
    "view",
    "age",
    "sex",
    "findings",
    "mask_path",
    "heart_mask_path",
    "original_width",
    "original_height",
    "license",
    "sha256",
)
LABELS = ("normal", "pneumonia", "bacterial", "viral", "tuberculosis", "covid19", "other")
SPLITS = ("train", "validation", "test")
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
PATH_COLUMNS = ("path", "mask_path", "heart_mask_path")
WHOLE_NUMBERS = ("fold", "original_width", "original_height")

HEADER_ROWS = 2  # index 0 is row 2 of a spreadsheet: it counts from 1 and the header is row 1
OLDEST = 120  # years

# What programs write for a missing number. "NA" and "none" are not here: they can be a patient or a label.
_NOT_A_VALUE = ("nan", "<na>", "null", "#n/a")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: row as a spreadsheet counts (None: the whole column or file), column, words.

    `kind` is schema, unreadable, duplicate, leakage or confounding.
    """

    problem: str
    row: int | None = None
    column: str | None = None
    expected: str | None = None
    remedy: str | None = None
    kind: str = "schema"

    def place(self, manifest: object) -> str:
        """Return ``"manifest.csv, row 3, column label"``."""
        return place(manifest, self.row, self.column)

    def error(self, manifest: object, more: int = 0) -> ManifestError:
        """Return the `ManifestError` of this fault; `more` faults that follow it are counted in its last words."""
        rest = f"({more} more: `covidcxr data check` lists them)" if more else ""
        remedy = " ".join(part for part in (self.remedy, rest) if part)
        return ManifestError(self.problem, where=self.place(manifest), expected=self.expected, remedy=remedy or None)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def place(manifest: object, row: int | None = None, column: str | None = None) -> str:
    """Return ``"manifest.csv, row 3, column label"`` with what is known of it."""
    parts = [str(manifest)]
    if row is not None:
        parts.append(f"row {row}")
    if column is not None:
        parts.append(f"column {column}")
    return ", ".join(parts)


def table_faults(
    table: pd.DataFrame, root: str, require: Iterable[str] = REQUIRED, labels: Iterable[str] | None = None
) -> list[Fault]:
    """Return every fault of a table of stripped text, in the order of its rows.

    Parameters
    ----------
    table : pd.DataFrame
        Known columns as text, "" where nothing stands; index 0..n-1 (row = index + 2).
    root : str
        Folder that paths are relative to and may not leave; an absolute, resolved path.
    require : iterable of str
        Columns that must be there and filled in every row.
    labels : iterable of str, optional
        The labels that are known; None takes any.
    """
    required = tuple(require)
    missing = [_missing_column(name, list(table.columns)) for name in required if name not in table.columns]
    if missing:
        return missing
    if table.empty:
        return [Fault("the manifest has a header but no rows", expected="one row a film")]
    faults = [*_empty_cells(table, required)]
    for name, rule in _RULES.items():
        if name in table.columns:
            faults += _cell_faults(table[name], *rule)
    if labels is not None and "label" in table.columns:
        faults += label_faults(table["label"], tuple(labels))
    for name in PATH_COLUMNS:
        if name in table.columns:
            faults += _path_faults(table[name], root)
    if "path" in table.columns:
        faults += _repeated_paths(table["path"])
    return sorted(faults, key=lambda fault: fault.row or 0)


def label_faults(labels: pd.Series, known: tuple[str, ...]) -> list[Fault]:
    """Return a fault for each row whose label is not among the `known` ones; its row is the index + 2."""
    strange = labels[~labels.isin(known) & (labels != "")]
    hints = {label: nearest(label.casefold().replace("-", "").replace(" ", ""), known) for label in strange.unique()}
    return [
        Fault(
            f"unknown label '{label}'",
            row,
            "label",
            f"one of {', '.join(known)}",
            hints[label] or "name it in the config's classes table if it is a label of your own",
        )
        for row, label in _rows(strange)
    ]


def convert(table: pd.DataFrame) -> pd.DataFrame:
    """Return a faultless table with `age` as float64 (NaN: unknown) and whole numbers as Int64 (NA: unknown)."""
    columns: dict[str, pd.Series] = {}
    if "age" in table.columns:
        columns["age"] = pd.to_numeric(table["age"].replace("", np.nan)).astype("float64")
    for name in WHOLE_NUMBERS:
        if name in table.columns:
            columns[name] = pd.to_numeric(table[name].replace("", np.nan)).astype("float64").astype("Int64")
    return table.assign(**columns)


def _missing_column(name: str, columns: list[str]) -> Fault:
    by_lower = {column.lower(): column for column in map(str, columns)}
    hint = nearest(name, list(by_lower))
    if hint:
        found = hint.split("'")[1]
        hint = f"did you mean '{by_lower[found]}'?"
    elif any(";" in column or "\t" in column for column in by_lower):
        hint = "the file is not separated by commas: save it with commas"
    return Fault(f"column '{name}' is missing", 1, None, f"{', '.join(REQUIRED)} in the header", hint or None)


def _empty_cells(table: pd.DataFrame, required: tuple[str, ...]) -> Iterator[Fault]:
    for name in dict.fromkeys((*REQUIRED, *OPTIONAL, *required)):
        if name not in table.columns:
            continue
        cells = table[name].astype(str)
        wrong = cells.str.casefold().isin(_NOT_A_VALUE)
        if name in required:
            wrong |= cells == ""
        remedy = None if name in required else "leave the cell empty where it is not known"
        for row, cell in _rows(cells[wrong]):
            came = f"'{cell}' is no value" if cell else "the cell is empty"
            yield Fault(came, row, name, _EXPECTED.get(name, "text"), remedy)


def _cell_faults(cells: pd.Series, is_right: Callable[[str], bool], expected: str) -> list[Fault]:
    # Each distinct text is judged once: a column of a hundred thousand cells holds few.
    wrong = {
        cell for cell in cells.unique() if cell != "" and cell.casefold() not in _NOT_A_VALUE and not is_right(cell)
    }
    if not wrong:
        return []
    return [
        Fault(f"'{cell}' is not allowed", row, str(cells.name), expected)
        for row, cell in _rows(cells[cells.isin(wrong)])
    ]


def _path_faults(paths: pd.Series, root: str) -> list[Fault]:
    known = {root: root}
    faults = []
    for row, path in _rows(paths):
        if not path or path.casefold() in _NOT_A_VALUE:
            continue
        problem = unresolved(path)
        if problem is None and not is_inside(real_path(os.path.join(root, path), known), root):
            problem = f"leads outside the root {root}"
        if problem is not None:
            faults.append(
                Fault(
                    f"path {path!r} {problem}",
                    row,
                    str(paths.name),
                    "a path relative to the manifest's folder, inside it",
                    "give --root DIR if the films lie elsewhere",
                )
            )
    return faults


def _repeated_paths(paths: pd.Series) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for row, path in _rows(paths[paths != ""]):
        before = first.setdefault(posixpath.normpath(path), row)
        if before != row:
            faults.append(Fault(f"'{path}' stands in row {before} already", row, "path", "one row a film"))
    return faults


def _rows(cells: pd.Series) -> Iterator[tuple[int, str]]:
    """Give each cell with the row of the file that it stands in."""
    for index, cell in zip(cells.index.tolist(), cells.tolist(), strict=True):
        yield index + HEADER_ROWS, cell


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _is_age(text: str) -> bool:
    return 0 <= _number(text) <= OLDEST


def _is_counting_number(text: str) -> bool:
    # "1.0" passes: tables with an empty cell in a column of whole numbers are often saved that way.
    value = _number(text)
    return 1 <= value < 2**31 and value == int(value)


def _are_findings(text: str) -> bool:
    names = [name.strip() for name in text.split("|")]
    return names == [NO_FINDING] or all(name in FINDINGS for name in names)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(sign in "0123456789abcdef" for sign in text.lower())


_RULES: dict[str, tuple[Callable[[str], bool], str]] = {
    "split": (SPLITS.__contains__, "train, validation or test"),
    "fold": (_is_counting_number, "a whole number from 1 on"),
    "age": (_is_age, f"years from 0 to {OLDEST}, or empty"),
    "sex": (("M", "F").__contains__, "M, F or empty"),
    "findings": (_are_findings, f"'{NO_FINDING}', or names joined by | among {', '.join(FINDINGS)}"),
    "original_width": (_is_counting_number, "a positive whole number"),
    "original_height": (_is_counting_number, "a positive whole number"),
    "sha256": (_is_sha256, "64 hexadecimal digits, or empty"),
}
_EXPECTED = {
    "path": "the film's path relative to the manifest's folder",
    "label": f"a label such as {', '.join(LABELS)}",
    "patient_id": "an id that all films of one patient share",
    **{name: expected for name, (_, expected) in _RULES.items()},
}
