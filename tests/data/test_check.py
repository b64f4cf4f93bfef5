from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr_tf.data.check import check_manifest, cramers_v, label_by_source
from covidcxr_tf.data.check_report import Report
from covidcxr_tf.errors import ManifestError
from covidcxr_tf.files import plain


def _save(seed: int, path: Path, size: tuple[int, int] = (80, 96)) -> None:
    cells = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC).save(path)


def _manifest(folder: Path, header: str, *rows: str, films: int = 0) -> Path:
    for seed in range(films):
        _save(seed, folder / f"{seed}.png")
    path = folder / "m.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _short(report: Report) -> list[tuple[str, int | None, str | None]]:
    return [(fault.kind, fault.row, fault.column) for fault in report.faults]


def test_a_good_manifest(tmp_path: Path) -> None:
    rows = ("0.png,normal,p1,train,a", "1.png,covid19,p2,validation,a", "2.png,normal,p3,test,b")
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,split,source", *rows, films=3))
    assert report.ok
    assert (report.films, report.patients, report.images_checked) == (3, 3, True)
    assert report.duplicates.empty
    assert [fault.problem for fault in report.warnings] == [
        "label 'covid19' comes from one source only, 'a': the source gives it away"
    ]
    assert report.as_text().endswith("0 faults, 1 warning")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    rows = ("0.png,normal,p1,M", "1.png,covid,p2,X", "../2.png,,p3,F", "none.png,normal,p4,F", "0.png,normal,p1,M")
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,sex", *rows, films=2))
    assert _short(report) == [
        ("schema", 3, "sex"),
        ("schema", 3, "label"),
        ("schema", 4, "label"),
        ("schema", 4, "path"),
        ("unreadable", 5, "path"),
        ("schema", 6, "path"),
    ]
    assert "did you mean 'covid19'?" in report.as_text()
    assert "m.csv, row 5, column path: none.png does not exist" in report.as_text()


