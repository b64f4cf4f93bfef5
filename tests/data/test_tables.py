from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.data.manifest import write_manifest
from covidcxr_tf.data.tables import read_text_table
from covidcxr_tf.errors import ManifestError

HEADER = "path,label,patient_id\n"


def _write(folder: Path, content: str | bytes, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_cells_stay_text(tmp_path: Path) -> None:
    table, faults = read_text_table(_write(tmp_path, HEADER + " 007.png ,NA,0012\n1e3,nan,\n"))
    assert not faults
    assert table.to_dict("list") == {"path": ["007.png", "1e3"], "label": ["NA", "nan"], "patient_id": ["0012", ""]}


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    table, faults = read_text_table(_write(tmp_path, b"\xef\xbb\xbfpath,label,patient_id\r\na.png,normal,p1\r\n\r\n"))
    assert not faults
    assert list(table.columns) == ["path", "label", "patient_id"]
    assert len(table) == 1


def test_a_quoted_line_break_is_one_row(tmp_path: Path) -> None:
    table, faults = read_text_table(_write(tmp_path, 'path,note\na.png,"two\nlines, one cell"\nb.png,\n'))
    assert not faults
    assert table["note"].tolist() == ["two\nlines, one cell", ""]


@pytest.mark.parametrize("content", ["", "\n\n", " \n,,\n"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(ManifestError, match=r"m\.csv: the file is empty; expected a header with path"):
        read_text_table(_write(tmp_path, content))


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="line 3001 is not UTF-8"):
        read_text_table(_write(tmp_path, HEADER.encode() + b"a.png,normal,p1\n" * 2999 + b"films\xe9.png,normal,p1\n"))


@pytest.mark.parametrize("content", [HEADER + '"a.png,normal,p1\nb.png,normal,p2\n', HEADER + '"a"b,normal,p1\n'])
def test_broken_quotes_do_not_swallow_the_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(ManifestError, match="not readable as CSV"):
        read_text_table(_write(tmp_path, content))


def test_every_ragged_or_blank_row_is_named(tmp_path: Path) -> None:
    content = HEADER + "a.png,normal\n\nb.png,normal,p1\nc.png,normal,p2,x\n"
    _, faults = read_text_table(_write(tmp_path, content))
    assert [(fault.row, fault.problem) for fault in faults] == [
        (2, "2 cells"),
        (3, "the row is blank"),
        (5, "4 cells"),
    ]
    assert "3 cells" in str(faults[0].error("m.csv"))


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    _, faults = read_text_table(_write(tmp_path, "path,label,label \na.png,normal,x\n"))
    assert [fault.problem for fault in faults] == ["column 'label' stands twice"]


def test_parquet_nulls_and_numbers_become_text(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["normal", None], "patient_id": [1, 2]})
    frame["fold"] = pd.array([1, None], dtype="Int64")
    frame["own"] = [1.5, 2.5]
    frame.to_parquet(path)
    table, faults = read_text_table(path)
    assert not faults
    assert table["label"].tolist() == ["normal", ""]
    assert table["patient_id"].tolist() == ["1", "2"]
    assert table["fold"].tolist() == ["1", ""]
    assert table["own"].tolist() == [1.5, 2.5]


def test_a_csv_named_parquet(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not readable as Parquet"):
        read_text_table(_write(tmp_path, HEADER, "m.parquet"))


_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8).map(str.strip)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(_CELL.map(lambda cell: "p" + cell), _CELL, _CELL), min_size=1, max_size=6))
def test_what_is_written_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["path", "label", "note"], dtype="str")
    with tempfile.TemporaryDirectory() as folder:
        table, faults = read_text_table(write_manifest(frame, Path(folder) / "m.csv"))
    assert not faults
    assert table.to_dict("list") == frame.to_dict("list")
