"""Class activation maps: what they sum to, where they agree with Grad-CAM, and models that have none."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest

from covidcxr_tf.errors import RunFailed, UsageError
from covidcxr_tf.explain.cam import cam, class_map
from covidcxr_tf.explain.gradcam import gradcam
from covidcxr_tf.models import densenet121


def network(outputs: int, head: str = "pooled", seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="last")(x)
    if head == "flat":
        x = keras.layers.Flatten(name="flatten")(x)
    else:
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if head == "dense":
        x = keras.layers.Dense(5, activation="relu", name="head")(x)
    if head == "dropout":
        x = keras.layers.Dropout(0.5)(x)
    activation = "softmax" if head == "softmax" else None
    return keras.Model(inputs, keras.layers.Dense(outputs, activation, bias_initializer="normal", name="logits")(x))


def image(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("head", ["pooled", "dropout"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_map_and_the_bias_make_the_logit(head: str, index: int) -> None:
    model, film = network(3, head), image()
    found = class_map(model, film, index)
    assert found.shape == (8, 8)
    bias = model.get_layer("logits").get_weights()[1]
    assert found.mean() + bias[index] == pytest.approx(float(model(film[None])[0, index]), abs=1e-6)


@pytest.mark.parametrize("index", [0, 1])
def test_one_logit_has_two_classes(index: int) -> None:
    model, film = network(1), image()
    np.testing.assert_allclose(class_map(model, film, index), (2 * index - 1) * class_map(model, film, 1))
    with pytest.raises(ValueError, match="class index"):
        class_map(model, film, 1, independent=True)


def test_map_by_hand() -> None:
    """Two features, red and green as they are; the class is twice the red minus the green."""
    inputs = keras.Input((2, 2, 2))
    logits = keras.layers.Dense(2, use_bias=False, name="logits")(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, logits)
    model.get_layer("logits").set_weights([np.array([[0.0, 2.0], [0.0, -1.0]])])
    film = np.array([[[1, 0], [0, 1]], [[0.5, 0.5], [0.25, 1]]], np.float32)
    np.testing.assert_allclose(class_map(model, film, 1), np.array([[2, -1], [0.5, -0.5]]))
    np.testing.assert_allclose(cam(model, film, 1), np.array([[1, 0], [0.25, 0]]))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_where_both_are_defined_grad_cam_is_the_same_map(index: int) -> None:
    """The gradient of the logit by a pooled feature is its weight over the number of places (Selvaraju 2017, 3.1)."""
    model, film = network(3), image()
    coarse = np.maximum(class_map(model, film, index), 0).astype(np.float32)
    enlarged = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(gradcam(model, film, index, "last"), enlarged / enlarged.max(), atol=1e-5)


def test_a_model_of_the_catalog() -> None:
    model = densenet121.build((32, 32, 1), 3, blocks=(1, 1), growth=4, stem=8, seed=0)
    heat = cam(model, image()[..., :1], 2, densenet121.CAM_LAYER)
    assert heat.shape == (32, 32) and heat.dtype == np.float32 and 0 <= heat.min() <= heat.max() <= 1


@pytest.mark.parametrize(("head", "named"), [("dense", "head"), ("flat", "flatten"), ("softmax", "pool")])
def test_a_model_built_in_another_way_is_refused_with_what_would_do(head: str, named: str) -> None:
    with pytest.raises(UsageError, match=rf"'{named}'.*model.pooling = 'average'.*gradcam"):
        cam(network(3, head), image(), 0)


def test_broken_weights_are_named() -> None:
    model = network(2)
    model.get_layer("logits").set_weights([np.full((6, 2), np.nan), np.zeros(2)])
    with pytest.raises(RunFailed, match="not finite"):
        cam(model, image(), 0)
