"""The CAMs against plain implementations of our own, planted models and the limits."""

from __future__ import annotations

from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.explain.cam import cam
from covidcxr_tf.explain.gradcam import gradcam, gradcam_plus_plus, last_spatial_layer, saliency, scaled, scorecam
from covidcxr_tf.models import build
from covidcxr_tf.models.features import heat_layer

CAMS = [gradcam, gradcam_plus_plus, scorecam]
ALL = [*CAMS, saliency]


def small_network(outputs: int, seed: int = 0, channels: int = 6) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", name="last_conv")(x)
    x = keras.layers.ReLU(name="last_relu")(x)
    x = keras.layers.Conv2D(5, 1, activation="tanh", name="after")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(outputs, bias_initializer="random_normal", name="logits")(x)
    return keras.Model(inputs, logits)


def planted_network(weights: list[float], bias: float = 0.0) -> keras.Model:
    """Channel 0 of the film, 8x8 cells, averaged, times a weight a class: the logit is bright channel 0 and no more."""
    inputs = keras.Input((64, 64, 3), name="image")
    cells = keras.layers.AveragePooling2D(8)(inputs)
    picked = keras.layers.Conv2D(2, 1, use_bias=False, name="cells")(cells)
    pooled = keras.layers.GlobalAveragePooling2D()(picked)
    model = keras.Model(inputs, keras.layers.Dense(len(weights), name="logits")(pooled))
    model.get_layer("cells").set_weights([np.array([[1, 0], [0, 0], [0, 0]], dtype=np.float32).reshape(1, 1, 3, 2)])
    model.get_layer("logits").set_weights([np.array([weights, [0.0] * len(weights)]), np.full(len(weights), bias)])
    return model


def bright_square() -> np.ndarray:
    image = np.zeros((64, 64, 3), dtype=np.float32)
    image[..., 1] = 0.9  # a bright channel that the model does not look at
    image[16:32, 40:56, 0] = 1.0  # cells (2..3, 5..6)
    return image


def random_image(seed: int = 1, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).random((size, size, 3)).astype(np.float32)


def activations_and_gradients(model: Any, image: np.ndarray, layer: str, logit: Any) -> tuple[np.ndarray, np.ndarray]:
    both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    with tf.GradientTape() as tape:
        activations, logits = both(image[None])
        value = logit(logits)
    return activations.numpy()[0].astype(np.float64), tape.gradient(value, activations).numpy()[0].astype(np.float64)


