"""The predictions table: one row a film, the only thing that evaluation reads."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.data.schema import FINDINGS, NO_FINDING
from covidcxr_tf.errors import ManifestError, SplitError, UsageError
from covidcxr_tf.evaluate.table_files import read_table, write_table

PREFIX = "prob_"
REQUIRED = ("path", "patient_id", "label")
OPTIONAL = ("predicted", "split", "source")
ORDER = (*REQUIRED, *OPTIONAL)
# Softmax in float16 and tables rounded to four digits miss 1 by less; a column forgotten misses it by more.
SUM_TOLERANCE = 1e-3
UNKNOWN_SOURCE = "unknown"
UNREADABLE = "1"  # of `status`: 0 ok, 2 no lungs found and the whole film used

Floats = npt.NDArray[np.float64]


def class_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the classes of a table: its ``prob_<class>`` columns without the prefix, in their order."""
    return tuple(str(name)[len(PREFIX) :] for name in table.columns if str(name).startswith(PREFIX))


def holds_findings(table: pd.DataFrame) -> bool:
    """Return whether a table is of a model of findings: one probability a finding, of which a film has any number.

    It is where every class is an NIH finding and the labels are no classes; such rows need not sum to 1.
    """
    classes = class_names(table)
    if not classes or not set(classes) <= set(FINDINGS):
        return False
    return "label" not in table.columns or not set(_texts(table["label"])) <= set(classes)


def probabilities(table: pd.DataFrame, classes: Sequence[str]) -> Floats:
    """Return float64 [films, classes] in [0, 1]."""
    return table[[PREFIX + name for name in classes]].to_numpy(np.float64)


