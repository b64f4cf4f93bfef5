"""Manifests: one row a film. Read and checked at the border, trusted inside.

The index of a loaded manifest is 0..n-1 and row ``index + 2`` of the file (a spreadsheet counts from 1, its header
is row 1). Whatever drops rows keeps the index, so that later messages still name the right row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from covidcxr_tf.data.paths import is_inside, unresolved
from covidcxr_tf.data.schema import (
    FINDINGS,
    HEADER_ROWS,
    LABELS,
    NO_FINDING,
    OPTIONAL,
    REQUIRED,
    SPLITS,
    convert,
    label_faults,
    place,
    table_faults,
)
from covidcxr_tf.data.tables import need_parquet, read_text_table
from covidcxr_tf.errors import ManifestError
from covidcxr_tf.files import replacing

__all__ = [
    "FINDINGS",
    "LABELS",
    "NO_FINDING",
    "OPTIONAL",
    "REQUIRED",
    "SPLITS",
    "film_path",
    "load_manifest",
    "map_classes",
    "path_problem",
    "resolve_root",
    "row_place",
    "with_findings",
    "write_manifest",
]


def load_manifest(
    path: str | Path,
    root: str | Path | None = None,
    *,
    require: Iterable[str] = REQUIRED,
    labels: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Return the films of a manifest (CSV, or Parquet by suffix) after every check of its rows and columns.

    No film is opened and none need exist: `covidcxr_tf.data.check` does that.

    Parameters
    ----------
    path : str or path
        The manifest.
    root : str or path, optional
        Folder that the paths are relative to and may not leave, links followed; by default the manifest's own.
    require : iterable of str
        Columns that must be there and filled in every row.
    labels : iterable of str, optional
        The labels that are known. By default any label is taken: a config's ``classes`` may map it.

    Returns
    -------
    pd.DataFrame
        Index 0..n-1; columns as in the file, text stripped. Text columns hold "" where nothing is known, `age` is
        float64 in years with NaN, `fold`, `original_width`, `original_height` are Int64 with NA.
        ``attrs["root"]`` and ``attrs["manifest"]`` hold the resolved folder and the file, both as text.

    Raises
    ------
    ManifestError
        For a file that cannot be read and for the first fault of its rows, naming row and column.
    """
    folder = resolve_root(path, root)
    table, faults = read_text_table(path)
    faults = faults or table_faults(table, folder, require, labels)
    if faults:
        raise faults[0].error(path, more=len(faults) - 1)
    films = convert(table)
    films.attrs.update(root=folder, manifest=str(path))
    return films


def resolve_root(path: str | Path, root: str | Path | None = None) -> str:
    """Return the resolved folder that the paths of the manifest `path` are relative to.

    Raises
    ------
    ManifestError
        If the manifest is not a file or the root not a folder.
    """
    manifest = Path(path)
    if not manifest.is_file():
        problem = "is a folder" if manifest.is_dir() else "does not exist"
        raise ManifestError(
            f"the manifest {problem}",
            where=path,
            expected="a CSV file with the columns " + ", ".join(REQUIRED),
            remedy="`covidcxr data import` makes one from a folder of films",
        )
    folder = os.path.realpath(manifest.parent if root is None else root)
    if not os.path.isdir(folder):
        raise ManifestError("the root is not a folder", where=root, expected="the folder that paths are relative to")
    return folder


def film_path(films: pd.DataFrame, row: int | str, column: str = "path") -> Path:
    """Return the absolute path of a film, links followed.

    Parameters
    ----------
    films : pd.DataFrame
        A loaded manifest: ``attrs["root"]`` says where its paths begin.
    row : int or str
        A label of the index, or a relative path.
    column : str
        With a row: the column that holds the path (``mask_path``).

    Raises
    ------
    ManifestError
        If the path leaves the root, or the cell is empty.
    """
    root = _root_of(films)
    relative = row if isinstance(row, str) else str(films.loc[row, column])
    where = films.attrs.get("manifest", root) if isinstance(row, str) else row_place(films, row, column)
    if not relative:
        raise ManifestError("there is no path", where=where)
    problem = unresolved(relative)
    resolved = "" if problem else os.path.realpath(os.path.join(root, relative))
    if problem is None and not is_inside(resolved, root):
        problem = f"leads outside the root {root}"
    if problem is not None:
        raise ManifestError(f"path {relative!r} {problem}", where=where, expected="a path inside the root")
    return Path(resolved)


