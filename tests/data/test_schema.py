from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from covidcxr_tf.data.schema import FINDINGS, LABELS, Fault, convert, table_faults

GOOD = {"path": "a.png", "label": "normal", "patient_id": "p1"}


def _faults(root: Path, *rows: dict[str, str], **options: object) -> list[tuple[int | None, str | None, str]]:
    table = pd.DataFrame([GOOD | {"path": f"{number}.png"} | row for number, row in enumerate(rows)], dtype="str")
    found = table_faults(table.fillna(""), str(root.resolve()), **options)  # type: ignore[arg-type]
    return [(fault.row, fault.column, fault.problem) for fault in found]


def test_a_good_table_has_no_fault(tmp_path: Path) -> None:
    row = {
        "split": "train", "fold": "1", "source": "s", "view": "PA", "age": "55.0", "sex": "F",
        "findings": "Mass|Hernia", "mask_path": "m/0.png", "heart_mask_path": "", "original_width": "512",
        "original_height": "512.0", "license": "", "sha256": "AB" * 32, "own": "nan",
    }  # fmt: skip
    assert _faults(tmp_path, row, {"findings": "No Finding"}, {}) == []


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("split", ["Train", "val", "0"]),
        ("fold", ["0", "-1", "1.5", "x", "inf", "1e99"]),
        ("age", ["-1", "120.5", "058Y", "inf", "young"]),
        ("sex", ["m", "female", "X"]),
        ("findings", ["No Finding|Mass", "mass", "Mass|", "|", "Mass;Hernia"]),
        ("original_width", ["0", "-5", "10.5", "wide"]),
        ("original_height", ["0"]),
        ("sha256", ["12", "g" * 64, "0" * 63]),
    ],
)
def test_a_bad_cell_is_named_with_its_row_and_column(tmp_path: Path, column: str, bad: list[str]) -> None:
    rows = [{column: ""}, *({column: cell} for cell in bad)]
    assert _faults(tmp_path, *rows) == [
        (number, column, f"'{cell}' is not allowed") for number, cell in enumerate(bad, start=3)
    ]


@pytest.mark.parametrize("column", ["age", "sex", "source", "mask_path", "findings", "split"])
@pytest.mark.parametrize("cell", ["nan", "NaN", "NULL", "<NA>"])
def test_the_word_nan_is_no_value_in_any_known_column(tmp_path: Path, column: str, cell: str) -> None:
    assert _faults(tmp_path, {}, {column: cell}) == [(3, column, f"'{cell}' is no value")]


@pytest.mark.parametrize("column", ["path", "label", "patient_id"])
def test_required_cells_are_filled(tmp_path: Path, column: str) -> None:
    assert _faults(tmp_path, {column: ""}, {}, {column: "nan"}) == [
        (2, column, "the cell is empty"),
        (4, column, "'nan' is no value"),
    ]


def test_other_columns_can_be_required(tmp_path: Path) -> None:
    assert _faults(tmp_path, {"mask_path": "m.png"}, {}, require=("path", "mask_path")) == [
        (3, "mask_path", "the cell is empty")
    ]
    assert _faults(tmp_path, {}, require=("path", "mask_path")) == [(1, None, "column 'mask_path' is missing")]


def test_a_patient_can_be_called_na(tmp_path: Path) -> None:
    assert _faults(tmp_path, {"patient_id": "NA", "label": "none"}) == []


@pytest.mark.parametrize(
    ("columns", "hint"),
    [(["path", "Label", "patient_id"], "'Label'"), (["path", "labels", "patient_id"], "'labels'"),
     (["path;label;patient_id"], "not separated by commas")],
)  # fmt: skip
def test_a_missing_column_comes_with_the_nearest(columns: list[str], hint: str) -> None:
    faults = table_faults(pd.DataFrame([["x"] * len(columns)], columns=pd.Index(columns)), "/")
    assert any(fault.problem == "column 'label' is missing" and hint in str(fault.remedy) for fault in faults)


def test_a_table_without_rows() -> None:
    faults = table_faults(pd.DataFrame(columns=pd.Index(["path", "label", "patient_id"])), "/")
    assert [fault.problem for fault in faults] == ["the manifest has a header but no rows"]


def test_unknown_labels_come_with_the_nearest(tmp_path: Path) -> None:
    table = pd.DataFrame([GOOD, GOOD | {"path": "b", "label": "COVID-19"}, GOOD | {"path": "c", "label": "zebra"}])
    first, second = table_faults(table, str(tmp_path.resolve()), labels=LABELS)
    assert str(first.error("m.csv")).startswith("m.csv, row 3, column label: unknown label 'COVID-19'; expected one of")
    assert str(first.error("m.csv")).endswith("did you mean 'covid19'?")
    assert "classes table" in str(second.remedy)
    assert table_faults(table, str(tmp_path.resolve())) == []


def test_a_path_stands_once_however_it_is_written(tmp_path: Path) -> None:
    rows = [{"path": "f/a.png"}, {"path": "b.png"}, {"path": "./f//a.png"}, {"path": "f/x/../a.png"}]
    assert _faults(tmp_path, *rows) == [
        (4, "path", "'./f//a.png' stands in row 2 already"),
        (5, "path", "'f/x/../a.png' stands in row 2 already"),
    ]


def test_paths_and_masks_stay_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "door").symlink_to(tmp_path)
    rows = [{"path": "../a.png"}, {"path": "door/b.png"}, {"path": "/etc/passwd"}, {"mask_path": "x/../../m.png"}, {}]
    found = _faults(root, *rows)
    assert [(row, column) for row, column, _ in found] == [(2, "path"), (3, "path"), (4, "path"), (5, "mask_path")]
    assert "leads outside the root" in found[1][2]
    assert "is absolute" in found[2][2]


def test_types_after_conversion() -> None:
    table = convert(pd.DataFrame({"age": ["", "7.5"], "fold": ["2.0", ""], "original_width": ["", ""]}, dtype="str"))
    assert table["age"].isna().tolist() == [True, False]
    assert table["age"].dtype == "float64"
    assert table["fold"].dtype == "Int64"
    assert table["fold"].tolist()[0] == 2
    assert table["original_width"].isna().all()


def test_a_fault_says_where_and_how_many_more() -> None:
    line = str(Fault("'x' is not allowed", 3, "sex", "M or F").error("m.csv", more=2))
    assert line == (
        "m.csv, row 3, column sex: 'x' is not allowed; expected M or F; (2 more: `covidcxr data check` lists them)"
    )


def test_the_findings_of_nih_chestxray14() -> None:
    assert len(set(FINDINGS)) == 14
    assert FINDINGS[0] == "Atelectasis"
    assert FINDINGS[-1] == "Hernia"
