"""Normalisations folded into convolutions: the same logits, and only where nothing else looks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.export.folding import Scaled, depthwise_norms, foldable, inference_copy, pooled_first, scale_and_shift
from covidcxr_tf.export.frozen import freeze
from covidcxr_tf.models import build


def network(*, between: bool = False, activation: str | None = None) -> keras.Model:
    """Return convolution, normalisation, transposed convolution, normalisation, dense, normalisation."""
    image = keras.Input((8, 8, 2), name="image")
    first = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, activation=activation, name="conv")(image)
    features = keras.layers.BatchNormalization(name="bn")(first)
    features = keras.layers.Activation("relu", name="relu")(features)
    features = keras.layers.Conv2DTranspose(3, 2, strides=2, name="up")(features)
    features = keras.layers.BatchNormalization(scale=False, center=False, name="up_bn")(features)
    features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    features = keras.layers.Dense(5, name="dense")(features)
    features = keras.layers.BatchNormalization(name="dense_bn")(features)
    features = keras.layers.Dropout(0.5, name="dropout")(features)
    if between:
        features = keras.layers.Concatenate()([features, keras.layers.GlobalAveragePooling2D()(first)])
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(features))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([random.uniform(0.3, 1.7, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.fixture
def films() -> np.ndarray:
    return np.random.default_rng(1).random((3, 8, 8, 2)).astype(np.float32)


@pytest.mark.parametrize("between", [False, True])
def test_same_logits(between: bool, films: np.ndarray) -> None:
    model = network(between=between)
    copy = inference_copy(model)
    own = [layer.name for layer in copy.layers if isinstance(layer, Scaled)]
    assert own == (["bn"] if between else [])  # what another layer reads has to stay
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in copy.layers)
    expected = model(films, training=False).numpy()
    np.testing.assert_allclose(copy(films, training=False).numpy(), expected, rtol=2e-5)
    assert not np.allclose(expected[0], expected[1], rtol=1e-3)


def test_what_is_folded() -> None:
    everything = {"conv": "bn", "up": "up_bn", "dense": "dense_bn"}
    assert foldable(network()) == everything
    assert foldable(network(), keep="conv") == {"up": "up_bn", "dense": "dense_bn"}
    assert "conv" not in foldable(network(activation="relu"))


def test_scale_and_shift_by_hand() -> None:
    model = network()
    norm = model.get_layer("bn")
    norm.set_weights([np.full(4, 2.0), np.full(4, 0.5), np.full(4, 3.0), np.full(4, 0.25 - norm.epsilon)])
    scale, shift = scale_and_shift(norm)
    np.testing.assert_allclose(scale, 4.0)  # 2 / sqrt(0.25)
    np.testing.assert_allclose(shift, 0.5 - 3.0 * 4.0)


def test_bfloat16_computes_in_half_and_ends_in_float32(films: np.ndarray) -> None:
    model = network()
    copy = inference_copy(model, "bfloat16")
    assert copy.get_layer("conv").compute_dtype == "bfloat16"
    logits = copy(films, training=False)
    assert logits.dtype == "float32"
    expected = model(films, training=False).numpy()
    assert 0 < np.abs(logits.numpy() - expected).max() < 0.05 * np.abs(expected).max()


def statistics_drawn(model: keras.Model, seed: int) -> keras.Model:
    """Return `model` with statistics drawn: a third of the scales negative, one zero and two tiny in each layer."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.moving_mean.shape[0]
            gamma = random.uniform(0.3, 1.5, channels) * np.where(random.random(channels) < 0.33, -1, 1)
            gamma[:3] = 0.0, 1e-7, 1e-40
            spans = ((-0.4, 0.4), (-0.3, 0.3), (0.3, 2.0))
            layer.set_weights([gamma, *(random.uniform(*span, channels) for span in spans)])
    return model


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling_before_a_pointwise_convolution(bias: bool, padding: str) -> None:
    image = keras.Input((6, 6, 8))
    features = keras.layers.Conv2D(5, 1, use_bias=bias, bias_initializer="normal", name="conv")(image)
    features = keras.layers.AveragePooling2D(4, 2, padding=padding, name="pool")(features)
    model = keras.Model(image, features)
    copy = inference_copy(model)
    assert [type(layer) for layer in copy.layers[1:]] == [keras.layers.AveragePooling2D, keras.layers.Conv2D]
    films = np.random.default_rng(1).normal(size=(3, 6, 6, 8)).astype(np.float32)
    np.testing.assert_allclose(copy(films).numpy(), model(films).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "activation", "strides", "keep", "changes"),
    [
        (1, None, 2, None, True),
        (1, None, 2, "pool", True),
        (1, None, 2, "conv", False),
        (1, "relu", 2, None, False),
        (3, None, 2, None, False),
        (1, None, 1, None, False),  # as many pixels after it as before
    ],
)
def test_where_pooling_comes_first(
    kernel: int, activation: str | None, strides: int, keep: str | None, changes: bool
) -> None:
    image = keras.Input((6, 6, 8))
    features = keras.layers.Conv2D(5, kernel, activation=activation, padding="same", name="conv")(image)
    model = keras.Model(image, keras.layers.AveragePooling2D(2, strides, name="pool")(features))
    assert pooled_first(model, keep) == ({"conv": "pool"} if changes else {})
    seen = keras.Model(image, [*model.outputs, features])
    assert pooled_first(seen) == {}