def path_problem(films: pd.DataFrame, row: int, column: str = "path") -> str | None:
    """Return why the file of a row cannot be opened (outside the root, missing, a folder, empty), or None."""
    try:
        path = film_path(films, row, column)
    except ManifestError as fault:
        return fault.problem
    relative = str(films.loc[row, column])
    if path.is_file():
        return None if path.stat().st_size else f"{relative} is empty (0 bytes)"
    return f"{relative} is not a file" if path.exists() else f"{relative} does not exist"


def row_place(films: pd.DataFrame, row: int, column: str | None = None) -> str:
    """Return ``"manifest.csv, row 3, column label"`` for a label of the index, to say where a fault lies."""
    return place(films.attrs.get("manifest", "manifest"), int(row) + HEADER_ROWS, column)


def write_manifest(films: pd.DataFrame, path: str | Path) -> Path:
    """Write a manifest in one step, as Parquet if the suffix says so and else as CSV, and return its path."""
    with replacing(path) as aside:
        if Path(path).suffix.lower() in (".parquet", ".pq"):
            need_parquet(path)
            # attrs would carry this machine's folders into the file
            bare = films.copy()
            bare.attrs = {}
            bare.to_parquet(aside, index=False)
        else:
            films.to_csv(aside, index=False, lineterminator="\n", encoding="utf-8")
    return Path(path)


def map_classes(films: pd.DataFrame, classes: Mapping[str, Iterable[str]], *, complete: bool = True) -> pd.DataFrame:
    """Return the films with the class name as `label` and the label that came as `original_label`.

    Rows whose label no class takes are left out; ``attrs["dropped_labels"]`` counts them by label. The index stays.
    With `complete`, every class must get a film, as training needs; one film of any class is needed either way.

    Raises
    ------
    ManifestError
        If a label is neither canonical nor in a class (most likely a slip of the pen), or a class gets no film.
    """
    class_of = {label: name for name, taken in classes.items() for label in taken}
    where = films.attrs.get("manifest", "manifest")
    faults = label_faults(films["label"], tuple(dict.fromkeys((*class_of, *LABELS))))
    if faults:
        raise faults[0].error(where, more=len(faults) - 1)
    taken = films["label"].isin(class_of)
    mapped = films[taken].copy()
    mapped["original_label"] = mapped["label"]
    mapped["label"] = mapped["label"].map(class_of).astype("str")
    for name, labels in classes.items():
        if (complete or mapped.empty) and not (mapped["label"] == name).any():
            raise ManifestError(
                f"no film for the class '{name}'",
                where=place(where, None, "label"),
                expected=f"at least one film labelled {' or '.join(labels)}",
                remedy=f"labels there: {', '.join(sorted(films['label'].unique()))}",
            )
    dropped = films.loc[~taken, "label"].value_counts()
    mapped.attrs["dropped_labels"] = {str(label): int(count) for label, count in dropped.sort_index().items()}
    return mapped


def with_findings(films: pd.DataFrame) -> pd.DataFrame:
    """Return the films whose findings are known. The index stays.

    Raises
    ------
    ManifestError
        If there is none.
    """
    known = films["findings"].ne("") if "findings" in films else pd.Series(False, index=films.index)
    if not known.any():
        raise ManifestError(
            "no film has findings",
            where=films.attrs.get("manifest"),
            expected="NIH names joined by | in the column 'findings', 'No Finding' for none",
        )
    chosen = films[known]
    chosen.attrs = films.attrs
    return chosen


def _root_of(films: pd.DataFrame) -> str:
    if "root" not in films.attrs:
        raise ManifestError("the table does not say where its paths begin", remedy="read it with load_manifest")
    return str(films.attrs["root"])
