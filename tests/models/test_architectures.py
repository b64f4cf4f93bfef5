"""What every architecture promises."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import covidcxr_tf.models
from covidcxr_tf import catalog, models
from covidcxr_tf.config import TrainConfig
from covidcxr_tf.errors import UsageError
from covidcxr_tf.models.losses import build_loss

NAMES = ["base", "chexnet", "unet"]
Films = Callable[..., np.ndarray]


def labels_for(name: str, images: np.ndarray) -> np.ndarray:
    """Return labels that are read off the images: a mask of bright pixels, or class 0 and 1 in turn."""
    return (images[..., :1] > 0.5).astype(np.float32) if name == "unet" else np.arange(len(images)) % 2


def loss_of(name: str) -> Callable:
    task = "segmentation" if name == "unet" else "classification"
    return build_loss(TrainConfig(loss="bce_dice" if name == "unet" else "cross_entropy"), 2, task)


def test_names_are_those_of_the_catalog() -> None:
    assert set(NAMES) <= set(catalog.ARCHS)


@pytest.mark.parametrize("name", NAMES)
def test_is_flat_and_ends_in_float32_logits(name: str, tiny_models: dict[str, keras.Model]) -> None:
    model = tiny_models[name]
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert model.input.name == "image"
    assert model.layers[-1].name == "logits"
    assert model.layers[-1].get_config().get("activation") == "linear"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_cam_layer_gives_feature_maps(name: str, tiny_models: dict[str, keras.Model]) -> None:
    features = tiny_models[name].get_layer(models.cam_layer(name)).output
    assert len(features.shape) == 4
    assert min(features.shape[1:]) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_only_keras_layers(name: str, tiny_models: dict[str, keras.Model]) -> None:
    assert {type(layer).__module__.split(".")[0] for layer in tiny_models[name].layers} == {"keras"}


def test_room_never_imports_tensorflow() -> None:
    for path in Path(covidcxr_tf.models.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [found for found in names if found.split(".")[0] in ("tensorflow", "jax")], path.name


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_trainable_weight(name: str, tiny: Callable[..., keras.Model], films: Films) -> None:
    model, loss = tiny(name), loss_of(name)
    images = films(model, 8)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(labels_for(name, images), model(images, training=True)))
    gradients = tape.gradient(value, [weight.value for weight in model.trainable_variables])
    still = [
        weight.path
        for weight, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(gradient.numpy())
    ]
    assert not still


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_can_be_overfitted(name: str, tiny: Callable[..., keras.Model], films: Films) -> None:
    model = tiny(name, dropout=0.0)
    images = films(model, 4)
    labels = labels_for(name, images)
    loss = loss_of(name)
    model.compile(keras.optimizers.Adam(0.02), loss=lambda truth, logits: loss(truth, logits), jit_compile=False)
    first = float(model.train_on_batch(images, labels))
    for _ in range(40):
        last = float(model.train_on_batch(images, labels))
    assert last < 0.1 * first


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_one_network(name: str, tiny: Callable[..., keras.Model], tiny_models: dict[str, keras.Model]) -> None:
    first, again, other = tiny_models[name], tiny(name), tiny(name, seed=4)
    assert all(np.array_equal(one, two) for one, two in zip(first.get_weights(), again.get_weights(), strict=True))
    kernels = [weight.ndim > 1 for weight in first.get_weights()]
    pairs = zip(first.get_weights(), other.get_weights(), kernels, strict=True)
    assert not any(np.array_equal(one, two) for one, two, kernel in pairs if kernel)


def test_layers_of_one_network_start_differently(tiny_models: dict[str, keras.Model]) -> None:
    first, second = (tiny_models["chexnet"].get_layer(f"conv{block}_block1_2_conv") for block in (2, 3))
    assert first.kernel.shape == second.kernel.shape
    assert not np.allclose(first.get_weights()[0], second.get_weights()[0])


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_keeps_the_logits_whole(name: str, tiny: Callable[..., keras.Model], films: Films) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = tiny(
            name, normalise=((0.5,) * (3 if name == "chexnet" else 1), (0.2,) * (3 if name == "chexnet" else 1))
        )
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer(models.cam_layer(name)).compute_dtype == "float16"
    assert model.get_layer("normalise").compute_dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.trainable_variables)
    assert model(films(model)).dtype == tf.float32


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_inside(name: str, tiny: Callable[..., keras.Model], films: Films) -> None:
    channels = 3 if name == "chexnet" else 1
    mean, std = np.linspace(0.3, 0.6, channels), np.linspace(0.2, 0.4, channels)
    inside, bare = tiny(name, normalise=(tuple(mean), tuple(std))), tiny(name)
    images = films(bare)
    by_hand = ((images - mean) / std).astype(np.float32)
    np.testing.assert_allclose(inside(images), bare(by_hand), rtol=1e-4, atol=1e-4)


def test_normalisation_of_another_number_of_channels_is_refused(tiny: Callable[..., keras.Model]) -> None:
    with pytest.raises(ValueError, match="1 means and 1 deviations; the input has 3 channels"):
        tiny("chexnet", normalise=((0.5,), (0.2,)))
    with pytest.raises(ValueError, match="must be above 0"):
        tiny("base", normalise=((0.5,), (0.0,)))


@pytest.mark.parametrize("name", ["base", "chexnet"])
@pytest.mark.parametrize(
    ("compat", "classes", "units"),
    [("ours", 2, 2), ("paper", 2, 1), ("authors", 2, 1), ("paper", 3, 3), ("ours", 1, 1)],
)
def test_number_of_logits(name: str, compat: str, classes: int, units: int, tiny: Callable[..., keras.Model]) -> None:
    assert tiny(name, compat=compat, num_classes=classes).output_shape == (None, units)


def test_unknown_names_are_refused(tiny: Callable[..., keras.Model]) -> None:
    with pytest.raises(UsageError, match="did you mean 'chexnet'"):
        models.build("chexnett")
    with pytest.raises(ValueError, match="expected ours, paper or authors"):
        tiny("base", compat="theirs")
    with pytest.raises(ValueError, match="num_classes is 0"):
        tiny("base", num_classes=0)


@pytest.mark.parametrize("name", ["chexnet", "unet"])
def test_synchronized_only_when_asked(name: str, tiny: Callable[..., keras.Model]) -> None:
    for asked in (False, True):
        norms = [layer for layer in tiny(name, synchronized=asked).layers if "BatchNorm" in type(layer).__name__]
        assert norms
        assert {layer.synchronized for layer in norms} == {asked}


def test_dropout_acts_in_training_only(tiny: Callable[..., keras.Model], films: Films) -> None:
    model = tiny("base", dropout=0.5)
    images = films(model)
    assert np.array_equal(model(images, training=False), model(images, training=False))
    assert not np.array_equal(model(images, training=True), model(images, training=True))
    assert "dropout" not in {layer.name for layer in tiny("base", dropout=0.0).layers}
