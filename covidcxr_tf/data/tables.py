"""Tables from CSV or Parquet as text, with every fault of their form by row."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf.data.schema import OPTIONAL, REQUIRED, Fault
from covidcxr_tf.errors import ManifestError

_MAX_CELL = 10_000_000  # characters; the csv module's own cap of 131,072 is too small for a long text column


def read_text_table(path: str | Path) -> tuple[pd.DataFrame, list[Fault]]:
    """Return the table of a manifest with its known columns as stripped text, and the faults of its form.

    Raises
    ------
    ManifestError
        For a file that is empty, not UTF-8, not CSV or not Parquet at all.
    """
    if Path(path).suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    rows = _read_rows(path)
    if not rows:
        raise ManifestError("the file is empty", where=path, expected=f"a header with {', '.join(REQUIRED)}")
    header = [name.strip() for name in rows[0]]
    faults = _header_faults(header) + _shape_faults(rows, len(header))
    if faults:
        return pd.DataFrame(columns=pd.Index(dict.fromkeys(header))), faults
    columns = zip(*rows[1:], strict=True) if len(rows) > 1 else [()] * len(header)
    return pd.DataFrame(
        {name: [cell.strip() for cell in cells] for name, cells in zip(header, columns, strict=True)}, dtype="str"
    ), []


def _read_rows(path: str | Path) -> list[list[str]]:
    """Return the rows of a CSV, without the blank ones at its end."""
    before = csv.field_size_limit(_MAX_CELL)
    try:
        content = Path(path).read_bytes()
        # utf-8-sig: Excel puts a byte order mark before the first name
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError as cause:
        line = cause.object.count(b"\n", 0, cause.start) + 1
        raise ManifestError(
            f"line {line} is not UTF-8", where=path, expected="a CSV file in UTF-8", remedy="save it as UTF-8"
        ) from cause
    except csv.Error as cause:
        raise ManifestError(f"not readable as CSV: {cause}", where=path, expected="commas and double quotes") from cause
    except OSError as cause:
        raise ManifestError(f"not readable: {cause.strerror}", where=path) from cause
    finally:
        csv.field_size_limit(before)
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    return rows


def _header_faults(header: list[str]) -> list[Fault]:
    repeated = sorted({name for name in header if header.count(name) > 1})
    return [Fault(f"column '{name}' stands twice", 1, None, "each name once") for name in repeated]


def _shape_faults(rows: list[list[str]], width: int) -> list[Fault]:
    return [
        Fault(
            f"{len(row)} cells" if row else "the row is blank",
            number,
            None,
            f"{width} cells as in the header",
            "put a text that holds a comma in double quotes" if len(row) > width else None,
        )
        for number, row in enumerate(rows, start=1)
        if len(row) != width
    ]


def need_parquet(path: str | Path) -> None:
    """Raise `ManifestError` where pyarrow, an extra, is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as cause:
        raise ManifestError(
            "Parquet needs pyarrow, which is not installed",
            where=path,
            remedy="pip install 'covidcxr_tf[parquet]', or use CSV",
        ) from cause


def _read_parquet(path: str | Path) -> tuple[pd.DataFrame, list[Fault]]:
    need_parquet(path)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as cause:  # pyarrow's own errors are kinds of these
        raise ManifestError(f"not readable as Parquet: {cause}", where=path, expected="a Parquet table") from cause
    table = table.reset_index(drop=True)
    header = [str(name).strip() for name in table.columns]
    table.columns = pd.Index(header)
    table.attrs = {}
    faults = _header_faults(header)
    if faults:
        return table, faults
    known = [name for name in (*REQUIRED, *OPTIONAL) if name in header]
    return table.assign(**{name: _as_text(table[name]) for name in known}), []


def _as_text(cells: pd.Series) -> pd.Series:
    """Return stripped text, "" for what is missing (a null of Parquet)."""
    texts: list[Any] = ["" if empty else str(cell).strip() for cell, empty in zip(cells, cells.isna(), strict=True)]
    return pd.Series(texts, index=cells.index, dtype="str")
