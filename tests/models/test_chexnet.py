"""COVID-CXNet against keras.applications, and CheXNet probing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from covidcxr_tf.data.manifest import FINDINGS
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import chexnet


@pytest.fixture(scope="module")
def both() -> tuple[keras.Model, keras.Model]:
    """Return keras.applications' DenseNet121 with batch statistics of its own, and ours."""
    theirs = keras.applications.DenseNet121(weights=None, include_top=False, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            width = layer.get_weights()[0].size
            layer.set_weights([rng.uniform(low, high, width) for low, high in ((0.5, 1), (-1, 1), (-1, 1), (0.5, 2))])
    return theirs, chexnet.build((64, 64, 3), num_classes=2)


def test_same_network_as_keras_applications(both: tuple[keras.Model, keras.Model]) -> None:
    theirs, ours = both
    for layer in theirs.layers:
        if layer.weights:
            ours.get_layer(layer.name).set_weights(layer.get_weights())
    images = np.random.default_rng(1).random((2, 64, 64, 3), dtype=np.float32)
    features = keras.Model(ours.input, ours.get_layer(chexnet.CAM_LAYER).output)(images)
    expected = np.asarray(theirs(images))
    assert expected.std() > 0.01
    np.testing.assert_allclose(features, expected, rtol=1e-6, atol=1e-6 * expected.max())


def test_layers_with_weights_have_the_same_names_in_the_same_order(both: tuple[keras.Model, keras.Model]) -> None:
    theirs, ours = ([layer.name for layer in model.layers if layer.weights] for model in both)
    assert ours == [*theirs, "head", "logits"]


def test_parameters_by_hand(both: tuple[keras.Model, keras.Model]) -> None:
    # DenseNet121 without its top has 7,037,504 (keras.io); the head adds 1024 -> 10 -> 2.
    assert both[1].count_params() == 7_037_504 + (1024 * 10 + 10) + (10 * 2 + 2)


def test_head_can_be_left_out(tiny: Callable[..., keras.Model]) -> None:
    bare = tiny("chexnet", head_units=0, dropout=0.0, num_classes=5)
    assert [layer.name for layer in bare.layers[-2:]] == ["avg_pool", "logits"]


def test_probe_repeats_the_files_own_arithmetic(chexnet_keras: tuple[Path, dict[str, list[np.ndarray]]]) -> None:
    path, arrays = chexnet_keras
    built = chexnet.build_probe(path, (32, 32))
    assert built.labels == tuple(FINDINGS)
    films = np.random.default_rng(2).random((2, 32, 32), dtype=np.float32)
    found = chexnet.probe(built, films)
    assert found.shape == (2, 14)
    assert found.dtype == np.float64
    # The last two steps by hand: this file's Keras had no ReLU after the last batch normalisation.
    features = keras.Model(built.model.input, built.model.get_layer("bn").output)(np.stack([films] * 3, axis=-1))
    kernel, bias = arrays["logits"]
    pooled = np.asarray(features, np.float64).mean(axis=(1, 2))
    assert pooled.min() < 0
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(pooled @ kernel + bias))), rtol=1e-5)


def test_probe_takes_colour_and_grey_alike(chexnet_keras: tuple[Path, dict[str, list[np.ndarray]]]) -> None:
    built = chexnet.build_probe(chexnet_keras[0], (None, None))
    films = np.random.default_rng(2).random((1, 40, 36), dtype=np.float32)
    grey, one, three = (chexnet.probe(built, f) for f in (films, films[..., None], np.stack([films] * 3, axis=-1)))
    np.testing.assert_array_equal(grey, one)
    np.testing.assert_array_equal(grey, three)


def test_probe_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "notes.h5"
    path.write_text("no weights")
    with pytest.raises(WeightsError, match="a file of an unknown kind; expected a CheXNet file"):
        chexnet.build_probe(path)
