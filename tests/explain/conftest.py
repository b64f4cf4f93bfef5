"""A stand-in for a loaded model, small and fully known, and films without patients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from covidcxr_tf.errors import WeightsError

Box = tuple[float, float, float, float]


class StandIn:
    """The attributes of `covidcxr_tf.predict.LoadedModel` that explaining relies on.

    The network squares channel 0, pools 4x4 cells and knows two classes: the brighter and the grainier, the more
    'covid19'. It is not linear, as LIME's hiding by the mean colour would change nothing then.
    """

    threshold: float | None = None

    def decide(self, probabilities: np.ndarray) -> str:
        return self.classes[int(np.argmax(probabilities))]

    def __init__(self, path: Path, box: Box = (0.0, 0.0, 1.0, 1.0), region: np.ndarray | None = None, status: int = 0):
        inputs = keras.Input((32, 32, 2), name="image")
        squared = keras.layers.Multiply()([inputs, inputs])
        cells = keras.layers.AveragePooling2D(4, name="cells")(squared)
        pooled = keras.layers.GlobalAveragePooling2D()(cells)
        self.model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(pooled))
        self.model.get_layer("logits").set_weights([np.array([[-4.0, 4.0], [0.0, 0.0]]), np.array([0.5, -0.5])])
        self.classes = ("normal", "covid19")
        self.positive = "covid19"
        self.name, self.arch, self.path = "stand_in", "", path
        self.facts = {"task": "classification"}
        self.ood: np.ndarray | None = None
        self.image = SimpleNamespace(channels=("clahe", "raw"))
        self.box, self.region, self.status = box, region, status

    def film_input(self, film: np.ndarray) -> SimpleNamespace:
        rows, columns = film.shape
        top, left, bottom, right = self.box
        cut = film[int(top * rows) : int(bottom * rows), int(left * columns) : int(right * columns)]
        places = [(np.arange(32) + 0.5) * size / 32 for size in cut.shape]
        plane = np.rint(cut[places[0].astype(int)][:, places[1].astype(int)] * 255).astype(np.uint8)
        quality = None if self.region is None else {"verdict": "good", "score": 0.9}
        array = np.stack([plane, plane], axis=-1)
        return SimpleNamespace(array=array, box=self.box, region=self.region, status=self.status, quality=quality)

    def answer(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return self.probabilities(batch), self.ood

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        logits = self.model(batch).numpy().astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., StandIn]:
    """Return a maker of stand-ins whose model file holds ten bytes."""
    path = tmp_path / "model.keras"
    path.write_bytes(b"0123456789")
    return lambda **options: StandIn(path, **options)


@pytest.fixture
def film() -> np.ndarray:
    """A dark film, 80 x 160, faint grain, with a bright and grainy square at rows 20-39, columns 40-79."""
    grain = np.random.default_rng(0).random((80, 160))
    film = 0.05 * grain
    film[20:40, 40:80] = 0.5 + 0.5 * grain[20:40, 40:80]
    return film.astype(np.float32)


@pytest.fixture(autouse=True)
def no_shipped_lungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this room hangs on the lung network that lies in the checkout."""

    def nothing(name: str) -> Path:
        raise WeightsError(f"there is no shipped model '{name}'")

    monkeypatch.setattr("covidcxr_tf.explain.film.find_shipped", nothing)
