"""Which file a model's name means, and what its network says of a film."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.lung_finder import LungFinder, model_file
from covidcxr_tf.lungs.anatomy import CLASSES, HEART, LEFT_LUNG, RIGHT_LUNG
from covidcxr_tf.models.files import load_model, save_model


@pytest.fixture
def shipped(shipped_lungs: Path) -> Path:
    """Return the file of the shipped lung network."""
    return shipped_lungs / "lung_unet" / "1" / "model.keras"


def a_model(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a model")
    return path


def test_a_shipped_name_is_not_shadowed_by_a_folder_or_a_file(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lung_unet").mkdir()
    assert model_file("lung_unet") == shipped
    a_model(tmp_path / "lung_unet" / "model.keras")
    assert model_file("lung_unet") == shipped
    shutil.rmtree(tmp_path / "lung_unet")
    a_model(tmp_path / "lung_unet")
    assert model_file("lung_unet") == shipped


def test_what_is_written_as_a_path_is_a_path(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = a_model(tmp_path / "lung_unet" / "model.keras")
    for name in ("./lung_unet", "lung_unet/", Path("lung_unet"), str(own), own):
        assert model_file(name).resolve() == own
    own.unlink()
    with pytest.raises(WeightsError, match=r"lung_unet: no model\.keras in this folder"):
        model_file("./lung_unet")
    own.parent.rmdir()
    with pytest.raises(WeightsError, match="lung_unet: no such file"):
        model_file("./lung_unet")


def test_a_folder_of_versions_means_the_newest(tmp_path: Path) -> None:
    for version in ("9", "10"):
        a_model(tmp_path / "net" / version / "model.keras")
    assert model_file(tmp_path / "net") == tmp_path / "net" / "10" / "model.keras"


def test_a_folder_of_no_shipped_name_needs_no_dot(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = a_model(tmp_path / "run" / "model.keras")
    assert model_file("run").resolve() == own
    with pytest.raises(WeightsError, match="no shipped model 'lung_net'"):
        model_file("lung_net")
    with pytest.raises(WeightsError, match=r"lung_unet\.keras: no such file"):
        model_file("lung_unet.keras")


def test_a_run_of_two_levels_says_which_folders_to_name(tmp_path: Path) -> None:
    for level in ("level_1", "level_2"):
        a_model(tmp_path / "tree" / level / "model.keras")
    with pytest.raises(WeightsError, match="tree: two-level run") as fault:
        model_file(tmp_path / "tree")
    for level in ("level_1", "level_2"):
        assert str(tmp_path / "tree" / level) in str(fault.value)
        assert model_file(tmp_path / "tree" / level).parent.name == level
    # The levels' common result, if there is one, is the run's model.
    assert model_file(a_model(tmp_path / "tree" / "model.keras").parent).parent.name == "tree"


def test_the_network_knows_itself_and_finds_dark_fields(shipped: Path, phantoms: Path) -> None:
    finder = LungFinder.load()
    assert finder.path == shipped and finder.identity() == {"name": "lung_unet", "sha256": finder.sha256}
    film = read_image(film_path(load_manifest(phantoms), 0))
    found = finder.segment(film)
    assert found.mask.shape == film.shape and found.mask.dtype == np.uint8
    assert found.probabilities.shape == found.region.shape == (32, 32)
    np.testing.assert_array_equal(finder.region(film), found.region)
    assert film[found.mask == 1].mean() < film[found.mask == 0].mean()


def test_a_network_for_lungs_alone_knows_no_heart(shipped: Path, phantoms: Path) -> None:
    finder = LungFinder.load()
    film = read_image(film_path(load_manifest(phantoms), 0))
    assert not finder.finds_heart and finder.classes == ()
    found = finder.segment(film)
    assert found.anatomy is None and found.heart is None
    with pytest.raises(UsageError, match="lung_unet finds lungs alone; expected one for background, heart"):
        finder.anatomy(film)


def a_film(shape: tuple[int, int] = (64, 96)) -> np.ndarray:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def test_a_network_for_four_classes(anatomy_model: Path, anatomy_drawn: np.ndarray) -> None:
    finder = LungFinder.load(anatomy_model)
    assert finder.finds_heart and finder.classes == CLASSES
    film = a_film()
    found = finder.segment(film)
    assert found.anatomy is not None and found.heart is not None
    assert found.anatomy.shape == found.mask.shape == found.heart.shape == film.shape
    assert found.anatomy.dtype == found.mask.dtype == found.heart.dtype == np.uint8
    np.testing.assert_array_equal(finder.anatomy(film), found.anatomy)
    # The film is twice and three times as large as the drawing; away from borders each pixel keeps its class.
    large = anatomy_drawn.repeat(2, axis=0).repeat(3, axis=1)
    assert (found.anatomy == large).mean() > 0.95
    assert set(np.unique(found.anatomy)) == {0, HEART, LEFT_LUNG, RIGHT_LUNG}
    np.testing.assert_array_equal(found.mask, found.anatomy >= LEFT_LUNG)
    np.testing.assert_array_equal(found.heart, found.anatomy == HEART)
    # The patient's right lung stands on the picture's left.
    assert np.nonzero(found.anatomy == RIGHT_LUNG)[1].max() < np.nonzero(found.anatomy == LEFT_LUNG)[1].min()


def test_the_lungs_probability_is_that_of_either_lung(anatomy_model: Path, anatomy_drawn: np.ndarray) -> None:
    finder = LungFinder.load(anatomy_model)
    probabilities = finder.probabilities(a_film())
    assert probabilities.shape == (32, 32)
    # Logits 3 for the drawn class and 0 for the three others: e^3 / (e^3 + 3) + 1 / (e^3 + 3) where a lung is drawn.
    lung, elsewhere = (np.exp(3) + 1) / (np.exp(3) + 3), 2 / (np.exp(3) + 3)
    np.testing.assert_allclose(probabilities, np.where(anatomy_drawn >= LEFT_LUNG, lung, elsewhere), rtol=1e-5)
    region = finder.region(a_film())
    assert region[anatomy_drawn >= LEFT_LUNG].all()
    assert not region[:2].any()


def test_specks_holes_and_sides_are_mended(anatomy_of: Callable[[np.ndarray], Path], anatomy_drawn: np.ndarray) -> None:
    spoiled = anatomy_drawn.copy()
    spoiled[0, 0] = HEART  # a speck of heart in a corner
    spoiled[31, 0:2] = LEFT_LUNG  # a speck of lung
    spoiled[10, 6] = 0  # a hole in the right lung
    spoiled[14:16, 5:7] = LEFT_LUNG  # a patch of the wrong side
    spoiled[20, 15] = 0  # a hole in the heart
    found = LungFinder.load(anatomy_of(spoiled)).anatomy(a_film((32, 32)))
    np.testing.assert_array_equal(found, anatomy_drawn)


def test_lungs_that_touch_stay_two(anatomy_of: Callable[[np.ndarray], Path], anatomy_drawn: np.ndarray) -> None:
    joined = anatomy_drawn.copy()
    joined[5:7, 12:16] = RIGHT_LUNG
    joined[5:7, 16:20] = LEFT_LUNG
    found = LungFinder.load(anatomy_of(joined)).anatomy(a_film((32, 32)))
    np.testing.assert_array_equal(found, joined)


def test_a_film_without_anything_found(anatomy_of: Callable[[np.ndarray], Path]) -> None:
    found = LungFinder.load(anatomy_of(np.zeros((32, 32), np.uint8))).segment(a_film())
    assert found.anatomy is not None
    assert not found.anatomy.any() and not found.mask.any()
    assert found.quality.verdict == "poor"


@pytest.mark.parametrize("classes", [[], ["lung"], list(CLASSES[::-1])])
def test_channels_without_their_names_are_refused(anatomy_model: Path, tmp_path: Path, classes: list[str]) -> None:
    model, facts = load_model(anatomy_model)
    other = save_model(model, tmp_path / "other.keras", facts | {"classes": classes})
    with pytest.raises(WeightsError, match=r"other\.keras: has 4 channels, named .*; expected one, for lungs, or"):
        LungFinder.load(other)
