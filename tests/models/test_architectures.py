"""What every architecture promises."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import covidcxr_tf.models
from covidcxr_tf import catalog, models
from covidcxr_tf.config import TrainConfig
from covidcxr_tf.errors import UsageError
from covidcxr_tf.models.files import load_model, save_model
from covidcxr_tf.models.losses import build_loss

NAMES = list(catalog.ARCHS)
SEGMENTERS = ("unet", "unet-lite0", "fcdensenet103", "fcdensenet67")
CLASSIFIERS = [name for name in NAMES if name not in SEGMENTERS]
SIGMOID_FOR_TWO = ("base", "chexnet", "densenet121", "vgg16")  # whose papers give two classes one output
NO_BATCH_NORM = ("base", "vgg16")
Films = Callable[..., np.ndarray]

# What the papers print, how their network is asked for, and what was counted: Jegou's numbers hold the statistics of
# batch normalisation, the others only what is trained.
PRINTED: dict[str, tuple[str, dict[str, Any], float, bool]] = {
    "Kusakunniran 2021, table 1": ("resnet101", {"num_classes": 1000, "input_shape": (224, 224, 3)}, 44.6e6, False),
    "Simonyan 2015, table 2": ("vgg16", {"num_classes": 1000, "head_layers": 2}, 138e6, False),
    "Haghanifar 2020, about 7 M": ("chexnet", {}, 7.0e6, False),
    "Huang 2017, 8.0 M": ("densenet121", {"num_classes": 1000, "input_shape": (224, 224, 3)}, 7.98e6, False),
    "Oh 2020, abstract": ("patch-resnet18", {"num_classes": 1000}, 11.6e6, False),
    "He 2016": ("resnet18", {"num_classes": 1000}, 11.69e6, False),
    "Liu 2020, 4.7 M": (
        "efficientnet-lite0",
        {"num_classes": 1000, "input_shape": (224, 224, 3)},
        4.65e6,
        False,
    ),
    "Jegou 2017, table 3, 103": ("fcdensenet103", {"num_classes": 11, "input_shape": (224, 224, 3)}, 9.4e6, True),
    "Jegou 2017, table 3, 67": ("fcdensenet67", {"num_classes": 11, "input_shape": (224, 224, 3)}, 3.5e6, True),
}


def labels_for(name: str, images: np.ndarray) -> np.ndarray:
    """Return labels that are read off the images: a mask of bright pixels, or class 0 and 1 in turn."""
    return (images[..., :1] > 0.5).astype(np.float32) if name in SEGMENTERS else np.arange(len(images)) % 2


def loss_of(name: str) -> Callable:
    dense = name in SEGMENTERS
    train = TrainConfig(loss="bce_dice" if dense else "cross_entropy")
    return build_loss(train, 2, "segmentation" if dense else "classification")


def channels_of(model: keras.Model) -> int:
    return int(model.input_shape[-1])


@pytest.mark.parametrize("name", NAMES)
def test_answers_to_what_recipes_hand_over(name: str) -> None:
    build = catalog.resolve("archs", name)
    arguments = inspect.signature(build).parameters
    assert {"input_shape", "num_classes", "weights", "compat", "dropout", "normalise", "synchronized", "seed"} <= set(
        arguments
    )
    assert arguments["weights"].default == "none"
    assert arguments["normalise"].default is None
    assert arguments["compat"].default == "ours"


@pytest.mark.parametrize("name", NAMES)
def test_shape_of_the_logits(name: str, tiny_models: dict[str, keras.Model], films: Films) -> None:
    model = tiny_models[name]
    images = films(model, 3)
    logits = np.asarray(model(images))
    assert logits.shape == ((*images.shape[:3], 1) if name in SEGMENTERS else (3, 2))
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    # Each film is judged by itself: its neighbours in the batch make no difference.
    np.testing.assert_allclose(model(images[1:2])[0], logits[1], rtol=1e-4, atol=1e-5)
    assert logits.std() > 0


@pytest.mark.parametrize("printed", PRINTED)
def test_parameters_are_those_printed(printed: str) -> None:
    name, options, expected, with_statistics = PRINTED[printed]
    # Nothing is drawn or allocated: 138 million numbers are not needed to count them.
    with keras.StatelessScope(initialize_variables=False):
        model = models.build(name, **options)
    weights = model.weights if with_statistics else model.trainable_weights
    counted = sum(int(np.prod(weight.shape)) for weight in weights)
    assert counted == pytest.approx(expected, rel=0.01)


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
    model, loss = tiny(name, dropout=0.0), loss_of(name)
    images = films(model, 4)
    labels = labels_for(name, images)
    # Without batch normalisation a rate of 0.02 kills VGG16's ReLUs.
    optimizer = keras.optimizers.Adam(0.005 if name in NO_BATCH_NORM else 0.02)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(labels, model(images, training=True)))
        optimizer.apply(tape.gradient(value, [weight.value for weight in model.trainable_variables]))
        return value

    values = [float(step()) for _ in range(40)]
    assert values[-1] < 0.1 * values[0]


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_read_again_it_is_the_same(
    name: str,
    tiny: Callable[..., keras.Model],
    tiny_models: dict[str, keras.Model],
    films: Films,
    tmp_path: Path,
) -> None:
    channels = channels_of(tiny_models[name])
    model = tiny(name, normalise=((0.4,) * channels, (0.25,) * channels))
    images = films(model)
    model(images, training=True)  # so that batch statistics are not those of a new network
    again, facts = load_model(save_model(model, tmp_path / "model.keras", {"arch": name}))
    assert facts["arch"] == name
    np.testing.assert_array_equal(again(images), model(images))
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


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
def test_mixed_precision_keeps_the_logits_whole(
    name: str, tiny: Callable[..., keras.Model], tiny_models: dict[str, keras.Model], films: Films
) -> None:
    channels = channels_of(tiny_models[name])
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = tiny(name, normalise=((0.5,) * channels, (0.2,) * channels))
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer(models.cam_layer(name)).compute_dtype == "float16"
    assert model.get_layer("normalise").compute_dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.trainable_variables)
    assert model(films(model)).dtype == tf.float32


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_inside(name: str, tiny: Callable[..., keras.Model], films: Films) -> None:
    bare = tiny(name)
    mean, std = np.linspace(0.3, 0.6, channels_of(bare)), np.linspace(0.2, 0.4, channels_of(bare))
    inside = tiny(name, normalise=(tuple(mean), tuple(std)))
    images = films(bare)
    by_hand = ((images - mean) / std).astype(np.float32)
    np.testing.assert_allclose(inside(images), bare(by_hand), rtol=1e-4, atol=1e-4)


def test_normalisation_of_another_number_of_channels_is_refused(tiny: Callable[..., keras.Model]) -> None:
    with pytest.raises(ValueError, match="1 means and 1 deviations; the input has 3 channels"):
        tiny("chexnet", normalise=((0.5,), (0.2,)))
    with pytest.raises(ValueError, match="must be above 0"):
        tiny("base", normalise=((0.5,), (0.0,)))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_number_of_logits(name: str, tiny: Callable[..., keras.Model]) -> None:
    two = 1 if name in SIGMOID_FOR_TWO else 2
    for compat, classes, units in (
        ("ours", 2, 2),
        ("paper", 2, two),
        ("authors", 2, two),
        ("paper", 3, 3),
        ("ours", 1, 1),
    ):
        assert tiny(name, compat=compat, num_classes=classes).output_shape == (None, units), (compat, classes)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_number_of_mask_channels(name: str, tiny: Callable[..., keras.Model]) -> None:
    model = tiny(name, num_classes=4)
    assert model.output_shape == (*model.input_shape[:3], 4)


def test_unknown_names_are_refused(tiny: Callable[..., keras.Model]) -> None:
    with pytest.raises(UsageError, match="did you mean 'chexnet'"):
        models.build("chexnett")
    with pytest.raises(ValueError, match="expected ours, paper or authors"):
        tiny("base", compat="theirs")
    with pytest.raises(ValueError, match="num_classes is 0"):
        tiny("base", num_classes=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_BATCH_NORM])
def test_synchronized_only_when_asked(name: str, tiny: Callable[..., keras.Model]) -> None:
    for asked in (False, True):
        norms = [layer for layer in tiny(name, synchronized=asked).layers if "BatchNorm" in type(layer).__name__]
        assert norms
        assert {layer.synchronized for layer in norms} == {asked}


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name: str, tiny: Callable[..., keras.Model], films: Films) -> None:
    model, without = tiny(name, dropout=0.5), tiny(name, dropout=0.0)
    images = films(model, 4)
    assert np.array_equal(model(images, training=False), model(images, training=False))
    assert not np.array_equal(model(images, training=True), model(images, training=True))
    assert np.array_equal(without(images, training=True), without(images, training=True))
    assert not [layer.name for layer in without.layers if isinstance(layer, keras.layers.Dropout)]
