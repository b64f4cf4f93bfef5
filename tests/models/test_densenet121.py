"""The DenseNet121 that goes through phases: its output layer, and what one phase hands to the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from covidcxr_tf.models import chexnet, densenet121
from covidcxr_tf.models.files import save_model

Build = Callable[..., keras.Model]


def features_of(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer(densenet121.CAM_LAYER).output)(images))


def test_layers_and_parameters_are_those_of_keras_applications() -> None:
    with keras.StatelessScope(initialize_variables=False):  # counted, not drawn
        theirs = keras.applications.DenseNet121(weights=None)
        ours = densenet121.build((224, 224, 3), 1000)
    assert ours.count_params() == theirs.count_params() == 8_062_504
    shapes = [[(layer.name, weight.shape) for layer in m.layers for weight in layer.weights] for m in (ours, theirs)]
    assert shapes[0][:-2] == shapes[1][:-2]
    assert [shape for _, shape in shapes[0][-2:]] == [(1024, 1000), (1000,)]


def test_fourteen_findings_of_grey_films_by_hand() -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = densenet121.build(num_classes=14)
    # keras.io's 7,037,504 without the top, two colours fewer in the first 7x7, 1024 -> 14.
    assert model.count_params() == 7_037_504 - 2 * 7 * 7 * 64 + 1024 * 14 + 14
    assert [layer.name for layer in model.layers[-3:]] == ["relu", "avg_pool", "logits"]


def test_one_sigmoid_is_the_papers(tiny: Build) -> None:
    units = {compat: tiny("densenet121", compat=compat).output_shape[-1] for compat in ("ours", "paper")}
    assert units == {"ours": 2, "paper": 1}
    assert tiny("densenet121", compat="paper", num_classes=14).output_shape[-1] == 14


def test_output_layer_starts_as_he_does(tiny: Build) -> None:
    kernel, bias = tiny("densenet121", num_classes=2000).get_layer("logits").get_weights()
    assert not bias.any()
    # He: variance 2 / inputs; Glorot would have 2 / (inputs + 2000), a hundredth of it here.
    assert kernel.var() == pytest.approx(2 / kernel.shape[0], rel=0.1)


def test_next_phase_starts_from_all_but_the_output(tiny: Build, films: Callable, tmp_path: Path) -> None:
    first = tiny("densenet121", num_classes=14, normalise=((0.5,), (0.25,)))
    images = films(first)
    first(images, training=True)  # batch statistics of its own
    path = save_model(first, tmp_path / "model.keras", {})
    second = tiny("densenet121", num_classes=2, seed=9, weights=str(path), normalise=((0.5,), (0.25,)))
    np.testing.assert_array_equal(features_of(second, images), features_of(first, images))
    fresh = tiny("densenet121", num_classes=2, seed=9).get_layer("logits").get_weights()[0]
    np.testing.assert_array_equal(second.get_layer("logits").get_weights()[0], fresh)


def test_each_phase_keeps_its_own_normalisation(tiny: Build, films: Callable, tmp_path: Path) -> None:
    first = tiny("densenet121", num_classes=14, normalise=((0.5,), (0.25,)))
    path = save_model(first, tmp_path / "model.keras", {})
    own = tiny("densenet121", weights=str(path), normalise=((0.4,), (0.5,)))
    images = films(first)
    # (x - .4) / .5 is what the first phase sees of x * .5 + .3.
    np.testing.assert_allclose(
        features_of(own, images), features_of(first, images * 0.5 + np.float32(0.3)), rtol=1e-4, atol=1e-5
    )
    inherited = tiny("densenet121", weights=str(path))
    np.testing.assert_array_equal(features_of(inherited, images), features_of(first, images))


def test_takes_over_a_covid_cxnet(tiny: Build, films: Callable, tmp_path: Path) -> None:
    classifier = tiny("chexnet", input_shape=(32, 32, 1))
    path = save_model(classifier, tmp_path / "model.keras", {})
    images = films(classifier)
    taken = tiny("densenet121", seed=9, weights=str(path))
    np.testing.assert_array_equal(features_of(taken, images), features_of(classifier, images))
    assert chexnet.CAM_LAYER == densenet121.CAM_LAYER


def test_films_of_any_size(tiny: Build) -> None:
    model = tiny("densenet121", input_shape=(None, None, 1))
    for rows, columns in ((32, 48), (40, 32)):
        assert model(np.zeros((1, rows, columns, 1), np.float32)).shape == (1, 2)
