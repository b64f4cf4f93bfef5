"""VGG16 against keras.applications, its three dense layers, and its variant for class activation maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from covidcxr_tf.models import vgg16
from covidcxr_tf.models.files import save_model

Build = Callable[..., keras.Model]
CONVOLUTIONS = 14_714_688  # Simonyan 2015, column D, 3 channels: keras.io's number without the top


def test_same_network_as_keras_applications() -> None:
    theirs = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=5, classifier_activation=None)
    ours = vgg16.build((32, 32, 3), 5, head_layers=2, dropout=0.0)
    names = {"fc1": "dense1", "fc2": "dense2", "predictions": "logits"}
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            # Keras starts biases at 0, which would hide a lost one.
            weights = [kernel * 1.5, rng.normal(0, 0.01, bias.shape)]
            layer.set_weights(weights)
            ours.get_layer(names.get(layer.name, layer.name)).set_weights(weights)
    images = rng.random((2, 32, 32, 3), dtype=np.float32)
    expected = np.asarray(theirs(images))
    assert np.abs(expected[0] - expected[1]).max() > 1e-6
    np.testing.assert_allclose(ours(images), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # As published: 7 * 7 * 512 -> 4096 -> 4096 -> 1000.
        ({"num_classes": 1000, "head_layers": 2}, 138_357_544),
        # The study by its letter: 4096 -> 4096 -> 4096 -> 4.
        ({}, CONVOLUTIONS + 25088 * 4096 + 2 * 4096 * 4096 + 3 * 4096 + 4096 * 4 + 4),
        ({"head_layers": 2}, CONVOLUTIONS + 25088 * 4096 + 4096 * 4096 + 2 * 4096 + 4096 * 4 + 4),
        ({"head_layers": 0}, CONVOLUTIONS + 25088 * 4 + 4),
        ({"pooling": "average"}, CONVOLUTIONS + 512 * 4 + 4),
    ],
)
def test_parameters_by_hand(options: dict[str, Any], expected: int) -> None:
    with keras.StatelessScope(initialize_variables=False):  # counted, not drawn
        model = vgg16.build(**options)
    assert model.count_params() == expected


def test_head_of_the_text() -> None:
    with keras.StatelessScope(initialize_variables=False):
        papers = vgg16.build(compat="paper")
    after = [layer.name for layer in papers.layers][-8:]
    assert after == ["flatten", "dense1", "dropout1", "dense2", "dropout2", "dense3", "dropout3", "logits"]
    assert [papers.get_layer(f"dense{step}").units for step in (1, 2, 3)] == [4096] * 3
    assert papers.output_shape == (None, 4)


def test_thirteen_convolutions_and_five_poolings(tiny: Build) -> None:
    kinds = [type(layer).__name__ for layer in tiny("vgg16").layers]
    assert (kinds.count("Conv2D"), kinds.count("MaxPooling2D"), kinds.count("Dense")) == (13, 5, 4)


def test_units_of_0_leave_the_dense_layers_out(tiny: Build) -> None:
    names = [[layer.name for layer in tiny("vgg16", **none).layers] for none in ({"head_units": 0}, {"head_layers": 0})]
    assert names[0] == names[1]
    assert names[0][-2:] == ["flatten", "logits"]


def test_maps_of_the_average_variant_add_up_to_the_logits(tiny: Build, films: Callable) -> None:
    model = tiny("vgg16", pooling="average", num_classes=3)
    assert [layer.name for layer in model.layers[-3:]] == [vgg16.CAM_LAYER, "avg_pool", "logits"]
    images = films(model)
    features = np.asarray(keras.Model(model.input, model.get_layer(vgg16.CAM_LAYER).output)(images), np.float64)
    kernel, bias = model.get_layer("logits").get_weights()
    maps = np.einsum("nhwk,kc->nhwc", features, kernel)  # Zhou 2016, equation 2
    assert maps.shape[1:3] == (2, 2)
    np.testing.assert_allclose(model(images), maps.mean(axis=(1, 2)) + bias, rtol=1e-5, atol=1e-6)
    assert features.min() >= 0


def test_average_variant_takes_over_the_convolutions(tiny: Build, films: Callable, tmp_path: Path) -> None:
    flat = tiny("vgg16")
    path = save_model(flat, tmp_path / "model.keras", {})
    average = tiny("vgg16", pooling="average", seed=9, weights=str(path))
    images = films(flat)
    found, expected = (
        np.asarray(keras.Model(model.input, model.get_layer(vgg16.CAM_LAYER).output)(images))
        for model in (average, flat)
    )
    assert expected.any()
    np.testing.assert_array_equal(found, expected)


def test_average_variant_takes_films_of_any_size(tiny: Build) -> None:
    model = tiny("vgg16", pooling="average", input_shape=(None, None, 3))
    for side in (16, 40):
        assert model(np.zeros((1, side, side, 3), np.float32)).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'; expected flatten or average"),
        ({"head_layers": 4}, "head_layers is 4; expected 0 to 3"),
        ({"filters": (4, 8)}, r"filters is \(4, 8\); expected five numbers"),
        ({"blocks": (1, 1, 1, 1, 0)}, r"blocks is \(1, 1, 1, 1, 0\); expected five numbers of at least 1"),
        ({"input_shape": (32, 31, 3)}, "the input has 31 columns; expected at least 32"),
        ({"input_shape": (15, 32, 3), "pooling": "average"}, "the input has 15 rows; expected at least 16"),
        ({"input_shape": (None, 32, 3)}, "the input's rows are open, which pooling flatten cannot take"),
    ],
)
def test_refusals(options: dict[str, Any], message: str, tiny: Build) -> None:
    with pytest.raises(ValueError, match=message):
        tiny("vgg16", **options)
