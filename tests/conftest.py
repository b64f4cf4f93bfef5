"""One TensorFlow for all tests, quiet; a lung network and a runner of commands that several rooms share."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    import numpy as np

CLEAN = ("COVIDCXR_MODELS", "COVIDCXR_CACHE")


class Finished(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests never read or fill the user's cache, nor the user's models."""
    before = {name: os.environ.pop(name, None) for name in CLEAN}
    folder = tmp_path_factory.mktemp("cache")
    os.environ["COVIDCXR_CACHE"] = str(folder)
    yield folder
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def covidcxr(capfd: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Return a function that runs the command line in this process: TensorFlow is imported once for all tests."""
    from covidcxr_tf.cli.main import main

    def run(*words: object) -> Finished:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Finished(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of 18 synthetic patients, three labels, 96 px, with masks."""
    from covidcxr_tf.data.synthetic import write_demo

    return write_demo(tmp_path_factory.mktemp("phantoms") / "films", patients=18, seed=1, size=96)


@pytest.fixture(scope="session")
def lung_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of shipped models that holds a lung network for 32 px: bright is body, dark is lung.

    Two convolutions written by hand (blur, then a step downwards), so that it finds dark fields without training.
    """
    import keras
    import numpy as np

    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.models.files import save_model

    image = keras.Input((32, 32, 1), name="image")
    blurred = keras.layers.Conv2D(1, 3, padding="same", name="blur")(image)
    logits = keras.layers.Conv2D(1, 1, dtype="float32", name="logits")(blurred)
    model = keras.Model(image, logits)
    model.get_layer("blur").set_weights([np.full((3, 3, 1, 1), 1 / 9), np.zeros(1)])
    model.get_layer("logits").set_weights([np.full((1, 1, 1, 1), -40.0), np.full(1, 18.0)])
    settings = ImageConfig(size=32, channels=("clahe",), tiles=4, lungs="none")
    facts = {"name": "lung_unet", "arch": "unet", "task": "segmentation", "image": settings.model_dump(mode="json")}
    folder = tmp_path_factory.mktemp("models")
    save_model(model, folder / "lung_unet" / "1" / "model.keras", facts)
    return folder


@pytest.fixture
def shipped_lungs(lung_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the hand-written lung network the shipped one."""
    monkeypatch.setenv("COVIDCXR_MODELS", str(lung_models))
    return lung_models


@pytest.fixture(scope="session")
def anatomy_drawn() -> np.ndarray:
    """Return a drawing of heart, left and right lung by class number, uint8 (32, 32), only the heart touching."""
    import numpy as np

    from covidcxr_tf.lungs.anatomy import HEART, LEFT_LUNG, RIGHT_LUNG

    drawn = np.zeros((32, 32), np.uint8)
    drawn[4:28, 3:12] = RIGHT_LUNG
    drawn[4:28, 20:29] = LEFT_LUNG
    drawn[14:25, 12:23] = HEART
    return drawn


@pytest.fixture
def anatomy_of(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """Return a function from a drawing (32, 32) to the file of a network that finds just that in every film."""
    import keras
    import numpy as np

    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.lungs.anatomy import CLASSES
    from covidcxr_tf.models.files import save_model

    def write(drawn: np.ndarray) -> Path:
        image = keras.Input((32, 32, 1), name="image")
        seen = keras.layers.GlobalAveragePooling2D(name="seen")(image)
        flat = keras.layers.Dense(32 * 32 * 4, kernel_initializer="zeros", name="flat")(seen)
        model = keras.Model(image, keras.layers.Reshape((32, 32, 4), name="logits")(flat))
        bias = 3.0 * (drawn[..., None] == np.arange(4))
        model.get_layer("flat").set_weights([np.zeros((1, 32 * 32 * 4)), bias.ravel()])
        settings = ImageConfig(size=32, channels=("raw",), tiles=4, lungs="none").model_dump(mode="json")
        facts = {"name": "anatomy", "arch": "unet", "task": "segmentation", "classes": list(CLASSES), "image": settings}
        return save_model(model, tmp_path / "anatomy" / "model.keras", facts)

    return write


@pytest.fixture
def anatomy_model(anatomy_of: Callable[[np.ndarray], Path], anatomy_drawn: np.ndarray) -> Path:
    """Return the file of a network that finds `anatomy_drawn` in every film."""
    return anatomy_of(anatomy_drawn)
