"""What `segment` writes: names, outlines, a manifest whose paths lead to the films and the masks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import ImageError, UsageError
from covidcxr_tf.imaging.reading import read_image, read_mask
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.anatomy import HEART, LEFT_LUNG
from covidcxr_tf.segmentation_files import (
    HEART_OUTLINE,
    OUTLINE,
    films_of,
    is_manifest,
    outlined,
    segment_films,
)


@pytest.fixture
def own(phantoms: Path, tmp_path: Path) -> Path:
    """Return the manifest of a user's own folder: three films with masks of lungs and hearts."""
    folder = tmp_path / "own"
    shutil.copytree(phantoms.parent, folder)
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False).head(3)
    table.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def contents(folder: Path) -> dict[str, bytes]:
    """Return path -> content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(films: pd.DataFrame, out: Path, whole: Path) -> str:
    """Return what is said; segmenting must stop before anything below `whole` changes, and without the network."""
    before = contents(whole)
    with pytest.raises(UsageError) as fault:
        segment_films(films, Mock(spec=["segment", "identity"]), out)
    assert "--out" in str(fault.value)
    assert contents(whole) == before
    return str(fault.value)


def test_films_of_one_name_get_files_of_their_own(shipped_lungs: Path, phantoms: Path, tmp_path: Path) -> None:
    film = film_path(load_manifest(phantoms), 0).read_bytes()
    names = ["a/x.png", "b/x.png", "c/x_2.png"]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(film)
    done = segment_films(films_of([str(tmp_path / name) for name in names]), LungFinder.load(), tmp_path / "out")
    assert [row["film"] for row in done.document["films"]] == names
    masks = [row["mask_path"] for row in done.document["films"]]
    assert masks == ["masks/x.png", "masks/x_3.png", "masks/x_2.png"]
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["x.png", "x_2.png", "x_3.png"]


def test_the_manifest_that_came_is_not_replaced(own: Path, tmp_path: Path) -> None:
    assert "manifest.csv: the new manifest would replace" in refusal(films_of([str(own)]), own.parent, own.parent)
    # The same file by another name, and a folder whose manifest nobody named.
    link = tmp_path / "link"
    link.symlink_to(own.parent)
    assert "would replace" in refusal(films_of([str(own)]), link, own.parent)
    folder = str(film_path(films_of([str(own)]), 0).parent)
    assert "did not write" in refusal(films_of([folder]), own.parent, own.parent)


@pytest.mark.parametrize("column", ["path", "mask_path", "heart_mask_path"])
@pytest.mark.parametrize("folder", ["masks", "hearts", "overlays"])
def test_films_and_masks_that_came_are_not_replaced(own: Path, tmp_path: Path, column: str, folder: str) -> None:
    out = tmp_path / "out"
    (out / folder).mkdir(parents=True)
    table = pd.read_csv(own, dtype=str, keep_default_na=False).assign(mask_path="", heart_mask_path="")
    moved = out / folder / "x.png"
    moved.write_bytes(film_path(films_of([str(own)]), 2).read_bytes())
    table["path"] = [f"own/{path}" for path in table["path"]]
    table.loc[2, column] = str(moved.relative_to(tmp_path))
    table.to_csv(own, index=False)
    said = refusal(films_of([str(own)], str(tmp_path)), out, tmp_path)
    assert f"{folder}/x.png: a film or mask that came" in said


def test_a_link_in_masks_is_not_replaced_either(own: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "masks").mkdir(parents=True)
    mask = film_path(films_of([str(own)]), 0, "mask_path")
    (tmp_path / "out" / "masks" / mask.name).symlink_to(mask)
    table = pd.read_csv(own, dtype=str, keep_default_na=False).head(1).drop(columns="heart_mask_path")
    table = table.assign(path="own/" + table["path"], mask_path=f"out/masks/{mask.name}")
    table.to_csv(own, index=False)
    assert "a film or mask that came" in refusal(films_of([str(own)], str(tmp_path)), tmp_path / "out", tmp_path)


def test_results_of_an_earlier_time_are_replaced(shipped_lungs: Path, own: Path, tmp_path: Path) -> None:
    films, finder, out = films_of([str(own)]), LungFinder.load(), tmp_path / "out"
    segment_films(films.head(1), finder, out)
    done = segment_films(films, finder, out)
    assert len(load_manifest(done.manifest, root=done.root)) == 3


def test_heart_masks_are_found_from_the_new_root(shipped_lungs: Path, own: Path, tmp_path: Path) -> None:
    films = films_of([str(own)])
    films.loc[1, "heart_mask_path"] = ""
    done = segment_films(films, LungFinder.load(), tmp_path / "out")
    assert done.root == tmp_path
    made = load_manifest(done.manifest, root=done.root)
    for row in (0, 2):
        assert film_path(made, row, "heart_mask_path") == film_path(films, row, "heart_mask_path")
        assert film_path(made, row, "heart_mask_path").is_file()
    assert made.loc[1, "heart_mask_path"] == ""


def test_heart_masks_outside_the_new_root_are_dropped(shipped_lungs: Path, own: Path) -> None:
    films = films_of([str(own)])
    done = segment_films(films, LungFinder.load(), film_path(films, 0).parent / "lungs")
    assert done.root == film_path(films, 0).parent
    made = load_manifest(done.manifest, root=done.root)
    assert made["heart_mask_path"].tolist() == [""] * 3
    assert made["path"].tolist() == [Path(path).name for path in films["path"]]


@pytest.mark.parametrize(
    ("name", "expected"), [("a.csv", True), ("A.CSV", True), ("b.parquet", True), ("csv", False), ("a.png", False)]
)
def test_a_manifest_is_known_by_its_suffix(name: str, expected: bool) -> None:
    assert is_manifest(name) is expected


def test_an_outline_is_drawn_and_the_film_left_alone_elsewhere() -> None:
    film = np.full((40, 40), 0.5, np.float32)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 1
    picture = outlined(film, mask)
    assert picture[10, 15].tolist() != [128, 128, 128]
    assert picture[20, 20].tolist() == [128, 128, 128]
    assert picture[2, 2].tolist() == [128, 128, 128]


def test_the_heart_has_an_outline_of_its_own() -> None:
    film = np.full((40, 40), 0.5, np.float32)
    lung, heart = np.zeros((2, 40, 40), np.uint8)
    lung[10:30, 5:15] = 1
    heart[15:30, 20:35] = 1
    picture = outlined(film, lung, heart)
    assert picture[20, 5].tolist() == list(OUTLINE)
    assert picture[20, 20].tolist() == list(HEART_OUTLINE)
    np.testing.assert_array_equal(outlined(film, lung)[:, :16], picture[:, :16])
    assert (outlined(film, lung)[:, 16:] == 128).all()


def test_a_network_that_finds_hearts_writes_them(anatomy_model: Path, own: Path, tmp_path: Path) -> None:
    films, finder, out = films_of([str(own)]), LungFinder.load(anatomy_model), tmp_path / "out"
    films.loc[1, "heart_mask_path"] = ""
    done = segment_films(films, finder, out)
    made = load_manifest(done.manifest, root=done.root)
    assert len(list((out / "hearts").iterdir())) == len(made) == 3
    for row, told in zip(made.index, done.document["films"], strict=True):
        anatomy = finder.anatomy(read_image(film_path(made, row)))
        # The network's own hearts, not those that came.
        np.testing.assert_array_equal(read_mask(film_path(made, row, "heart_mask_path")), anatomy == HEART)
        np.testing.assert_array_equal(read_mask(film_path(made, row, "mask_path")), anatomy >= LEFT_LUNG)
        assert film_path(made, row, "heart_mask_path") == (out / told["heart_mask_path"]).resolve()


def test_a_network_for_lungs_makes_no_folder_for_hearts(shipped_lungs: Path, phantoms: Path, tmp_path: Path) -> None:
    film = film_path(load_manifest(phantoms), 0)
    done = segment_films(films_of([str(film)]), LungFinder.load(), tmp_path / "out")
    assert not (tmp_path / "out" / "hearts").exists()
    assert "heart_mask_path" not in done.document["films"][0]
    assert "heart_mask_path" not in pd.read_csv(done.manifest)


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
    assert document == done.document
    # Films from the root of the manifest, which is named from the document's own folder: no place on this machine.
    assert [film["film"] for film in document["films"]] == made["path"].tolist()
    assert (tmp_path / "out" / document["root"]).resolve() == done.root
    assert load_manifest(tmp_path / "out" / document["manifest"], root=done.root).equals(made)
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
    assert [row["film"] for row in done.document["films"]] == [os.path.relpath(film, done.root)]