def enlarged(coarse: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with pixel centres on pixel centres, written out; then the largest value is 1."""
    places = np.clip((np.arange(size) + 0.5) * len(coarse) / size - 0.5, 0, len(coarse) - 1)
    low = np.floor(places).astype(int)
    high, part = np.minimum(low + 1, len(coarse) - 1), places - low
    rows = coarse[low] * (1 - part)[:, None] + coarse[high] * part[:, None]
    heat = rows[:, low] * (1 - part) + rows[:, high] * part
    return heat / heat.max() if heat.max() > 0 else heat


@pytest.mark.parametrize("layer", ["last_conv", "last_relu"])
def test_gradcam_is_equations_1_and_2(layer: str) -> None:
    spreads = []
    for index in range(4):
        model, image = small_network(4), random_image()
        activations, gradients = activations_and_gradients(model, image, layer, lambda z, k=index: z[0, k])
        expected = enlarged(np.maximum((activations * gradients.mean(axis=(0, 1))).sum(axis=-1), 0), 32)
        np.testing.assert_allclose(gradcam(model, image, index, layer), expected, atol=1e-4)
        spreads.append(expected.std())
    assert sum(spread > 0.05 for spread in spreads) >= 2  # flat maps would agree with anything


@pytest.mark.parametrize("index", [0, 1])
def test_one_logit_has_two_classes(index: int) -> None:
    model, image = small_network(1), random_image(3)
    sign = 1 if index == 1 else -1
    activations, gradients = activations_and_gradients(model, image, "last_relu", lambda logits: sign * logits[0, 0])
    expected = enlarged(np.maximum((activations * gradients.mean(axis=(0, 1))).sum(axis=-1), 0), 32)
    np.testing.assert_allclose(gradcam(model, image, index, "last_relu"), expected, atol=1e-4)


@pytest.mark.parametrize("bias", [0.0, 200.0, -200.0])
def test_gradcam_plus_plus_is_equations_7_and_19_whatever_the_logit_is(bias: float) -> None:
    model, image = small_network(2, seed=4), random_image(5)
    kernel, _ = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, np.full(2, bias)])
    a, g = activations_and_gradients(model, image, "last_relu", lambda logits: logits[0, 1])
    below = 2 * g**2 + g**3 * a.sum(axis=(0, 1))
    alphas = np.divide(g**2, below, out=np.zeros_like(g), where=below != 0)
    alphas /= alphas.sum(axis=(0, 1))
    weights = (alphas * np.maximum(g, 0)).sum(axis=(0, 1))
    expected = enlarged(np.maximum((a * weights).sum(axis=-1), 0), 32)
    np.testing.assert_allclose(gradcam_plus_plus(model, image, 1, "last_relu"), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("outputs", "independent", "chance"),
    [
        (3, False, lambda z: np.exp(z[:, 1]) / np.exp(z).sum(axis=1)),
        (3, True, lambda z: 1 / (1 + np.exp(-z[:, 1]))),
        (1, False, lambda z: 1 / (1 + np.exp(-z[:, 0]))),
    ],
)
def test_scorecam_weighs_channels_by_the_probability_on_dimmed_films(
    outputs: int, independent: bool, chance: Any
) -> None:
    model, image = small_network(outputs, seed=6), random_image(7)
    activations = keras.Model(model.input, model.get_layer("last_relu").output)(image[None]).numpy()[0]
    cam = np.zeros(activations.shape[:2])
    for channel in range(activations.shape[-1]):
        # the library lays the outer cells on the outer pixels when it dims the film; so does this line
        rows = np.linspace(0, activations.shape[0] - 1, 32, dtype=np.float32)
        columns, rows = np.meshgrid(rows, rows)
        mask = cv2.remap(activations[..., channel], columns, rows, cv2.INTER_LINEAR).astype(np.float64)
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-7)
        dimmed = (image * mask[..., None]).astype(np.float32)
        cam += chance(model(dimmed[None]).numpy().astype(np.float64))[0] * activations[..., channel]
    expected = enlarged(np.maximum(cam, 0), 32)
    found = scorecam(model, image, 1, "last_relu", independent=independent)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_scorecam_keeps_the_channels_of_the_largest_spread() -> None:
    model, image = small_network(2, channels=9), random_image()
    activations = keras.Model(model.input, model.get_layer("last_relu").output)(image[None]).numpy()[0]
    strongest = activations[..., int(activations.std(axis=(0, 1)).argmax())]
    found = scorecam(model, image, 0, "last_relu", max_channels=1)
    np.testing.assert_allclose(found, enlarged(strongest, 32), atol=1e-4)  # one channel: its weight scales out


def test_scorecam_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    scorecam(small_network(2), random_image(), 0, "last_relu")
    assert capfd.readouterr().out == ""


def test_saliency_is_the_largest_absolute_derivative_over_channels() -> None:
    model, image = small_network(2), random_image()
    with tf.GradientTape() as tape:
        pixels = tf.constant(image[None])
        tape.watch(pixels)
        value = model(pixels)[0, 1]
    expected = np.abs(tape.gradient(value, pixels).numpy()[0]).max(axis=-1)
    np.testing.assert_allclose(saliency(model, image, 1), expected / expected.max(), atol=1e-4)


@pytest.mark.parametrize("method", CAMS)
def test_heat_lies_on_the_square_that_was_planted(method: Any) -> None:
    heat = method(planted_network([-1.0, 3.0]), bright_square(), 1, "cells")
    hot = heat > 0.6
    assert hot[18:30, 42:54].all()
    assert not hot[:12].any() and not hot[36:].any() and not hot[:, :36].any() and not hot[:, 60:].any()
    assert heat.dtype == np.float32 and heat.shape == (64, 64) and heat.max() == 1.0 and heat.min() == 0.0


@pytest.mark.parametrize("method", [gradcam, gradcam_plus_plus])
def test_nothing_speaks_for_the_class_gives_zeros(method: Any) -> None:
    """The square speaks against class 0; and a model that looks at nothing has no heat at all."""
    assert not method(planted_network([-1.0, 3.0]), bright_square(), 0, "cells").any()
    assert not method(planted_network([0.0, 0.0]), bright_square(), 1, "cells").any()


@pytest.mark.parametrize("method", ALL)
def test_constant_film_gives_no_nan(method: Any) -> None:
    heat = method(planted_network([-1.0, 3.0]), np.zeros((64, 64, 3), dtype=np.float32), 1, "cells")
    assert np.isfinite(heat).all()
    if method is not saliency:  # the derivative of a linear model is there on a black film too
        assert not heat.any()


@pytest.mark.parametrize("method", ALL)
def test_methods_leave_the_model_as_it_was(method: Any) -> None:
    model, image = small_network(2), random_image()
    before, weights = model(image[None]).numpy(), [weight.copy() for weight in model.get_weights()]
    first = method(model, image, 1)
    np.testing.assert_array_equal(model(image[None]).numpy(), before)
    for old, new in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(method(model, image, 1), first, atol=1e-6)


def test_half_precision_layers_work() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_network(2)
    finally:
        keras.config.set_dtype_policy(policy)
    full = small_network(2)
    full.set_weights(model.get_weights())
    for method in ALL:
        half, whole = (method(network, random_image(), 1, "last_relu") for network in (model, full))
        assert np.corrcoef(half.ravel(), whole.ravel())[0, 1] > 0.95


def test_layer_is_the_last_with_rows_and_columns() -> None:
    assert last_spatial_layer(small_network(2)) == "after"
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no layer with rows"):
        last_spatial_layer(dense)


@pytest.mark.parametrize(
    ("outputs", "index", "independent"), [(3, 3, False), (3, -1, False), (1, 2, False), (1, 1, True)]
)
def test_unknown_class(outputs: int, index: int, independent: bool) -> None:
    for method in ALL:
        with pytest.raises(ValueError, match="class index"):
            method(small_network(outputs), random_image(), index, independent=independent)


def test_scaled() -> None:
    np.testing.assert_array_equal(scaled(np.array([[-1.0, 0.0], [2.0, 4.0]])), [[0, 0], [0.5, 1]])
    np.testing.assert_array_equal(scaled(np.array([[1e-40, 5e-41]])), [[1, 0.5]])
    np.testing.assert_array_equal(scaled(np.full((2, 2), -3.0)), np.zeros((2, 2)))
    with pytest.raises(RunFailed, match="not finite"):
        scaled(np.array([[np.nan, 1.0]]))


def test_broken_weights_are_named() -> None:
    model = small_network(2)
    model.get_layer("logits").set_weights([np.full((5, 2), np.nan), np.zeros(2)])
    with pytest.raises(RunFailed, match="not finite"):
        gradcam(model, random_image(), 1, "last_relu")


@pytest.mark.parametrize("method", [gradcam, gradcam_plus_plus, scorecam, cam])
def test_a_mirrored_network_s_heat_turns_with_the_film(method: Any) -> None:
    options = {"input_shape": (48, 48, 1), "blocks": (1, 1, 1), "width": 0.25, "low_pass": 1, "mirrored": True}
    model = build("efficientnet-lite0", 3, seed=7, **options)
    layer = heat_layer(model, "efficientnet-lite0")
    assert layer == last_spatial_layer(model) == "mean_of_sides"
    film = np.random.default_rng(7).random((48, 48, 1), dtype=np.float32)
    film[8:20, 30:44] = 1
    heat, turned = (method(model, np.ascontiguousarray(seen), 1, layer) for seen in (film, film[:, ::-1]))
    assert heat.shape == (48, 48) and heat.max() == 1
    np.testing.assert_allclose(turned[:, ::-1], heat, atol=2e-3)
    assert np.abs(turned - heat).max() > 0.1
