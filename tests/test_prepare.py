"""Prepared films: the pixels of the one path, a cache that knows when it is stale, bad films set aside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import film_path, load_manifest, write_manifest
from covidcxr_tf.errors import ConfigError, DataError, ImageError, UsageError
from covidcxr_tf.imaging.crop import LungEdges
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lungs.anatomy import CLASSES, LEFT_LUNG, RIGHT_LUNG
from covidcxr_tf.lungs.drawn_masks import drawn_mask, small_mask
from covidcxr_tf.lungs.region import box_around, lung_region
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.prepare import Prepared, cache_folder, prepare

IMAGE = ImageConfig(size=32, tiles=4, lungs="none")


@pytest.fixture
def films(phantoms: Path) -> pd.DataFrame:
    loaded = load_manifest(phantoms)
    attributes = loaded.attrs
    loaded = loaded.head(12).assign(split=(["train"] * 8 + ["validation"] * 4))
    loaded.attrs = attributes
    return loaded


def pixels(prepared: Prepared, group: str) -> dict[int, np.ndarray]:
    targets = np.zeros(len(prepared.manifest), np.int32)
    found = {}
    for batch in Batches(prepared, (group,), targets, None, 3).plain():
        for row, image in zip(batch["row"].numpy(), batch["image"].numpy(), strict=True):
            found[int(row)] = image
    return found


def test_shards_hold_what_the_one_path_gives(films: pd.DataFrame, tmp_path: Path) -> None:
    prepared = prepare(films, IMAGE, out=tmp_path / "out")
    found = {**pixels(prepared, "train"), **pixels(prepared, "validation")}
    assert sorted(found) == list(range(12))
    for row, image in found.items():
        expected = model_input(read_image(film_path(films, row)), IMAGE)
        np.testing.assert_array_equal(image, expected.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("edges", ["region", "mass"])
def test_lungs_crop_as_in_prediction(edges: LungEdges, films: pd.DataFrame, tmp_path: Path) -> None:
    image = IMAGE.model_copy(update={"lungs": "crop", "lung_edges": edges})

    def lungs(film: np.ndarray) -> np.ndarray:
        found = np.zeros((20, 20), np.float32)
        found[5:15, 4:18] = np.linspace(0.6, 1, 14)
        return found

    prepared = prepare(films, image, lungs=lungs, lungs_key="fixed", out=tmp_path / "out")
    film = read_image(film_path(films, 0))
    expected = model_input(film, image, box=box_around(lung_region(lungs(film)), lungs(film), edges, 0.05))
    np.testing.assert_array_equal(pixels(prepared, "train")[0], expected.astype(np.float32) / np.float32(255))


def test_a_sorted_manifest_is_mixed_in_its_shards(films: pd.DataFrame, tmp_path: Path) -> None:
    train = films.assign(split="train")
    train.attrs = films.attrs
    prepared = prepare(train, IMAGE, out=tmp_path / "out")
    order = [
        int(row)
        for batch in Batches(prepared, ("train",), np.zeros(12, np.int32), None, 4).plain()
        for row in batch["row"]
    ]
    assert sorted(order) == list(range(12))
    assert order != sorted(order)


def test_lungs_without_a_finder_are_refused(films: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="nothing to find them with"):
        prepare(films, IMAGE.model_copy(update={"lungs": "crop"}))


def test_masks_travel_with_their_film(films: pd.DataFrame, tmp_path: Path) -> None:
    prepared = prepare(films, IMAGE, masks=True, out=tmp_path / "out")
    batch = next(iter(Batches(prepared, ("train",), None, None, 8).plain()))
    masks = batch["target"].numpy()
    assert set(np.unique(masks)) == {0.0, 1.0}
    # Lungs are a fifth to a half of a phantom, and darker than what is around them (raw is the last channel).
    assert 0.1 < masks.mean() < 0.6
    raw = batch["image"].numpy()[..., 2:]
    assert raw[masks == 1].mean() < raw[masks == 0].mean()


def test_masks_of_classes_travel_with_their_film(films: pd.DataFrame, tmp_path: Path) -> None:
    lungs = prepare(films, IMAGE, masks=True)
    prepared = prepare(films, IMAGE, masks=True, mask_classes=CLASSES)
    assert lungs.folder != prepared.folder
    assert prepare(films, IMAGE, masks=True, mask_classes=CLASSES).folder == prepared.folder
    both = [next(iter(Batches(made, ("train",), None, None, 8).plain())) for made in (lungs, prepared)]
    np.testing.assert_array_equal(both[0]["row"], both[1]["row"])
    lung, numbers = (batch["target"].numpy()[..., 0] for batch in both)
    for row, found in zip(both[1]["row"].numpy(), numbers, strict=True):
        shape = read_image(film_path(films, int(row))).shape
        expected = small_mask(drawn_mask(films, int(row), shape, CLASSES), 32, CLASSES)
        np.testing.assert_array_equal(found, expected)
        assert np.nonzero(found == RIGHT_LUNG)[1].mean() < np.nonzero(found == LEFT_LUNG)[1].mean()
    # Lung is what was lung, without what lies behind the heart; on borders the rounding may differ.
    assert ((numbers >= LEFT_LUNG) & (lung == 0)).mean() < 0.01
    assert ((numbers != 0) >= (lung == 1)).mean() > 0.99


def test_other_classes_than_heart_and_lungs_are_refused(films: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="classes of a segmentation are normal, covid19"):
        prepare(films, IMAGE, masks=True, mask_classes=("normal", "covid19"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_drawing_of_a_heart_is_noticed(films: pd.DataFrame, tmp_path: Path) -> None:
    table = films.head(3).copy()
    for column in ("path", "mask_path", "heart_mask_path"):
        for row in table.index:
            (tmp_path / f"{column}{row}.png").write_bytes(film_path(films, row, column).read_bytes())
        table[column] = [f"{column}{row}.png" for row in table.index]
    table = load_manifest(write_manifest(table, tmp_path / "manifest.csv"))
    four, lungs = (prepare(table, IMAGE, masks=True, mask_classes=classes).folder for classes in (CLASSES, ()))
    (tmp_path / "heart_mask_path0.png").write_bytes((tmp_path / "heart_mask_path1.png").read_bytes())
    assert prepare(table, IMAGE, masks=True, mask_classes=CLASSES).folder != four
    assert prepare(table, IMAGE, masks=True).folder == lungs


def test_the_cache_is_used_until_a_film_or_the_config_changes(films: pd.DataFrame, tmp_path: Path) -> None:
    first = prepare(films, IMAGE)
    assert first.folder.parent == cache_folder() / "prepared"
    stamp = (first.folder / "prepared.json").stat().st_mtime_ns
    assert prepare(films, IMAGE).folder == first.folder
    assert (first.folder / "prepared.json").stat().st_mtime_ns == stamp
    assert prepare(films, IMAGE.model_copy(update={"gamma": 2.0})).folder != first.folder
    # Labels are not in the shards: other classes share them, and are never those of the run before.
    relabelled = prepare(films.assign(label="x"), IMAGE)
    assert relabelled.folder == first.folder
    assert set(relabelled.manifest["label"]) == {"x"}
    moved = films.assign(split=["validation"] * 4 + ["train"] * 8)
    moved.attrs = films.attrs
    assert prepare(moved, IMAGE).folder != first.folder
    next(iter(first.files["train"])).unlink()
    assert next(iter(prepare(films, IMAGE).files["train"])).is_file()


def test_a_folder_with_anything_else_in_it_is_left_alone(films: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(films, IMAGE, out=out)
    prepare(films, IMAGE.model_copy(update={"gamma": 2.0}), out=out)  # its own older shards may go
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        prepare(films, IMAGE.model_copy(update={"gamma": 2.5}), out=out)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "prepared.json").is_file()


def test_two_preparations_of_one_folder_leave_one_whole(films: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: prepare(films, IMAGE, out=out), range(2)))
    for prepared in done:
        assert sorted(pixels(prepared, "train")) == list(range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_reference_film_under_the_same_name_is_noticed(films: pd.DataFrame, tmp_path: Path) -> None:
    reference = tmp_path / "reference.png"
    image = IMAGE.model_copy(update={"histogram_reference": str(reference)})
    folders = []
    for row in (0, 1):
        reference.write_bytes(film_path(films, row).read_bytes())
        folders.append(prepare(films, image).folder)
    assert folders[0] != folders[1]


@pytest.fixture
def spoiled(films: pd.DataFrame, tmp_path: Path) -> pd.DataFrame:
    """Return a manifest beside copies of the films, the third of which is text."""
    for row in range(len(films)):
        source = film_path(films, row)
        content = b"not a picture" if row == 2 else source.read_bytes()
        (tmp_path / f"{row}.png").write_bytes(content)
    table = pd.DataFrame(films).assign(path=[f"{row}.png" for row in range(len(films))]).drop(columns="mask_path")
    table = table.drop(columns=[name for name in ("heart_mask_path",) if name in table])
    return load_manifest(write_manifest(table, tmp_path / "manifest.csv"))


def test_a_bad_film_is_an_error_and_leaves_nothing(spoiled: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"2\.png.*--skip-bad"):
        prepare(spoiled, IMAGE, out=tmp_path / "out" / "shards")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bad_film_is_set_aside_when_asked_and_named(spoiled: pd.DataFrame, tmp_path: Path) -> None:
    prepared = prepare(spoiled, IMAGE, out=tmp_path / "out", skip_bad=1)
    assert sorted(pixels(prepared, "train")) == [0, 1, 3, 4, 5, 6, 7]
    quarantine = pd.read_csv(prepared.folder / "quarantine.csv")
    assert quarantine["path"].tolist() == ["2.png"]
    assert prepared.quarantine == ("2.png",)
    assert (prepared.count("train"), prepared.count("validation")) == (7, 4)
    assert Batches(prepared, ("train",), np.zeros(12, np.int32), None, 4).rows == 7
    assert "2.png" in quarantine["reason"][0]
    # Whoever allows no bad film may not be handed shards that lack one.
    with pytest.raises(ImageError):
        prepare(spoiled, IMAGE, out=tmp_path / "out", skip_bad=0)
