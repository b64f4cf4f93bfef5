"""What `segment` writes: names, outlines, a manifest whose paths lead to the films and the masks."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import ImageError, UsageError
from covidcxr_tf.imaging.reading import read_image, read_mask
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.segmentation_files import films_of, outlined, segment_films, unique_stems


def test_films_of_one_name_keep_apart() -> None:
    assert unique_stems(["a/x.png", "b/x.jpg", "b/y.png", "c/x.png"]) == ["x", "x_2", "y", "x_3"]


def test_an_outline_is_drawn_and_the_film_left_alone_elsewhere() -> None:
    film = np.full((40, 40), 0.5, np.float32)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 1
    picture = outlined(film, mask)
    assert picture[10, 15].tolist() != [128, 128, 128]
    assert picture[20, 20].tolist() == [128, 128, 128]
    assert picture[2, 2].tolist() == [128, 128, 128]


def test_masks_lie_beside_a_manifest_that_finds_films_and_masks(
    shipped_lungs: Path, phantoms: Path, tmp_path: Path
) -> None:
    films = films_of([str(phantoms)]).head(4)
    done = segment_films(films, LungFinder.load(), tmp_path / "out")
    made = load_manifest(done.manifest, root=done.root)
    assert made["label"].tolist() == load_manifest(phantoms)["label"].tolist()[:4]
    for row in made.index:
        film, mask = read_image(film_path(made, row)), read_mask(film_path(made, row, column="mask_path"))
        assert film.shape == mask.shape
        np.testing.assert_array_equal(mask, LungFinder.load().segment(film).mask)
    document = json.loads((tmp_path / "out" / "segmentation.json").read_text())
    assert [film["lung_mask_quality"]["verdict"] for film in document["films"]] == made["lung_verdict"].tolist()
    # Names of films, not places on this machine.
    assert str(phantoms.parent) not in json.dumps(document)


def test_films_folders_and_manifests_as_input(phantoms: Path, tmp_path: Path) -> None:
    film = film_path(load_manifest(phantoms), 0)
    assert films_of([str(film)])["file"].tolist() == [str(film)]
    folder = films_of([str(film.parent)])
    assert len(folder) == len(load_manifest(phantoms))
    with pytest.raises(UsageError, match="stands alone"):
        films_of([str(phantoms), str(film)])
    with pytest.raises(ImageError, match="no film"):
        films_of([str(tmp_path)])


def test_a_bad_film_is_left_out_when_asked_and_else_stops(shipped_lungs: Path, phantoms: Path, tmp_path: Path) -> None:
    film = film_path(load_manifest(phantoms), 0)
    bad = tmp_path / "bad.png"
    bad.write_bytes(cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes())
    films = films_of([str(bad), str(film)])
    finder = LungFinder.load()
    with pytest.raises(ImageError, match=r"bad\.png"):
        segment_films(films, finder, tmp_path / "strict")
    assert not (tmp_path / "strict" / "manifest.csv").exists()
    done = segment_films(films, finder, tmp_path / "out", skip_bad=1)
    assert [fault.where for fault in done.bad] == [str(bad)]
    assert len(done.rows) == 1
