"""Normalisations folded into convolutions: the same logits, and only where nothing else looks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covidcxr_tf.export.folding import foldable, inference_copy, scale_and_shift


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
    kept = [layer.name for layer in copy.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert kept == (["bn"] if between else [])  # what another layer reads has to stay
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