def one_against_rest(table: pd.DataFrame, name: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the probability of class `name` and whether each film is of it, for curves and cut-offs."""
    if name not in class_names(table):
        raise UsageError(f"'{name}' is no class of the table", expected=", ".join(class_names(table)))
    return table[PREFIX + name].to_numpy(np.float64), (table["label"] == name).to_numpy(bool)


def class_indices(labels: Iterable[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return int64 [films]: the place of each label in `classes`."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[label] for label in labels], np.int64)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Return a checked predictions table.

    Parameters
    ----------
    path : str or path
        CSV or Parquet with ``path, patient_id, label`` and one ``prob_<class>`` a class; ``predicted``, ``split`` and
        ``source`` may be there; other columns are kept as text. A folder: all such files in it, as one table. Films
        whose ``status`` is 1 (unreadable) have no probabilities and are left out.

    Returns
    -------
    DataFrame
        Index 0..n-1. Probabilities are float64, read to the last bit; everything else is stripped text, where
        an empty cell is the empty string ("NA" and "None" stay the words they are).

    Raises
    ------
    ManifestError
        For a file that is no table and for every fault that `check_predictions` names.
    """
    table = read_table(path)
    unread = unreadable(table)
    if not unread.any():
        return check_predictions(table, where=path, findings="allowed")
    where = f"{path} (without {int(unread.sum())} films that could not be read)"
    print(f"{where}: judged by the {int((~unread).sum())} others", file=sys.stderr)
    return check_predictions(table[~unread], where=where, findings="allowed")


def check_predictions(
    table: pd.DataFrame,
    where: object = "predictions",
    *,
    labelled: bool = True,
    findings: Literal["refused", "allowed"] = "refused",
) -> pd.DataFrame:
    """Return a copy of `table` with float64 probabilities and text elsewhere, or say what is wrong with it.

    Parameters
    ----------
    table : DataFrame
        As in `read_predictions`.
    where : str or path
        Name of the table in messages.
    labelled : bool
        Whether every film needs a patient and a label, as evaluation does; films to predict only have neither, and
        one that could not be read (`unreadable`) no probabilities.
    findings : str
        ``"allowed"``: the table may also be that of a model of findings (`holds_findings`): its rows need not sum to
        1, and ``findings`` (names joined by ``|``, ``No Finding``, empty for unknown) takes the place of ``label``.

    Raises
    ------
    ManifestError
        A missing column, no row, an empty ``path``, ``patient_id`` or ``label``, a probability that is no number
        in [0, 1], a row that does not sum to 1 within 1e-3, a label (or ``predicted``) without a ``prob_`` column,
        a film twice. The message names row and column; the header is row 1.
    """
    classes = class_names(table)
    multilabel = holds_findings(table)
    if multilabel and findings == "refused":
        raise ManifestError(
            "the table is of a model of findings", where=where, expected="classes, of which a film has one"
        )
    required = ("path", "patient_id", "findings") if multilabel and labelled else REQUIRED
    missing = [name for name in required if name not in table.columns]
    if missing or len(classes) < (1 if multilabel else 2):
        raise ManifestError(
            f"column {missing[0]} is missing" if missing else f"{len(classes)} prob_ column(s)",
            where=f"{where}, row 1",
            expected=", ".join(required) + " and prob_<class> for at least two classes",
        )
    if not len(table):
        raise ManifestError("the table holds no film", where=where, expected="at least one row below the header")
    needed = np.ones(len(table), bool) if labelled else ~unreadable(table)
    checked = table.reset_index(drop=True).copy()
    checked.attrs = dict(table.attrs)
    for name in checked.columns:
        if str(name).startswith(PREFIX):
            checked[name] = _numbers(checked[name], where, needed)
        elif name in (*ORDER, "findings") or not pd.api.types.is_numeric_dtype(checked[name]):
            checked[name] = _texts(checked[name])
    if multilabel:
        _check_findings(checked, where, labelled)
    else:
        _check_labels(checked, classes, where, labelled)
        _check_sums(probabilities(checked, classes), where, needed)
    _check_films(checked, where)
    return checked


def write_predictions(table: pd.DataFrame, path: str | Path) -> Path:
    """Check `table`, write it in one step as Parquet if the suffix says so and else as CSV, and return the path.

    Films without patient or label are written too; `read_predictions` refuses them, as nothing can be judged on them.
    """
    return write_table(in_order(table, path), path)


def in_order(table: pd.DataFrame, where: object = "predictions") -> pd.DataFrame:
    """Return the checked table: the columns of the contract first, then other ones, then the probabilities."""
    checked = check_predictions(table, where=where, labelled=False, findings="allowed")
    probability_columns = [PREFIX + name for name in class_names(checked)]
    first = [name for name in ORDER if name in checked.columns]
    others = [name for name in checked.columns if name not in first and name not in probability_columns]
    return checked[[*first, *others, *probability_columns]]


def unreadable(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows are of films that could not be read, bool (rows,): those whose ``status`` is 1."""
    if "status" not in table.columns:
        return np.zeros(len(table), bool)
    return np.array([text == UNREADABLE for text in _texts(table["status"])], bool)


def default_split(splits: Iterable[Any], where: object = "predictions") -> str | None:
    """Return the split to judge where none was asked for: None (all rows) for one split, else ``"test"``.

    Raises
    ------
    UsageError
        If there are several splits and none of them is ``test``.
    """
    found = sorted(set(_texts(splits)))
    if len(found) < 2:
        return None
    if "test" in found:
        return "test"
    raise UsageError(f"holds the splits {', '.join(found)}", where=where, remedy="choose one with --split, or 'all'")


def pick_split(table: pd.DataFrame, split: str | None, where: object = "predictions") -> pd.DataFrame:
    """Return the rows of `split` (``None`` or ``"all"``: every row).

    Raises
    ------
    SplitError
        If no row is in that split.
    """
    if split in (None, "all"):
        return table
    splits = table["split"] if "split" in table.columns else pd.Series([""] * len(table))
    rows = table[splits.to_numpy() == split]
    if not len(rows):
        present = sorted(set(splits)) if "split" in table.columns else []
        raise SplitError(
            f"no row is in the split '{split}'",
            where=where,
            expected=f"one of {', '.join(map(repr, present)) or 'none'}",
        )
    return rows.reset_index(drop=True)


def sources(table: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return the source of each film as text; ``"unknown"`` where it is not given."""
    if "source" not in table.columns:
        return np.full(len(table), UNKNOWN_SOURCE, object)
    return np.array([name or UNKNOWN_SOURCE for name in _texts(table["source"])], object)


def _texts(column: Iterable[Any]) -> list[str]:
    return ["" if pd.isna(cell) else str(cell).strip() for cell in column]


def _numbers(column: pd.Series, where: object, needed: npt.NDArray[np.bool_]) -> Floats:
    """Return float64; Python's float() reads decimal text to the last bit, which pandas' own parser does not.

    A cell that is not `needed` may be empty: NaN.
    """
    numbers = np.empty(len(column), np.float64)
    for row, cell in enumerate(column):
        if not needed[row] and (pd.isna(cell) or cell == ""):
            numbers[row] = np.nan
            continue
        try:
            numbers[row] = float(cell)
        except (TypeError, ValueError):
            numbers[row] = np.nan
        if not 0 <= numbers[row] <= 1:
            raise ManifestError(
                f"{str(cell)!r} is no probability",
                where=f"{where}, row {row + 2}, column {column.name}",
                expected="a number from 0 to 1",
            )
    return numbers


def _check_labels(table: pd.DataFrame, classes: Sequence[str], where: object, labelled: bool) -> None:
    _check_filled(table, REQUIRED if labelled else ("path",), where)
    for name in ("label", "predicted"):
        known = classes if labelled else [*classes, ""]
        strangers = np.flatnonzero(~table[name].isin(known).to_numpy()) if name in table.columns else ()
        for row in strangers[:1]:
            raise ManifestError(
                f"'{table[name].iloc[row]}' has no column {PREFIX}{table[name].iloc[row]}",
                where=f"{where}, row {row + 2}, column {name}",
                expected=", ".join(classes),
            )


def _check_findings(table: pd.DataFrame, where: object, labelled: bool) -> None:
    _check_filled(table, ("path", "patient_id") if labelled else ("path",), where)
    for row, cell in enumerate(table.get("findings", ())):
        if cell not in ("", NO_FINDING) and not set(cell.split("|")) <= set(FINDINGS):
            raise ManifestError(
                f"'{cell}' holds a name that is no finding",
                where=f"{where}, row {row + 2}, column findings",
                expected=f"'{NO_FINDING}', or names joined by | among {', '.join(FINDINGS)}",
            )


def _check_filled(table: pd.DataFrame, columns: Sequence[str], where: object) -> None:
    for name in columns:
        for row in np.flatnonzero(table[name].to_numpy() == "")[:1]:
            raise ManifestError("empty cell", where=f"{where}, row {row + 2}, column {name}")


def _check_films(table: pd.DataFrame, where: object) -> None:
    # The same relative path may stand in two collections.
    identity = [name for name in ("path", "source") if name in table.columns]
    for row in np.flatnonzero(table.duplicated(identity).to_numpy())[:1]:
        raise ManifestError(
            f"the film '{table['path'].iloc[row]}' stands there twice", where=f"{where}, row {row + 2}, column path"
        )


def _check_sums(probs: Floats, where: object, needed: npt.NDArray[np.bool_]) -> None:
    sums = probs.sum(axis=1)
    for row in np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) & needed)[:1]:
        raise ManifestError(
            f"the probabilities sum to {sums[row]:.6g}",
            where=f"{where}, row {row + 2}, columns {PREFIX}*",
            expected=f"1 within {SUM_TOLERANCE:g}",
        )
