"""Finding the files and reading the tables of a data set that somebody unpacked somewhere."""

from __future__ import annotations

import fnmatch
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from covidcxr_tf.catalog import nearest
from covidcxr_tf.errors import DataError, ManifestError

FILM_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".dcm", ".dicom")
)

#: A folder that holds a file of this name was written by an import and is no part of the data set.
DERIVED_MARKER = ".covidcxr-derived"

_SURPLUS = "surplus"


class Tree:
    """All files of a folder by name, hidden ones and ``__MACOSX`` left out, walked once.

    Parameters
    ----------
    folder : path
        Where the data set was unpacked: its own top folder or one around it.
    expected : str
        What lies there in words, for messages.

    Raises
    ------
    DataError
        If there is no such folder.
    """

    def __init__(self, folder: Path, expected: str) -> None:
        self.folder = Path(folder)
        self.expected = expected
        if not self.folder.is_dir():
            problem = "is not a folder" if self.folder.exists() else "does not exist"
            raise DataError(f"the folder {problem}", where=folder, expected=expected)
        self.files = _walk(self.folder)
        self.known = frozenset(self.files)
        self._by_name: dict[str, list[PurePosixPath]] = {}
        self._by_stem: dict[str, list[PurePosixPath]] = {}
        for path in self.files:
            self._by_name.setdefault(path.name.lower(), []).append(path)
            self._by_stem.setdefault(path.stem.lower(), []).append(path)

    def films(self) -> list[PurePosixPath]:
        """Return the relative paths of everything whose suffix is a film's, sorted."""
        return [path for path in self.files if path.suffix.lower() in FILM_SUFFIXES]

    def named(self, name: str, under: Iterable[str] = ()) -> PurePosixPath | None:
        """Return the file of that name (case aside), one below a folder named in `under` first; else None."""
        return _preferred(self._by_name.get(name.lower(), []), under)

    def film(self, stem: str, under: Iterable[str] = ()) -> PurePosixPath | None:
        """Return the film of that stem (case and suffix aside), one below a folder named in `under` first."""
        found = [path for path in self._by_stem.get(stem.lower(), []) if path.suffix.lower() in FILM_SUFFIXES]
        return _preferred(found, under)

    def film_below(self, stem: str, name: str) -> PurePosixPath | None:
        """Return the film of that stem that lies below a folder called `name`, and no other; else None."""
        found = self.film(stem, under=(name,))
        if found is None or name.lower() not in (part.lower() for part in found.parts[:-1]):
            return None
        return found

    def matching(self, *patterns: str) -> list[PurePosixPath]:
        """Return the files whose name fits a pattern (case aside), the one nearest to the top first."""
        lower = [pattern.lower() for pattern in patterns]
        found = [path for path in self.files if any(fnmatch.fnmatch(path.name.lower(), one) for one in lower)]
        return sorted(found, key=lambda path: (len(path.parts), path))

    def metadata(self, *patterns: str) -> Path:
        """Return the full path of the metadata file nearest to the top.

        Raises
        ------
        DataError
            If there is none: the message says what the data set's folder holds.
        """
        found = self.matching(*patterns)
        if not found:
            raise DataError(
                f"no {' or '.join(patterns)} here",
                where=self.folder,
                expected=self.expected,
                remedy="give the folder that holds it, with the names of the published data set",
            )
        return self.folder / found[0]


def read_csv(path: Path, columns: Sequence[str], *, aliases: dict[str, str] | None = None) -> pd.DataFrame:
    """Return a table of stripped text, "" where nothing stands.

    Parameters
    ----------
    path : path
        A CSV file, UTF-8 or (where it is not) Latin-1, as some of these sets are.
    columns : sequence of str
        Columns that must be there.
    aliases : dict
        Other names of a column in other releases, name -> the one in `columns`.

    Raises
    ------
    ManifestError
        If it cannot be read or a column is missing.
    """
    try:
        table = _read_text(path)
    except (ValueError, OSError) as cause:  # pandas' own errors are kinds of these
        raise ManifestError(f"not readable as CSV: {cause}", where=path, expected="the published file") from cause
    return checked(table.rename(columns=aliases or {}), path, columns)


def read_sheet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the first sheet of an .xlsx file as `read_csv` would."""
    try:
        table = pd.read_excel(path, dtype="str", keep_default_na=False, engine="openpyxl")
    except ImportError as cause:
        raise DataError(
            "reading .xlsx needs openpyxl, which is not installed", where=path, remedy="pip install openpyxl"
        ) from cause
    except Exception as cause:  # openpyxl, zipfile and xml each have errors of their own
        raise ManifestError(f"not readable as .xlsx: {cause}", where=path, expected="the published file") from cause
    return checked(table, path, columns)


def checked(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with its cells stripped, or raise for the first column that is missing."""
    table = table.rename(columns=lambda name: str(name).strip())
    for name in columns:
        if name not in table.columns:
            known = [str(column) for column in table.columns]
            raise ManifestError(
                f"column '{name}' is missing",
                where=f"{path}, row 1",
                expected=f"the columns {', '.join(columns)} of the published file",
                remedy=nearest(name, known) or f"found: {', '.join(known[:12])}",
            )
    if table.empty:
        raise ManifestError("there is a header but no rows", where=path, expected="the published file")
    return table.apply(lambda column: column.astype("str").str.strip())


def _read_text(path: Path) -> pd.DataFrame:
    try:
        return _read_rows(path, "utf-8-sig")
    except UnicodeDecodeError:
        return _read_rows(path, "latin-1")


def _read_rows(path: Path, encoding: str) -> pd.DataFrame:
    # index_col=False: with rows that are wider than the header pandas would shift all columns by one.
    options: dict = {"dtype": "str", "keep_default_na": False, "index_col": False, "encoding": encoding}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, **options)
        except pd.errors.ParserWarning:
            pass
        try:
            # Rows that end in a comma, under a header that does not, are harmless.
            names = [str(name) for name in pd.read_csv(path, nrows=0, **options).columns]
            table = pd.read_csv(path, header=0, names=[*names, _SURPLUS], **options)
        except pd.errors.ParserWarning as cause:
            raise ValueError("rows with more cells than the header") from cause
    surplus = table.index[table[_SURPLUS].fillna("").str.strip() != ""]
    if len(surplus):
        raise ValueError(f"row {int(surplus[0]) + 2} has more cells than the header")
    return table.drop(columns=_SURPLUS)


def _walk(folder: Path) -> list[PurePosixPath]:
    found = []
    for here, folders, names in os.walk(folder):
        if DERIVED_MARKER in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        below = PurePosixPath(Path(here).relative_to(folder).as_posix())
        found += [below / name for name in names if not name.startswith(".")]
    return sorted(found)


def _preferred(found: list[PurePosixPath], under: Iterable[str]) -> PurePosixPath | None:
    wanted = [name.lower() for name in under]
    for path in found:
        if any(part.lower() in wanted for part in path.parts[:-1]):
            return path
    return found[0] if found else None