@pytest.mark.parametrize("seed", range(2))
def test_a_densenet_keeps_its_answers_features_and_slopes(seed: int) -> None:
    small = build("densenet121", input_shape=(32, 32, 1), blocks=(2, 2), growth=4, stem=8, seed=seed)
    model = statistics_drawn(small, seed)
    copy = inference_copy(model, keep="relu")
    assert "conv2_block1_0_bn" in depthwise_norms(model) and pooled_first(model) == {"pool2_conv": "pool2_pool"}
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in copy.layers)
    films = tf.constant(np.random.default_rng(seed).random((2, 32, 32, 1)), tf.float32)

    def seen(network: keras.Model) -> list[np.ndarray]:
        both = keras.Model(network.inputs, [network.get_layer("relu").output, network.outputs[0]])

        def look(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(images)
                features, logits = both(images, training=False)
                score = logits[:, 1] ** 2
            return features, logits, tape.gradient(score, features), tape.gradient(score, images)

        return [value.numpy() for value in freeze(look, network, tf.TensorSpec([None, 32, 32, 1]))(films)]

    for mine, expected in zip(seen(copy), seen(model), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(mine, expected, atol=1e-5 * np.abs(expected).max())


def test_a_convolution_that_an_operation_reads_too_stays() -> None:
    """Keras counts its operations apart from its layers."""
    image = keras.Input((6, 6, 2))
    features = keras.layers.Conv2D(3, 1, use_bias=False, name="conv")(image)
    turned = keras.ops.flip(features, axis=2)
    pooled = keras.layers.AveragePooling2D(2, 2, name="pool")(features)
    assert pooled_first(keras.Model(image, pooled)) == {"conv": "pool"}
    assert pooled_first(keras.Model(image, [pooled, keras.layers.ReLU()(turned)])) == {}
    scaled = keras.layers.BatchNormalization(name="bn")(features)
    assert foldable(keras.Model(image, scaled)) == {"conv": "bn"}
    assert foldable(keras.Model(image, keras.layers.Add()([scaled, turned]))) == {}


@pytest.mark.parametrize("variant", ["float32", "bfloat16"])
def test_a_mirrored_network_keeps_its_answers_features_and_slopes(variant: Any) -> None:
    options = {"input_shape": (48, 48, 1), "blocks": (1, 1, 1), "width": 0.25, "low_pass": 1, "mirrored": True}
    model = statistics_drawn(build("efficientnet-lite0", 3, seed=4, **options), 4)
    films = tf.constant(np.random.default_rng(4).random((3, 48, 48, 1)), tf.float32)

    def seen(network: keras.Model) -> list[np.ndarray]:
        both = keras.Model(network.inputs, [network.get_layer("mean_of_sides").output, network.outputs[0]])

        def look(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                tape.watch(images)
                features, logits = both(images, training=False)
                score = logits[:, 1] ** 2
            slopes = tape.gradient(score, features)
            return tuple(tf.cast(value, tf.float32) for value in (features, logits, slopes))

        return [value.numpy() for value in freeze(look, network, tf.TensorSpec([None, 48, 48, 1]))(films)]

    close = {"float32": 1e-5, "bfloat16": 0.05}[variant]
    for mine, expected in zip(seen(inference_copy(model, variant, keep="mean_of_sides")), seen(model), strict=True):
        assert len(expected) == 3 and np.abs(expected).max() > 0
        np.testing.assert_allclose(mine, expected, atol=close * np.abs(expected).max())
