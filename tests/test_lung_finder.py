"""Which file a model's name means, and what its network says of a film."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.lung_finder import LungFinder, model_file


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
