"""Bad input: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import CovidcxrError

SMALL = ("--set", "image.size=64", "--set", "image.tiles=4", "--epochs", "1", "--set", "train.batch_size=8")


@pytest.fixture
def films(phantoms: Path, tmp_path: Path) -> Path:
    """Return a folder of a user's own with a copy of the synthetic films and their manifest, two labels."""
    folder = tmp_path / "films"
    shutil.copytree(phantoms.parent, folder)
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    table[table["label"] != "pneumonia"].to_csv(folder / "manifest.csv", index=False)
    return folder


def spoil(folder: Path, change: Callable[[pd.DataFrame], object]) -> None:
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    changed = change(table)
    (changed if isinstance(changed, pd.DataFrame) else table).to_csv(folder / "manifest.csv", index=False)


def set_cell(column: str, value: str) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[1, column] = value

    return change


def write_film(pixels: np.ndarray) -> Callable[[Path, pd.DataFrame], None]:
    def change(folder: Path, table: pd.DataFrame) -> None:
        cv2.imwrite(str(folder / table.loc[1, "path"]), pixels)

    return change


ROWS = {
    "unknown label": (set_cell("label", "covid-19"), ["row 3", "label", "covid-19"]),
    "path outside": (set_cell("path", "../../etc/passwd"), ["row 3", "path", "outside"]),
    "absolute path": (set_cell("path", "/etc/passwd"), ["row 3", "path"]),
    "NaN as patient": (set_cell("patient_id", "NaN"), ["row 3", "patient_id"]),
    "empty label": (set_cell("label", ""), ["row 3", "label"]),
    "missing column": (lambda table: table.drop(columns="patient_id"), ["patient_id"]),
    "film not there": (set_cell("path", "images/nowhere.png"), ["nowhere.png"]),
    "one class only": (lambda table: table[table["label"] == "normal"], ["covid19"]),
    "no rows": (lambda table: table.head(0), ["manifest.csv"]),
    "empty validation split": (lambda table: table.assign(split="train"), ["validation"]),
    "patient in two splits": (
        lambda table: table.assign(patient_id="p", split=(["train", "validation", "test"] * len(table))[: len(table)]),
        ["'p'", "train"],
    ),
}
FILMS = {
    "1 x 1": (write_film(np.zeros((1, 1), np.uint8)), ["1x1", "32 pixels"]),
    "all black": (write_film(np.zeros((64, 64), np.uint8)), ["every pixel"]),
    "text": (lambda folder, table: (folder / table.loc[1, "path"]).write_text("no film"), []),
    "empty file": (lambda folder, table: (folder / table.loc[1, "path"]).write_bytes(b""), ["empty"]),
    "half a file": (
        lambda folder, table: (folder / table.loc[1, "path"]).write_bytes(
            (folder / table.loc[1, "path"]).read_bytes()[:700]
        ),
        [],
    ),
}


