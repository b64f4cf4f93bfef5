from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import ManifestError, SplitError, UsageError
from covidcxr_tf.evaluate.table import (
    check_predictions,
    class_indices,
    class_names,
    default_split,
    one_against_rest,
    pick_split,
    probabilities,
    read_predictions,
    sources,
    write_predictions,
)

HEADER = "path,patient_id,label,predicted,split,source,prob_normal,prob_covid19\n"
GOOD = HEADER + "a.png,007,normal,normal,test,cohen,0.75,0.25\nb.png,NA,covid19,covid19,test,,0.1,0.9\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "p.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_text_as_text_and_probabilities_as_numbers(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, GOOD))
    # Leading zeros are part of an id, and a patient called NA is not a missing one.
    assert table["patient_id"].tolist() == ["007", "NA"]
    assert class_names(table) == ("normal", "covid19")
    assert probabilities(table, ("covid19", "normal")).tolist() == [[0.25, 0.75], [0.9, 0.1]]
    assert class_indices(table["label"], ("normal", "covid19")).tolist() == [0, 1]
    assert sources(table).tolist() == ["cohen", "unknown"]
    scores, is_positive = one_against_rest(table, "covid19")
    assert scores.tolist() == [0.25, 0.9]
    assert is_positive.tolist() == [False, True]


def test_byte_order_mark_and_spaces_do_not_matter(tmp_path: Path) -> None:
    spaced = GOOD.replace("path,patient_id", "﻿path, patient_id").replace(",normal,normal", ", normal ,normal")
    assert read_predictions(write(tmp_path, spaced)).equals(read_predictions(write(tmp_path, GOOD)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.75", "", r"row 2, column prob_normal"),
        ("0.75", "nan", r"row 2, column prob_normal"),
        ("0.75", "much", r"'much' is no probability"),
        ("0.9", "1.9", r"row 3, column prob_covid19"),
        ("0.9", "-0.9", r"row 3, column prob_covid19"),
        ("0.9", "0.8", r"row 3, columns prob_\*: the probabilities sum to 0.9"),
        (",covid19,covid19", ",flu,covid19", r"row 3, column label: 'flu' has no column prob_flu"),
        (",covid19,covid19", ",covid19,flu", r"row 3, column predicted"),
        (",covid19,covid19", ",,covid19", r"row 3, column label: empty"),
        ("007", " ", r"row 2, column patient_id: empty"),
        ("b.png,NA,covid19,covid19,test,", "a.png,NA,covid19,covid19,test,cohen", r"row 3, column path: .*twice"),
        ("b.png,", "\nb.png,", r"row 3"),
        ("patient_id", "patient", r"row 1: column patient_id is missing"),
        ("source", "split", r"column split stands there twice"),
        ("prob_normal", "normal", r"1 prob_ column"),
        (GOOD, HEADER, r"holds no film"),
        (GOOD, "", r"the file is empty"),
        ("0.1,0.9", "0.1,0.9,0,0", r"not readable as CSV"),
        ("0.1,0.9", "0.1", r"row 3, column prob_covid19"),
    ],
)
def test_a_fault_is_named_with_its_row(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ManifestError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(ManifestError, match="not readable"):
        read_predictions(tmp_path / "p.csv")


def test_sums_within_a_thousandth_pass() -> None:
    table = pd.DataFrame({"path": ["a"], "patient_id": ["p"], "label": ["n"], "prob_n": [0.5004], "prob_c": [0.5]})
    assert len(check_predictions(table)) == 1
    table["prob_n"] = 0.5011
    with pytest.raises(ManifestError, match="sum to"):
        check_predictions(table)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_writing_and_reading_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, scores: list[float]) -> None:
    path = tmp_path_factory.mktemp("t") / "p.csv"
    count = len(scores)
    table = pd.DataFrame(
        {
            "prob_n": 1 - np.array(scores),
            "prob_c": scores,
            "age": ["NA"] * count,
            "label": ["n"] * count,
            "patient_id": [f"p{i}" for i in range(count)],
            "path": [f'a,"{i}".png' for i in range(count)],
        }
    )
    back = read_predictions(write_predictions(table, path))
    assert back["prob_c"].tolist() == scores
    assert back["path"].tolist() == table["path"].tolist()
    assert back["age"].tolist() == ["NA"] * count
    assert back.columns.tolist() == ["path", "patient_id", "label", "age", "prob_n", "prob_c"]


def test_films_without_labels_can_be_written_but_not_judged(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a"], "patient_id": [""], "label": [""], "prob_n": [0.5], "prob_c": [0.5]})
    path = write_predictions(table, tmp_path / "p.csv")
    with pytest.raises(ManifestError, match="row 2, column patient_id: empty"):
        read_predictions(path)


def test_a_faulty_table_leaves_no_file(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a"], "patient_id": ["p"], "label": ["n"], "prob_n": [0.5], "prob_c": [np.nan]})
    with pytest.raises(ManifestError):
        write_predictions(table, tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []


def test_splits() -> None:
    table = pd.DataFrame({"split": ["train", "test", "test"], "path": list("abc")})
    assert default_split(table["split"]) == "test"
    assert default_split(["validation", "validation"]) is None
    assert default_split([]) is None
    with pytest.raises(UsageError, match="train, validation"):
        default_split(["train", "validation"])
    assert pick_split(table, "test")["path"].tolist() == ["b", "c"]
    assert len(pick_split(table, "all")) == len(pick_split(table, None)) == 3
    with pytest.raises(SplitError, match=r"'validation'.*'test', 'train'"):
        pick_split(table, "validation")
    with pytest.raises(SplitError, match="one of none"):
        pick_split(table[["path"]], "test")
