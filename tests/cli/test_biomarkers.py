"""`covidcxr biomarkers` from end to end: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest, write_manifest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidcxr_tf.biomarker_study.draw_biomarkers", lambda *_: [])


def test_tables_figures_and_lines(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = covidcxr("biomarkers", phantoms, "--out", out)
    assert done.code == 0, done.err
    assert "not for diagnosis" in done.err
    films = load_manifest(phantoms)
    assert done.out.startswith(f"{len(films)} films, {films['patient_id'].nunique()} patients; unit: patient\n")
    assert "mean lung intensity (grey level), mean ± standard deviation (patients), by class and source" in done.out
    assert "cardiothoracic ratio (" in done.out and "note: " in done.out
    for name in ("biomarkers.csv", "tests.csv", "by_source.csv", "biomarkers.json", "figures/lung_mean.png"):
        assert (out / name).is_file()


@pytest.mark.usefixtures("undrawn")
def test_the_network_s_masks_and_json(shipped_lungs: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    done = covidcxr("biomarkers", phantoms, "--out", tmp_path, "--masks", "model", "--json", "--seed", 3)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document == json.loads((tmp_path / "biomarkers.json").read_text())
    assert document["settings"]["network"]["name"] == "lung_unet" and document["settings"]["patches"]["seed"] == 3
    assert {maker for row in document["masks"]["lung"].values() for maker in row} == {"lung_unet"}
    table = pd.read_csv(tmp_path / "biomarkers.csv")
    assert table["cardiothoracic_ratio"].isna().all() and table["heart_mask_from"].isna().all()


@pytest.mark.usefixtures("undrawn")
def test_films_that_are_left_out_are_told(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    films = load_manifest(phantoms)
    films.loc[0, "mask_path"] = ""
    films.loc[1, "path"] = "nowhere.png"
    manifest = write_manifest(films, tmp_path / "m.csv")
    words = ("biomarkers", manifest, "--root", phantoms.parent, "--out", tmp_path / "out", "--masks", "manifest")
    assert covidcxr(*words).code == 3
    done = covidcxr(*words, "--skip-bad", 1)
    assert done.code == 0, done.err
    assert "left out: 1 films without a lung mask" in done.err and "nowhere.png" in done.err
    assert done.out.startswith(f"{len(films) - 2} films")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--masks", "manifest"), 2, "no column mask_path; use --masks model"),
        (("--exclude-view", "AP Supine"), 3, "no film of the view 'AP Supine'"),
        (("--masks", "both"), 2, "'both' is not one of"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], code: int, told: str, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    bare = load_manifest(phantoms).drop(columns="mask_path")
    manifest = write_manifest(bare, tmp_path / "bare.csv")
    done = covidcxr("biomarkers", manifest, "--root", phantoms.parent, "--out", tmp_path / "out", *words)
    assert (done.code, told in done.err) == (code, True), done.err
    assert not (tmp_path / "out").exists()