def check_refused(done: object, words: list[str], out: Path) -> None:
    assert done.code == 3, done  # type: ignore[attr-defined]
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert "Traceback" not in done.err  # type: ignore[attr-defined]
    for word in words:
        assert word in lines[0]
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("name", ROWS)
def test_faulty_manifests(name: str, films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    change, words = ROWS[name]
    spoil(films, change)
    out = tmp_path / "run"
    done = covidcxr("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv", "--out", out)
    check_refused(done, words, out)


@pytest.mark.parametrize("name", FILMS)
def test_faulty_films(name: str, films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    change, words = FILMS[name]
    table = pd.read_csv(films / "manifest.csv", dtype=str, keep_default_na=False)
    change(films, table)
    out = tmp_path / "run"
    done = covidcxr("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv", "--out", out)
    check_refused(done, [Path(table.loc[1, "path"]).name, "--skip-bad", *words], out)


def test_up_to_n_bad_films_are_set_aside_and_named(films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    table = pd.read_csv(films / "manifest.csv", dtype=str, keep_default_na=False)
    for row in (1, 4):
        (films / table.loc[row, "path"]).write_text("no film")
    words = ("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv")
    assert covidcxr(*words, "--out", tmp_path / "strict", "--skip-bad", 1).code == 3
    done = covidcxr(*words, "--out", tmp_path / "run", "--skip-bad", 2)
    assert done.code == 0, done.err
    quarantine = pd.read_csv(tmp_path / "run" / "quarantine.csv")
    assert sorted(quarantine["path"]) == sorted(table.loc[[1, 4], "path"])
    predictions = pd.concat([pd.read_csv(tmp_path / "run" / f"predictions_{s}.csv") for s in ("validation", "test")])
    assert not set(predictions["path"]) & set(quarantine["path"])


def test_a_start_that_fails_leaves_no_run_folder(films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    words = ("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv", "--out", tmp_path / "run")
    done = covidcxr(*words, "--init", tmp_path / "nothing.keras")
    assert done.code == 3
    assert "nothing.keras" in done.err
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_a_file_is_wrong_usage(films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    words = ("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv", "--out")
    for out in (taken, taken / "deeper"):
        done = covidcxr(*words, out)
        assert done.code == 2, done.err
        assert "Traceback" not in done.err
    assert taken.read_text() == "mine"


def test_other_labels_on_films_that_were_prepared_before(films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    words = ("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv")
    assert covidcxr(*words, "--out", tmp_path / "first").code == 0
    split = pd.read_csv(tmp_path / "first" / "split.csv").set_index("path")["split"]
    swap = {"normal": "covid19", "covid19": "normal"}

    def swapped(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(label=table["label"].map(swap), split=table["path"].map(split))

    spoil(films, swapped)
    assert covidcxr(*words, "--out", tmp_path / "second").code == 0
    tables = [pd.read_csv(tmp_path / run / "predictions_test.csv").set_index("path") for run in ("first", "second")]
    assert (tables[1]["label"] == tables[0]["label"].map(swap)).all()


def test_a_users_own_labels_work(films: Path, covidcxr: Callable, tmp_path: Path) -> None:
    spoil(films, lambda table: table.replace({"label": {"normal": "healthy", "covid19": "sars-cov-2"}}))
    words = ("train", "--arch", "base", *SMALL, "--data", films / "manifest.csv", "--out", tmp_path / "run")
    assert covidcxr(*words).code == 3
    classes = "classes={well=['healthy'], covid=['sars-cov-2']}"
    done = covidcxr(*words, "--set", classes, "--set", "positive=covid")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "run" / "predictions_test.csv")
    assert set(table["label"]) <= {"well", "covid"}
    assert set(table["original_label"]) <= {"healthy", "sars-cov-2"}
    assert {"prob_well", "prob_covid"} <= set(table)


def test_predict_and_segment_of_things_that_are_no_films(
    films: Path, shipped_lungs: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    text = tmp_path / "note.png"
    text.write_text("no film")
    done = covidcxr("segment", text, "--out", tmp_path / "out")
    assert done.code == 3
    assert "note.png" in done.err
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert covidcxr("segment", tmp_path / "nowhere.png", "--out", tmp_path / "out").code in (2, 3)


def test_errors_carry_the_code_of_their_kind() -> None:
    def kinds(kind: type[CovidcxrError]) -> list[type[CovidcxrError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in kinds(child))]

    codes = {kind.__name__: kind.exit_code for kind in kinds(CovidcxrError)}
    assert codes["UsageError"] == codes["ConfigError"] == 2
    assert codes["ManifestError"] == codes["SplitError"] == codes["ImageError"] == codes["WeightsError"] == 3
    assert (codes["CheckFailed"], codes["RunFailed"], codes["Stopped"]) == (4, 5, 75)
    error = CovidcxrError("is\nbroken", where="a.csv", expected="b", remedy="do c")
    assert str(error) == "a.csv: is broken; expected b; do c"
