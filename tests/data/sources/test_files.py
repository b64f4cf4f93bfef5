from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from covidcxr_tf.data.sources.files import DERIVED_MARKER, Tree, read_csv
from covidcxr_tf.errors import DataError, ManifestError

Draw = Callable[..., Path]
Note = Callable[..., Path]


def test_tree_leaves_out_hidden_macos_and_derived_files(tmp_path: Path, draw: Draw, note: Note) -> None:
    for name in ("a/x.png", "__MACOSX/a/x.png", ".git/y.png", "a/.z.png", "out_files/masks/x.png"):
        draw(name)
    note(f"out_files/{DERIVED_MARKER}", "")
    assert Tree(tmp_path, "").files == [PurePosixPath("a/x.png")]


def test_named_prefers_the_folder_asked_for_and_ignores_case(tmp_path: Path, draw: Draw) -> None:
    draw("train/One.PNG")
    draw("test/one.png")
    tree = Tree(tmp_path, "")
    assert tree.named("ONE.png", under=("train",)) == PurePosixPath("train/One.PNG")
    assert tree.named("one.png", under=("test",)) == PurePosixPath("test/one.png")
    assert tree.named("two.png") is None


def test_film_below_takes_no_film_of_another_folder(tmp_path: Path, draw: Draw) -> None:
    draw("films/one.png")
    tree = Tree(tmp_path, "")
    assert tree.film("one", under=("masks",)) == PurePosixPath("films/one.png")
    assert tree.film_below("one", "masks") is None


def test_metadata_nearest_to_the_top(tmp_path: Path, note: Note) -> None:
    note("deep/er/metadata.csv", "")
    top = note("set/metadata.csv", "")
    assert Tree(tmp_path, "").metadata("metadata.csv") == top


def test_a_missing_folder_and_missing_metadata_say_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected metadata and films"):
        Tree(tmp_path / "nowhere", "metadata and films")
    with pytest.raises(DataError, match=r"no data\.csv here; expected metadata and films; give the folder"):
        Tree(tmp_path, "metadata and films").metadata("data.csv")


def test_read_csv_strips_and_keeps_na_as_text(note: Note) -> None:
    path = note("t.csv", "\ufeffid , age\n NA , 5 \n7,\n")
    assert read_csv(path, ("id", "age")).to_dict("list") == {"id": ["NA", "7"], "age": ["5", ""]}


def test_read_csv_takes_rows_that_end_in_a_comma(note: Note) -> None:
    path = note("t.csv", "id,age\n1,5,\n2,6,\n")
    assert read_csv(path, ("id", "age")).to_dict("list") == {"id": ["1", "2"], "age": ["5", "6"]}


def test_read_csv_falls_back_to_latin_1(note: Note) -> None:
    path = note("t.csv", "id,text\n1,38° fièvre\n", encoding="latin-1")
    assert read_csv(path, ("id",))["text"].tolist() == ["38° fièvre"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,agee\n1,5\n", r"t\.csv, row 1: column 'age' is missing; .*did you mean 'agee'"),
        ("id,age\n", "a header but no rows"),
        ("", "not readable as CSV"),
        ('id,age\n"1,5\n', "not readable as CSV"),
        ("id,age\n1,5\n2,5,x\n", "Expected 2 fields in line 3, saw 3"),
        ("id,age\n1,5,x\n2,5\n", "row 2 has more cells than the header"),
        ("id,age\n1,5,,\n2,5\n", "rows with more cells than the header"),
    ],
)
def test_read_csv_names_the_fault(note: Note, text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        read_csv(note("t.csv", text), ("id", "age"))
