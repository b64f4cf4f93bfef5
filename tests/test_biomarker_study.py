"""Markers of films from masks of the manifest and of a network, and what the study writes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr_tf.biomarker_study import measure_films, needs_network, without_views, write_study
from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import DataError, ImageError, ManifestError
from covidcxr_tf.imaging.reading import read_image, read_mask
from covidcxr_tf.lungs.biomarkers import MARKERS, lung_markers
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.posture import Posture


class Finder:
    """Finds two fixed lungs in any film, and a heart if told so; takes every film for inverted."""

    name = "fixed"

    def __init__(self, finds_heart: bool = False) -> None:
        self.finds_heart = finds_heart
        self.calls = 0

    def segment(self, film: np.ndarray) -> SimpleNamespace:
        self.calls += 1
        mask, heart = np.zeros(film.shape, np.uint8), np.zeros(film.shape, np.uint8)
        mask[20:80, 10:40] = mask[20:80, 56:86] = 1
        heart[50:70, 40:60] = 1
        quality = mask_quality(mask, None, Posture(-0.2, 1.0, 0.0))
        return SimpleNamespace(mask=mask, heart=heart if self.finds_heart else None, quality=quality)

    def identity(self) -> dict[str, str]:
        return {"name": self.name, "sha256": "0"}


@pytest.fixture
def films(phantoms: Path) -> pd.DataFrame:
    return first(load_manifest(phantoms), 6)


def first(films: pd.DataFrame, count: int) -> pd.DataFrame:
    part = films.iloc[:count].copy()
    part.attrs = films.attrs
    return part


def test_markers_from_the_manifest_s_masks(films: pd.DataFrame) -> None:
    measured = measure_films(films, masks="manifest", seed=4)
    row = measured.table.iloc[2]
    expected = lung_markers(
        read_image(film_path(films, 2)),
        read_mask(film_path(films, 2, "mask_path")),
        read_mask(film_path(films, 2, "heart_mask_path")),
        seed=4,
    )
    assert row[list(MARKERS)].to_dict() == expected.values and row["undefined"] == ""
    assert (row["lung_mask_from"], row["heart_mask_from"]) == ("manifest", "manifest")
    assert measured.table["path"].tolist() == films["path"].tolist()
    assert measured.settings["network"] is None and measured.settings["patches"]["seed"] == 4
    assert measured.table["cardiothoracic_ratio"].between(0.2, 0.8).all()


def test_auto_asks_the_network_where_the_manifest_has_no_mask(films: pd.DataFrame) -> None:
    films.loc[[1, 3], "mask_path"] = ""
    films.loc[[1, 2], "heart_mask_path"] = ""
    finder = Finder()
    table = measure_films(films, finder, "auto").table  # type: ignore[arg-type]
    assert table["lung_mask_from"].tolist() == ["manifest", "fixed", "manifest", "fixed", "manifest", "manifest"]
    assert table["heart_mask_from"].tolist() == ["manifest", "", "", "manifest", "manifest", "manifest"]
    assert finder.calls == 2
    # Drawn masks are judged by their shape, the network's by what it says of the film too.
    assert table["lung_verdict"].tolist() == ["good", "poor", "good", "poor", "good", "good"]
    assert table["cardiothoracic_ratio"].isna().tolist() == [False, True, True, False, False, False]
    assert table.loc[1, "undefined"] == "cardiothoracic_ratio: no heart mask"
    assert table.loc[1, "lung_area"] == 2 * 60 * 30 / 96**2


def test_a_network_that_knows_hearts_is_asked_for_them(films: pd.DataFrame) -> None:
    table = measure_films(first(films, 2), Finder(finds_heart=True), "model").table  # type: ignore[arg-type]
    assert table["heart_mask_from"].tolist() == table["lung_mask_from"].tolist() == ["fixed", "fixed"]
    assert table["cardiothoracic_ratio"].tolist() == [20 / 76, 20 / 76]
    films["heart_mask_path"] = ""
    table = measure_films(first(films, 1), Finder(finds_heart=True), "auto").table  # type: ignore[arg-type]
    assert (table.loc[0, "lung_mask_from"], table.loc[0, "heart_mask_from"]) == ("manifest", "fixed")


def test_which_masks_need_a_network(films: pd.DataFrame) -> None:
    assert needs_network(films, "model") and not needs_network(films, "auto") and not needs_network(films, "manifest")
    films.loc[1, "mask_path"] = ""
    assert needs_network(films, "auto") and not needs_network(films, "manifest")
    assert needs_network(films.drop(columns="mask_path"), "auto")


def test_manifest_only_leaves_out_films_without_a_mask(films: pd.DataFrame) -> None:
    films.loc[[0, 5], "mask_path"] = ""
    measured = measure_films(films, masks="manifest")
    assert measured.without_mask == 2 and len(measured.table) == 4
    with pytest.raises(DataError, match="no film to measure"):
        measure_films(films.assign(mask_path=""), masks="manifest")


def test_unusable_films_are_counted(films: pd.DataFrame) -> None:
    films.loc[0, "path"] = "nowhere.png"
    # A film of 96 px with the mask of another size.
    small = Path(films.attrs["root"]) / "small.png"  # gone at the end: other tests use this folder
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(small)
    films.loc[1, "heart_mask_path"] = "small.png"
    with pytest.raises(ImageError, match=r"small\.png: mask is"):
        measure_films(films, masks="manifest", skip_bad=1)
    measured = measure_films(films, masks="manifest", skip_bad=2)
    assert len(measured.table) == 4 and len(measured.bad) == 2
    small.unlink()


def test_views_can_be_left_out(films: pd.DataFrame) -> None:
    films["view"] = ["PA", "AP", "AP Supine", "PA", "AP Supine", ""]
    assert without_views(films, ("AP Supine",)).index.tolist() == [0, 1, 3, 5]
    assert without_views(films, ()).equals(films)
    with pytest.raises(ManifestError, match=r"no film of the view 'supine'.*AP, AP Supine, PA"):
        without_views(films, ("supine",))
    with pytest.raises(ManifestError, match="no film is left"):
        without_views(films.assign(view="PA"), ("PA",))


def test_what_is_written(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidcxr_tf.biomarker_study.draw_biomarkers", lambda *_: [])
    measured = measure_films(load_manifest(phantoms), masks="manifest")
    document = write_study(measured, tmp_path / "out")
    assert document == json.loads((tmp_path / "out" / "biomarkers.json").read_text())
    assert document["schema_version"] == 1 and document["settings"]["universal_gamma"] == 0.5
    assert document["left_out"] == {"unreadable": [], "without_mask": 0}
    table = pd.read_csv(tmp_path / "out" / "biomarkers.csv")
    assert len(table) == document["films"] and set(MARKERS) <= set(table.columns)
    tests = pd.read_csv(tmp_path / "out" / "tests.csv")
    assert len(tests) == len(document["tests"]) and set(tests["marker"]) == set(MARKERS)
    by_source = pd.read_csv(tmp_path / "out" / "by_source.csv")
    pooled = by_source[by_source["marker"] == "lung_area"]
    assert pooled["films"].sum() == len(table)
    assert str(phantoms.parent) not in json.dumps(document)