def test_own_labels_can_be_named_or_not_looked_at(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path,label,patient_id", "0.png,zebra,p1", films=1)
    assert _short(check_manifest(path)) == [("schema", 2, "label")]
    assert check_manifest(path, labels=("zebra",)).ok
    assert check_manifest(path, labels=None).ok


def test_faults_of_form_end_the_check(tmp_path: Path) -> None:
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id", "0.png,normal", "1.png,normal,p1,x"))
    assert [(fault.row, fault.problem) for fault in report.faults] == [(2, "2 cells"), (3, "4 cells")]
    assert not report.images_checked
    report = check_manifest(_manifest(tmp_path, "path,label", "0.png,normal", films=1))
    assert [fault.problem for fault in report.faults] == ["column 'patient_id' is missing"]
    assert report.as_text().endswith("1 fault, 0 warnings (films were not opened)")


def test_what_is_no_table_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist"):
        check_manifest(tmp_path / "none.csv")


def test_patients_on_both_sides(tmp_path: Path) -> None:
    rows = ("0.png,normal,p1,train,1", "1.png,normal,p1,test,1", "2.png,normal,p2,validation,2")
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,split,fold", *rows), images=False)
    assert [(fault.kind, fault.column, fault.problem) for fault in report.faults] == [
        ("leakage", "split", "patient 'p1' stands in test and train")
    ]
    torn = ("0.png,normal,p1,,1", "1.png,normal,p1,train,2")
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,split,fold", *torn), images=False)
    assert _short(report) == [("leakage", None, "fold")]


@pytest.mark.parametrize(
    ("patients", "splits", "kind"),
    [
        (("p1", "p1"), ("train", "train"), None),
        (("p1", "p2"), ("train", "train"), "duplicate"),
        (("p1", "p2"), ("train", "test"), "leakage"),
    ],
)
def test_one_file_twice(tmp_path: Path, patients: list[str], splits: list[str], kind: str | None) -> None:
    rows = [f"{number}.png,normal,{patients[number]},{splits[number]}" for number in range(2)]
    path = _manifest(tmp_path, "path,label,patient_id,split", *rows, films=1)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    report = check_manifest(path)
    assert [fault.kind for fault in report.faults] == ([kind] if kind else [])
    assert [fault.kind for fault in report.warnings if fault.row] == ([] if kind else ["duplicate"])
    told = (report.faults or [fault for fault in report.warnings if fault.row])[0]
    assert told.row == 3
    assert told.problem.startswith("1.png is the same file as 0.png in row 2 (")


@pytest.mark.parametrize(("splits", "is_fault"), [(("train", "train"), False), (("train", "test"), True)])
def test_one_picture_under_two_patients(tmp_path: Path, splits: list[str], is_fault: bool) -> None:
    rows = [f"{number}.png,normal,p{number},{splits[number]}" for number in range(2)]
    path = _manifest(tmp_path, "path,label,patient_id,split", *rows, films=1)
    Image.open(tmp_path / "0.png").resize((60, 72)).save(tmp_path / "1.png")
    report = check_manifest(path)
    told = [fault for fault in report.faults + report.warnings if fault.row == 3]
    assert len(told) == 1
    assert "1.png looks like (distance " in told[0].problem
    assert (told[0] in report.faults) is is_fault


def test_a_file_that_was_changed_since(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path,label,patient_id,sha256", films=2)
    right = hashlib.sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    path.write_text(f"path,label,patient_id,sha256\n0.png,normal,p1,{right.upper()}\n1.png,normal,p2,{right}\n")
    assert _short(check_manifest(path)) == [("unreadable", 3, "sha256")]


def test_masks_of_another_size(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path,label,patient_id,mask_path", "0.png,normal,p1,m.png", films=1)
    _save(5, tmp_path / "m.png", (96, 80))
    assert _short(check_manifest(path)) == [("unreadable", 2, "mask_path")]


def test_splits_that_are_empty_are_warned_of(tmp_path: Path) -> None:
    rows = ("0.png,normal,p1,train", "1.png,normal,p2,")
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,split", *rows), images=False)
    assert report.ok
    assert [fault.problem for fault in report.warnings] == [
        "no film is in the split 'validation'",
        "1 film in no split",
    ]


def test_films_by_label_and_source() -> None:
    films = pd.DataFrame({"label": ["a", "a", "b", "b"], "source": ["s", "t", "t", ""]})
    table = label_by_source(films)
    assert table.loc["a"].to_dict() == {"(none)": 0, "s": 1, "t": 1}
    assert table.loc["b"].to_dict() == {"(none)": 1, "s": 0, "t": 1}
    assert label_by_source(films[["label"]]).empty


def test_cramers_v_by_hand() -> None:
    assert cramers_v(pd.DataFrame([[10, 0], [0, 10]])) == pytest.approx(1)
    assert cramers_v(pd.DataFrame([[5, 5], [5, 5]])) == pytest.approx(0)
    # chi2 of [[30, 10], [10, 30]] with expected 20 in each cell: 4 * 100 / 20 = 20; V = sqrt(20 / 80)
    assert cramers_v(pd.DataFrame([[30, 10], [10, 30]])) == pytest.approx(0.5)
    assert cramers_v(pd.DataFrame([[3, 4]])) is None


def test_association_is_told_for_each_split(tmp_path: Path) -> None:
    rows = ("0.png,normal,p1,train,a", "1.png,viral,p2,train,b", "2.png,normal,p3,test,a", "3.png,viral,p4,test,a")
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,split,source", *rows), images=False)
    assert report.cramers_v["train"] == pytest.approx(1)
    assert report.cramers_v["test"] is None
    assert "label and source, test: not defined" in report.as_text()


def test_the_report_as_json(tmp_path: Path) -> None:
    rows = ("0.png,normal,p1,a", "1.png,viral,p1,b", "none.png,viral,p3,b")
    path = _manifest(tmp_path, "path,label,patient_id,source", *rows, films=1)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    document = json.loads(json.dumps(plain(check_manifest(path).as_dict()), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["ok"] is False
    assert document["faults"][0]["row"] == 4
    assert document["duplicates"][0]["kind"] == "identical"
    assert document["duplicates"][0]["same_split"] is None
    assert document["label_by_source"]["viral"] == {"a": 0, "b": 2}


def test_long_lists_are_cut_in_the_text_only(tmp_path: Path) -> None:
    rows = [f"{number}.png,normal,p{number},x" for number in range(50)]
    report = check_manifest(_manifest(tmp_path, "path,label,patient_id,sex", *rows), images=False)
    assert len(report.faults) == 50
    assert "and 30 more (--json lists all)" in report.as_text()
    assert len(report.as_text().splitlines()) < 30
