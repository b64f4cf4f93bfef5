"""Tables of predictions on disk: CSV, Parquet, several of them in a folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf.data.tables import need_parquet
from covidcxr_tf.errors import ManifestError
from covidcxr_tf.files import replacing

PARQUET = (".parquet", ".pq")
#: Beside a table: the films that could not be read, and why. No table of predictions itself.
QUARANTINE = ".quarantine.csv"
#: Rows of a row group: what a reader of Parquet holds at least.
GROUP = 1 << 16


def is_parquet(path: str | Path) -> bool:
    """Return whether a name is a Parquet file's by its suffix."""
    return Path(path).suffix.lower() in PARQUET


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a table unchecked: of CSV all cells as text; of Parquet with its types; of a folder all of its tables.

    Raises
    ------
    ManifestError
        For a file that is not there or no table, a column that stands there twice, or a folder whose tables have other
        columns.
    """
    if Path(path).is_dir():
        return _read_folder(Path(path))
    return _read_parquet(path) if is_parquet(path) else _read_csv(path)


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write `table` in one step, as Parquet if the suffix says so and else as CSV, and return the path."""
    with replacing(path) as aside:
        if is_parquet(path):
            need_parquet(path)
            import pyarrow.parquet as pq

            pq.write_table(_arrow(table), aside, row_group_size=GROUP)
        else:
            aside.write_text(table.to_csv(index=False), encoding="utf-8", newline="")
    return Path(path)


def join_tables(parts: Sequence[Path], path: str | Path) -> Path:
    """Write the rows of several files of one kind and the same columns as one, in one step; few rows are in memory."""
    with replacing(path) as aside:
        if is_parquet(path):
            _join_parquet(parts, aside)
        else:
            with aside.open("wb") as whole:
                for number, part in enumerate(parts):
                    with part.open("rb") as rows:
                        header = rows.readline()
                        if not number:
                            whole.write(header)
                        shutil.copyfileobj(rows, whole)
    return Path(path)


def _join_parquet(parts: Sequence[Path], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as writer:
        waiting: list[Any] = []
        for part in parts:
            waiting.append(pq.read_table(part))
            if sum(len(rows) for rows in waiting) >= GROUP:
                rows = pa.concat_tables(waiting)
                full = len(rows) // GROUP * GROUP
                writer.write_table(rows.slice(0, full), row_group_size=GROUP)
                waiting = [rows.slice(full)]
        writer.write_table(pa.concat_tables(waiting), row_group_size=GROUP)


def _arrow(table: pd.DataFrame) -> Any:
    """Return an Arrow table of text, float64 and whole numbers, the same whatever the rows; NaN becomes null."""
    import pyarrow as pa

    def column(cells: pd.Series) -> Any:
        if pd.api.types.is_float_dtype(cells):
            return pa.array(cells.to_numpy("float64"), pa.float64(), from_pandas=True)
        if pd.api.types.is_integer_dtype(cells) and not cells.isna().any():
            return pa.array(cells.to_numpy("int64"), pa.int64())
        return pa.array([None if pd.isna(cell) else str(cell) for cell in cells], pa.string())

    return pa.table({str(name): column(table[name]) for name in table.columns})


def _read_csv(path: str | Path) -> pd.DataFrame:
    try:
        raw = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False
        ).fillna("")
    except FileNotFoundError as cause:
        raise ManifestError("there is no such file", where=path, expected="a predictions table (CSV)") from cause
    except pd.errors.EmptyDataError as cause:
        raise ManifestError("the file is empty", where=path, expected="a predictions table (CSV)") from cause
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as cause:
        raise ManifestError(f"not readable as CSV: {cause}", where=path) from cause
    header = [str(name).strip() for name in raw.iloc[0]]
    _refuse_repeated(header, path)
    table = raw.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index(header)
    return table


def _read_parquet(path: str | Path) -> pd.DataFrame:
    if not Path(path).is_file():
        raise ManifestError("there is no such file", where=path, expected="a predictions table (CSV or Parquet)")
    need_parquet(path)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as cause:  # pyarrow's own errors are kinds of these
        raise ManifestError(f"not readable as Parquet: {cause}", where=path) from cause
    header = [str(name).strip() for name in table.columns]
    _refuse_repeated(header, path)
    table.columns = pd.Index(header)
    return table.reset_index(drop=True)


def _read_folder(folder: Path) -> pd.DataFrame:
    """Return the tables of a folder as one, in the order of their names; ``2`` comes before ``10``."""
    files = sorted(_tables_in(folder), key=lambda path: [int(n) if n.isdigit() else n for n in _PIECES(path.name)])
    if not files:
        raise ManifestError("no table in this folder", where=folder, expected="predictions as CSV or Parquet")
    tables = [read_table(file) for file in files]
    for file, table in zip(files, tables, strict=True):
        if list(table.columns) != list(tables[0].columns):
            odd = sorted(set(table.columns) ^ set(tables[0].columns))
            raise ManifestError(
                f"has other columns than {files[0].name}: {', '.join(odd) or 'in another order'}",
                where=file,
                expected="shards of one run of `covidcxr predict`",
            )
    return pd.concat(tables, ignore_index=True)


_PIECES = re.compile(r"(\d+)").split


def _tables_in(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        hidden = path.name.startswith(".") or path.name.endswith(QUARANTINE)
        if path.is_file() and not hidden and path.suffix.lower() in (".csv", *PARQUET):
            yield path


def _refuse_repeated(header: Iterable[str], path: str | Path) -> None:
    names = list(header)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ManifestError(f"column {repeated[0]} stands there twice", where=f"{path}, row 1")
