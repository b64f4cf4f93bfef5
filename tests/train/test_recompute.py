"""Recomputation against the plain step: losses, gradients, moving statistics; and where a model can be cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf import models
from covidcxr_tf.config import TrainConfig
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.models.files import load_model, save_model
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.train.loop import build_train_step
from covidcxr_tf.train.recompute import _one_by_one, choose_cuts, recomputed, single_tensor_cuts

IMAGES = np.random.default_rng(0).random((4, 16, 16, 1), dtype=np.float32)
LABELS = np.array([0, 1, 1, 0], np.int32)
BATCH = {"image": IMAGES, "target": LABELS, "weight": np.ones(4, np.float32)}


def resnet(dropout: float = 0.0) -> keras.Model:
    """Return a residual network of two blocks: the smallest that has all that matters, for tracing takes long."""
    return models.build("resnet18", 2, input_shape=(16, 16, 1), blocks=(1, 1), stem=4, dropout=dropout, seed=1)


def losses_of(model: keras.Model, forward: Callable | None, steps: int = 3) -> list[float]:
    loss, optimizer = build_loss(TrainConfig(), 2), keras.optimizers.SGD(0.05, momentum=0.9)
    step = build_train_step(model, loss, optimizer, tf.distribute.get_strategy(), forward=forward)
    return [float(step(BATCH)) for _ in range(steps)]


def statistics(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(v) for v in model.non_trainable_variables if "moving" in v.path}


def gradients(model: keras.Model, forward: Callable) -> list[np.ndarray]:
    @tf.function
    def compute(images: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(build_loss(TrainConfig(), 2)(LABELS, forward(images)))
        return tape.gradient(loss, model.trainable_variables)

    return [np.asarray(gradient) for gradient in compute(IMAGES)]


def mirrored(dropout: float = 0.0) -> keras.Model:
    """Return a network with operations that are no layers, of which one gives two tensors."""
    small = {"input_shape": (16, 16, 1), "blocks": (1, 1), "width": 0.1, "low_pass": 1, "mirrored": True, "seed": 1}
    return models.build("efficientnet-lite0", 2, dropout=dropout, **small)


def test_a_network_of_both_sides_is_cut_within_and_after_them_and_trains_alike() -> None:
    cuts = single_tensor_cuts(mirrored())
    assert {"low_pass1", "both_sides", "top_relu", "mean_of_sides"} < set(cuts)
    assert not {"mirror_images", "sides", "mirrored_back"} & set(cuts)  # operations, not layers
    chosen = choose_cuts(mirrored(dropout=0.5))
    assert chosen and set(chosen) <= set(cuts)
    plain, again = mirrored(), mirrored()
    expected = gradients(plain, lambda images: plain(images, training=True))
    for one, other in zip(expected, gradients(again, recomputed(again)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    plain, again = mirrored(), mirrored()
    np.testing.assert_allclose(losses_of(again, recomputed(again)), losses_of(plain, None), rtol=1e-4)
    for name, value in statistics(plain).items():
        np.testing.assert_allclose(statistics(again)[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "dropout"), [({"cuts": ["pool1_pool", "conv2_block1_out"]}, 0.0), ({}, 0.5), ({"segments": 2}, 0.0)]
)
def test_three_steps_are_those_of_the_plain_step(options: dict[str, Any], dropout: float) -> None:
    plain, again = resnet(dropout=dropout), resnet(dropout=dropout)
    expected, found = losses_of(plain, None), losses_of(again, recomputed(again, **options))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(expected[-1] - expected[0]) > 1e-3
    before, after = statistics(resnet()), statistics(again)
    for path, wanted in statistics(plain).items():
        np.testing.assert_allclose(after[path], wanted, rtol=1e-6, atol=1e-6, err_msg=path)
        assert not np.allclose(before[path], wanted, atol=1e-4)


def test_gradients_are_those_of_the_plain_call() -> None:
    plain, again = resnet(), resnet()
    expected = gradients(plain, lambda images: plain(images, training=True))
    for found, wanted in zip(gradients(again, recomputed(again)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * max(np.abs(wanted).max(), 1e-3))


def test_moving_statistics_move_once_a_step() -> None:
    model = resnet()
    first = model.get_layer("conv1_bn")
    with_training = keras.Model(model.input, model.get_layer("conv1_conv").output)(IMAGES)
    losses_of(model, recomputed(model), steps=1)
    by_hand = 0.1 * np.asarray(with_training).mean(axis=(0, 1, 2))  # .9 * 0 + .1 * mean of the batch, once
    np.testing.assert_allclose(first.moving_mean, by_hand, rtol=1e-4, atol=1e-7)


def test_what_lies_before_the_last_cut_is_computed_again() -> None:
    model = resnet()
    kept = Counter(operations(model, lambda images: model(images, training=True)))["Conv2D"]
    cuts = ["pool1_pool", "conv2_block1_out"]
    again = Counter(operations(model, recomputed(model, cuts)))["Conv2D"]
    names = [layer.name for layer in model.layers]
    convolutions = [name for name in names if name.endswith("_conv")]
    behind = [name for name in convolutions if names.index(name) > names.index(cuts[-1])]
    assert kept == len(convolutions)
    assert again == 2 * len(convolutions) - len(behind)


def test_gradients_of_a_part_are_all_there_before_one_is_used() -> None:
    first, second, third = tf.Variable([2.0]), tf.Variable([3.0]), tf.Variable([5.0])

    @tf.function
    def compute() -> Any:
        with tf.GradientTape() as tape:
            one, two, three = _one_by_one(*(tf.convert_to_tensor(value) for value in (first, second, third)))
            loss = tf.reduce_sum(one * one * two * three)
        return tape.gradient(loss, [first, second, third])

    np.testing.assert_allclose(compute(), [[60.0], [20.0], [12.0]])
    graph = compute.get_concrete_function().graph
    waits = [len(operation.control_inputs) for operation in graph.get_operations() if operation.type == "Identity"]
    assert waits.count(2) == 3  # each waits for the two others


def operations(model: keras.Model, forward: Callable) -> list[str]:
    @tf.function
    def compute(images: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(forward(images))
        return tape.gradient(loss, model.trainable_variables)

    return [operation.type for operation in compute.get_concrete_function(IMAGES).graph.get_operations()]


def test_frozen_layers_and_the_model_itself_are_left_as_they_are(tmp_path: Path) -> None:
    model = resnet()
    model.get_layer("conv1_bn").trainable = False
    kernel = np.asarray(model.get_layer("conv1_bn").gamma)
    losses_of(model, recomputed(model), steps=1)
    np.testing.assert_array_equal(model.get_layer("conv1_bn").gamma, kernel)
    np.testing.assert_array_equal(model.get_layer("conv1_bn").moving_mean, 0)
    read, _ = load_model(save_model(model, tmp_path / "m.keras", {}))
    np.testing.assert_allclose(read(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)
    assert [layer.name for layer in read.layers] == [layer.name for layer in resnet().layers]


def test_mixed_precision() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        plain, again = resnet(), resnet()
    finally:
        keras.config.set_dtype_policy(before)
    expected, found = losses_of(plain, None, 2), losses_of(again, recomputed(again), 2)
    np.testing.assert_allclose(found, expected, rtol=0.02)
    assert all(weight.dtype == "float32" for weight in again.weights if "seed" not in weight.path)


def branches() -> keras.Model:
    """Return a -> (b, c) -> add -> d -> noise -> e: cut at a, add, d and noise only."""
    image = keras.Input((8, 8, 1), name="image")
    a = keras.layers.Conv2D(2, 3, name="a")(image)
    b = keras.layers.Conv2D(2, 1, name="b")(a)
    c = keras.layers.Conv2D(2, 1, name="c")(a)
    d = keras.layers.Flatten(name="d")(keras.layers.Add(name="add")([b, c]))
    return keras.Model(image, keras.layers.Dense(2, name="e")(keras.layers.Dropout(0.5, seed=1, name="noise")(d)))


def test_places_to_cut_at_are_those_where_one_tensor_connects_both_sides() -> None:
    assert single_tensor_cuts(branches()) == ["a", "add", "d", "noise"]
    unet = single_tensor_cuts(models.build("unet", 1, input_shape=(16, 16, 1), filters=(4, 8)))
    assert not [name for name in unet if name.startswith("encoder2")]  # the first level's features pass it by


def test_a_cut_into_two_at_each_place_gives_the_whole() -> None:
    model = resnet()
    expected = np.asarray(model(IMAGES))
    for name in single_tensor_cuts(model):
        middle = model.get_layer(name).output
        features = keras.Model(model.input, middle)(IMAGES)
        np.testing.assert_allclose(keras.Model(middle, model.output)(features), expected, rtol=1e-5, atol=1e-6)


def held(model: keras.Model, cuts: list[str]) -> float:
    """Return the most that is held while a part goes back, as `choose_cuts` states it."""
    kept, inside, most = 0, 0, 0.0
    for layer in model.layers:
        size = int(np.prod(layer.output.shape[1:]))
        inside += size
        most = max(most, kept + 1.5 * inside)
        if layer.name in cuts:
            kept, inside = kept + size, 0
    return most


@pytest.mark.parametrize("segments", [2, 3, 4])
def test_chosen_cuts_are_the_best_of_all(segments: int) -> None:
    model = resnet()
    chosen = choose_cuts(model, segments)
    assert 0 < len(chosen) < segments
    places = single_tensor_cuts(model)
    every = [cuts for count in range(segments) for cuts in combinations(places, count)]
    assert held(model, chosen) == min(held(model, list(cuts)) for cuts in every)
    assert held(model, chosen) < held(model, [])


def test_resnet101_at_1500_px_holds_a_fourth_of_what_the_whole_holds() -> None:
    model = models.build("resnet101", 2)
    assert held(model, choose_cuts(model)) < 0.25 * held(model, [])


def test_no_cut_behind_dropout_is_chosen() -> None:
    assert set() < set(choose_cuts(branches(), 6)) <= {"a", "add", "d"}


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        (["b"], "cannot be cut at 'b'; expected one of a, add, d, noise"),
        (["e"], "cannot be cut at 'e'"),
        (["a", "noise"], "'noise' would draw other numbers.*after the last cut"),
        ([], "no single tensor connects two parts"),
    ],
)
def test_cuts_that_are_refused(cuts: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recomputed(branches(), cuts)


def test_models_that_are_refused() -> None:
    image = keras.Input((8, 8, 1))
    synchronised = keras.layers.BatchNormalization(synchronized=True)(keras.layers.Conv2D(1, 3)(image))
    with pytest.raises(ConfigError, match=r"synchronised over several devices.*train on one device"):
        recomputed(keras.Model(image, keras.layers.Flatten()(synchronised)))
    inner = keras.Sequential([keras.layers.Conv2D(1, 3)])
    with pytest.raises(ConfigError, match="is not flat"):
        recomputed(keras.Model(image, keras.layers.Flatten()(inner(image))))
    twice = keras.layers.Conv2D(1, 3, padding="same")
    with pytest.raises(ConfigError, match="each called once"):
        recomputed(keras.Model(image, keras.layers.Flatten()(twice(twice(image)))))
    with pytest.raises(ConfigError, match="segments is 1"):
        recomputed(branches(), segments=1)
    with pytest.raises(ConfigError, match="no single tensor"):
        recomputed(keras.Model(image, keras.layers.Flatten()(image)))
