"""Where shipped models are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import shipped


def place(folder: Path, name: str, version: str) -> Path:
    path = folder / name / version / "model.keras"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"model")
    return path


@pytest.fixture
def two_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr(shipped, "model_folders", lambda: [first, tmp_path / "missing", second])
    return first, second


def test_newest_version_is_a_number_not_a_word(two_places: tuple[Path, Path]) -> None:
    first, _ = two_places
    for version in ("1", "9", "10", "old", "2.5"):
        newest = place(first, "lung_unet", version)
        if version == "10":
            expected = newest
    (first / "lung_unet" / "11").mkdir()  # a version without its model does not count
    assert shipped.find_shipped("lung_unet") == expected


def test_first_place_wins_even_with_an_older_version(two_places: tuple[Path, Path]) -> None:
    first, second = two_places
    expected = place(first, "lung_unet", "1")
    place(second, "lung_unet", "2")
    only_there = place(second, "covid_cxnet", "1")
    assert shipped.shipped_models() == {"lung_unet": expected, "covid_cxnet": only_there}


def test_a_name_that_is_not_there(two_places: tuple[Path, Path]) -> None:
    first, second = two_places
    place(first, "lung_unet", "1")
    (first / "README.md").write_text("no model")
    with pytest.raises(WeightsError, match=r"no shipped model 'lung_net'.*did you mean 'lung_unet'") as caught:
        shipped.find_shipped("lung_net")
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    with pytest.raises(WeightsError, match="set COVIDCXR_MODELS"):
        shipped.find_shipped("zzz")


def test_the_environment_stands_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVIDCXR_MODELS", str(tmp_path))
    expected = place(tmp_path, "lung_unet", "3")
    assert shipped.model_folders()[0] == tmp_path
    assert shipped.find_shipped("lung_unet") == expected
    monkeypatch.delenv("COVIDCXR_MODELS")
    assert tmp_path not in shipped.model_folders()
