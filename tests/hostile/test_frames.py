"""`--frame N`: one frame of a multi-frame film, and no frame without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.models.files import save_model


@pytest.fixture(scope="module")
def two_frames(hostile: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Return a DICOM file of a film and its mirror image, and both, uint8 (2, 96, 96)."""
    from hostile_mutants import dicom_film, film_levels

    levels = film_levels(12)
    both = np.stack([levels, levels[:, ::-1]])
    path = tmp_path_factory.mktemp("frames") / "cine.dcm"
    path.write_bytes(dicom_film(both, 12, NumberOfFrames=2))
    return path, to_uint8(both.astype(np.float32) / np.float32(4095))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = keras.Input((32, 32, 1), name="image")
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(image))
    settings = ImageConfig(size=32, channels=("raw",), lungs="none").model_dump(mode="json")
    facts = {"name": "small", "arch": "", "task": "classification", "classes": ["normal", "covid19"], "image": settings}
    return save_model(keras.Model(image, logits), tmp_path_factory.mktemp("model") / "model.keras", facts)


def _words(command: str, out: Path, model: Path) -> tuple[Any, ...]:
    extra = {"explain": ("--model", model, "--method", "saliency", "--json")}
    return ("--out", out, *extra.get(command, ()))


@pytest.mark.parametrize("command", ["explain", "segment", "enhance"])
def test_without_a_frame_it_is_refused_and_says_how(
    command: str, two_frames: Any, model: Path, tmp_path: Path, covidcxr: Callable[..., Any], shipped_lungs: Path
) -> None:
    done = covidcxr(command, two_frames[0], *_words(command, tmp_path, model))
    assert done.code == 3
    assert "has 2 frames; expected one film; say which with --frame N" in done.err
    done = covidcxr(command, two_frames[0], "--frame", 2, *_words(command, tmp_path, model))
    assert done.code == 3
    assert "has no frame 2; expected 0 to 1" in done.err


@pytest.mark.parametrize("frame", [0, 1])
def test_the_frame_that_was_named_is_used(
    frame: int, two_frames: Any, model: Path, tmp_path: Path, covidcxr: Callable[..., Any], shipped_lungs: Path
) -> None:
    path, both = two_frames
    done = covidcxr("enhance", path, "--frame", frame, "--method", "universal", "--gamma", 1, "--out", tmp_path)
    assert done.code == 0, done.err
    sheet = cv2.imread(str(tmp_path / "cine_universal_comparison.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    np.testing.assert_array_equal(sheet[-96:, :96], both[frame])
    done = covidcxr("explain", path, "--frame", frame, *_words("explain", tmp_path, model))
    assert done.code == 0, done.err
    told = json.loads(done.out)["films"][0]
    from covidcxr_tf.predict import load_model_for_films

    expected = load_model_for_films(model).predict([read_image(path, frame=frame)])[0]
    assert list(told["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert told["film"] == f"cine.dcm, frame {frame}"
    table = tmp_path / "table.csv"
    done = covidcxr("predict", path, "--frame", frame, "--model", model, "--out", table)
    assert done.code == 0, done.err
    row = pd.read_csv(table).iloc[0]
    assert [row["prob_normal"], row["prob_covid19"]] == pytest.approx(expected.tolist(), abs=1e-6)
    done = covidcxr("segment", path, "--frame", frame, "--out", tmp_path / "lungs")
    assert done.code == 0, done.err
    masks = cv2.imread(str(tmp_path / "lungs" / "masks" / "cine.png"), cv2.IMREAD_GRAYSCALE)
    assert masks is not None and masks.shape == (96, 96)


@pytest.mark.parametrize("command", ["explain", "segment"])
def test_results_in_dicom_are_of_whole_films(
    command: str, two_frames: Any, model: Path, tmp_path: Path, covidcxr: Callable[..., Any]
) -> None:
    words = ("--frame", 0, "--dicom-out", tmp_path / "objects", *_words(command, tmp_path, model))
    done = covidcxr(command, two_frames[0], *words)
    assert done.code == 2
    assert "--frame with --dicom-out" in done.err
    assert not (tmp_path / "objects").exists()
