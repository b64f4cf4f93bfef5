from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr_tf.cli.main import main
from covidcxr_tf.imaging.beasf import beasf
from covidcxr_tf.imaging.clahe import clahe
from covidcxr_tf.imaging.equalise import equalize
from covidcxr_tf.imaging.stack import three_channel


@pytest.fixture
def film() -> np.ndarray:
    return np.random.default_rng(0).normal(120, 40, (80, 64)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def path(film: np.ndarray, tmp_path: Path) -> Path:
    Image.fromarray(film).save(tmp_path / "film.png")
    return tmp_path / "film.png"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in ("enhance", *words)])
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("method", "function"),
    [("clahe", clahe), ("beasf", beasf), ("equalize", equalize), ("three-channel", three_channel)],
)
def test_writes_the_enhanced_film_and_a_comparison(
    method: str, function, film: np.ndarray, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(path, "--out", out, "--method", method) == 0
    enhanced, comparison = out / f"film_{method}.png", out / f"film_{method}_comparison.png"
    assert capsys.readouterr().out.split() == [str(enhanced), str(comparison)]
    assert {child.name for child in out.iterdir()} == {enhanced.name, comparison.name}
    assert np.array_equal(np.asarray(Image.open(enhanced)), function(film))
    sheet = np.asarray(Image.open(comparison).convert("RGB"))
    captions = sheet.shape[0] - 80
    assert np.array_equal(sheet[captions:, :64], np.repeat(film[..., np.newaxis], 3, axis=-1))
    assert np.array_equal(sheet[captions:, -64:, 0], function(film).reshape(80, 64, -1)[..., 0])
    assert sheet[:captions].min() < 100  # something is written above


def test_gamma_is_the_slope_of_beasf(film: np.ndarray, path: Path, tmp_path: Path) -> None:
    assert run(path, "--out", tmp_path, "--method", "beasf", "--gamma", 0.5) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "film_beasf.png")), beasf(film, 0.5))


@pytest.mark.parametrize(
    "words",
    [("--method", "clahe", "--gamma", 2), ("--method", "beasf", "--gamma", 0), ("--method", "beasf", "--gamma", "nan")],
)
def test_a_gamma_that_means_nothing_is_refused(
    words: tuple[object, ...], path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path, "--out", tmp_path / "out", *words) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_an_unreadable_film_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert run(bad, "--out", tmp_path / "out") == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: {bad}: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_wrong_usage(path: Path) -> None:
    assert run(path, "--out", path) == 2


def test_an_unknown_method_is_wrong_usage(path: Path, tmp_path: Path) -> None:
    assert run(path, "--out", tmp_path, "--method", "sharpen") == 2
