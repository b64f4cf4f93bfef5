"""Losses against arithmetic written out, and against Keras' own."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.config import TrainConfig
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.models import losses

LOG3 = math.log(3)


def made(loss: str, classes: int = 2, task: str = "classification", smoothing: float = 0.0) -> losses.Loss:
    return losses.build_loss(TrainConfig(loss=loss, label_smoothing=smoothing), classes, task)  # type: ignore[arg-type]


def test_cross_entropy_by_hand() -> None:
    # softmax(log 3, 0) = (3/4, 1/4)
    found = made("cross_entropy")(np.array([0, 1]), np.array([[LOG3, 0], [LOG3, 0]], np.float32))
    np.testing.assert_allclose(found, [-math.log(3 / 4), -math.log(1 / 4)], rtol=1e-6)


def test_smoothed_cross_entropy_by_hand() -> None:
    # smoothing .2 of two classes: targets (.9, .1)
    found = made("cross_entropy", smoothing=0.2)(np.array([0]), np.array([[LOG3, 0]], np.float32))
    np.testing.assert_allclose(found, [-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)], rtol=1e-6)


def test_one_logit_by_hand() -> None:
    # sigmoid(log 3) = 3/4; smoothing .2: targets .1 and .9
    logits = np.array([[LOG3], [LOG3]], np.float32)
    plain = made("binary_cross_entropy")(np.array([0, 1]), logits)
    np.testing.assert_allclose(plain, [-math.log(1 / 4), -math.log(3 / 4)], rtol=1e-6)
    smooth = made("cross_entropy", smoothing=0.2)(np.array([0, 1]), logits)
    low, high = -math.log(1 / 4), -math.log(3 / 4)
    np.testing.assert_allclose(smooth, [0.9 * low + 0.1 * high, 0.1 * low + 0.9 * high], rtol=1e-6)


def test_one_logit_is_two_logits_with_zero() -> None:
    logit = np.linspace(-4, 4, 6, dtype=np.float32)[:, None]
    labels = np.arange(6) % 2
    two = np.concatenate([np.zeros_like(logit), logit], axis=1)
    np.testing.assert_allclose(made("cross_entropy")(labels, logit), made("cross_entropy")(labels, two), rtol=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("classes", [2, 3])
def test_indices_and_one_hot_rows_agree(loss: str, classes: int) -> None:
    logits = np.random.default_rng(0).normal(size=(5, classes)).astype(np.float32)
    labels = np.arange(5) % classes
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    np.testing.assert_array_equal(made(loss, classes)(labels, logits), made(loss, classes)(one_hot, logits))


def test_one_logit_takes_indices_columns_and_one_hot_rows() -> None:
    logits = np.array([[1.0], [2.0]], np.float32)
    expected = made("binary_cross_entropy")(np.array([0, 1]), logits)
    for labels in (np.array([[0], [1]]), np.array([[1, 0], [0, 1]])):
        np.testing.assert_array_equal(made("binary_cross_entropy")(labels, logits), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_agrees_with_keras(smoothing: float) -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(7, 4)).astype(np.float32) * 3, np.eye(4, dtype=np.float32)[rng.integers(0, 4, 7)]
    oracle = keras.losses.CategoricalCrossentropy(True, label_smoothing=smoothing, reduction=None)(labels, logits)
    np.testing.assert_allclose(made("cross_entropy", 4, smoothing=smoothing)(labels, logits), oracle, rtol=1e-5)
    oracle = keras.losses.BinaryCrossentropy(True, label_smoothing=smoothing, reduction=None)(labels, logits)
    np.testing.assert_allclose(made("binary_cross_entropy", 4, smoothing=smoothing)(labels, logits), oracle, rtol=1e-5)


def test_findings_by_hand() -> None:
    # sigmoid(0) = 1/2; the unknown one is left out; a film with nothing known costs nothing.
    labels = np.array([[1, -1, 0], [np.nan, np.nan, -1]], np.float32)
    logits = np.array([[LOG3, 9, 0], [5, 5, 5]], np.float32)
    found = made("binary_cross_entropy", 3, "multilabel")(labels, logits)
    np.testing.assert_allclose(found, [(-math.log(3 / 4) - math.log(1 / 2)) / 2, 0], rtol=1e-6)


def test_unknown_findings_have_no_gradient() -> None:
    logits = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(made("binary_cross_entropy", 2, "multilabel")(tf.constant([[math.nan, 1.0]]), logits))
    gradient = tape.gradient(value, logits).numpy()
    assert gradient[0, 0] == 0
    assert gradient[0, 1] == pytest.approx(1 / (1 + math.exp(-2)) - 1, rel=1e-5)


def test_bce_dice_by_hand() -> None:
    # Two pixels, mask (1, 0), p = (3/4, 1/4): BCE = -log 3/4; Dice = (2 * 3/4 + 1) / (1 + 1 + 1) = 5/6.
    masks = np.array([1, 0], np.float32).reshape(1, 1, 2, 1)
    logits = np.array([LOG3, -LOG3], np.float32).reshape(1, 1, 2, 1)
    expected = -math.log(3 / 4) + 1 - 5 / 6
    np.testing.assert_allclose(made("bce_dice", 1, "segmentation")(masks, logits), [expected], rtol=1e-6)
    without_channel = made("bce_dice", 1, "segmentation")(masks[..., 0], logits)
    np.testing.assert_allclose(without_channel, [expected], rtol=1e-6)


def test_dice_limits() -> None:
    full, sure = np.ones((1, 4, 4, 1), np.float32), np.full((1, 4, 4, 1), 40, np.float32)
    np.testing.assert_allclose(losses.soft_dice_loss(full, sure), [0], atol=1e-6)
    np.testing.assert_allclose(losses.soft_dice_loss(0 * full, -sure), [0], atol=1e-6)  # nothing there, nothing found
    # 16 pixels missed: 1 - (0 + 1) / (0 + 16 + 1)
    np.testing.assert_allclose(losses.soft_dice_loss(full, -sure), [16 / 17], atol=1e-6)


def test_smoothing_leaves_dice_alone() -> None:
    masks = np.ones((1, 2, 2, 1), np.float32)
    logits = np.full((1, 2, 2, 1), 1.0, np.float32)
    plain, smooth = (float(made("bce_dice", 1, "segmentation", s)(masks, logits)[0]) for s in (0.0, 0.2))
    bce = [float(losses.binary_cross_entropy(masks, logits, s)[0]) for s in (0.0, 0.2)]
    assert smooth - plain == pytest.approx(bce[1] - bce[0], rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=6), st.floats(0, 0.9))
def test_huge_logits_stay_finite_and_loss_non_negative(values: list[float], smoothing: float) -> None:
    logits = np.array(values, np.float32)[:, None]
    labels = np.arange(len(values)) % 2
    for loss in (made("binary_cross_entropy", smoothing=smoothing), made("cross_entropy", smoothing=smoothing)):
        found = np.asarray(loss(labels, logits))
        assert np.isfinite(found).all()
        assert (found >= 0).all()


def test_half_precision_logits_are_summed_in_float32() -> None:
    found = made("cross_entropy")(np.array([0]), np.array([[LOG3, 0]], np.float16))
    assert found.dtype == tf.float32


@pytest.mark.parametrize(
    ("loss", "task", "message"),
    [
        ("bce_dice", "classification", "needs masks"),
        ("cross_entropy", "multilabel", "expected binary_cross_entropy"),
        ("cross_entropy", "segmentation", "expected bce_dice or binary_cross_entropy"),
    ],
)
def test_losses_that_do_not_fit_the_task(loss: str, task: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(loss, 1, task)


def test_pixel_cross_entropy_by_hand() -> None:
    # Two pixels, three classes: the background at p = 1/2 of it, class 2 at p = 1/4.
    numbers = np.array([[[[0.0], [2.0]]]], np.float32)
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]]], np.float32))
    np.testing.assert_allclose(
        losses.pixel_cross_entropy(numbers, logits), [(math.log(2) + math.log(4)) / 2], rtol=1e-6
    )
    weighted = (0.5 * math.log(2) + math.log(4)) / 1.5
    np.testing.assert_allclose(losses.pixel_cross_entropy(numbers, logits, 0.0, 0.5), [weighted], rtol=1e-6)
    loss = losses.build_loss(TrainConfig(loss="cross_entropy", background_weight=0.5), 3, "segmentation")
    np.testing.assert_allclose(loss(numbers, logits), [weighted], rtol=1e-6)
    # Smoothed by .3 the targets are (.8, .1, .1) and (.1, .1, .8).
    smooth = (0.8 * math.log(2) + 0.2 * math.log(4) + 0.9 * math.log(4) + 0.1 * math.log(2)) / 2
    np.testing.assert_allclose(losses.pixel_cross_entropy(numbers, logits, 0.3), [smooth], rtol=1e-6)


def test_pixel_cross_entropy_agrees_with_keras_and_with_torch_style_weights() -> None:
    generator = np.random.default_rng(4)
    numbers = generator.integers(0, 4, (3, 5, 6, 1)).astype(np.float32)
    logits = generator.normal(size=(3, 5, 6, 4)).astype(np.float32)
    each = keras.losses.sparse_categorical_crossentropy(numbers[..., 0].astype(int), logits, from_logits=True)
    each = np.asarray(each)
    np.testing.assert_allclose(losses.pixel_cross_entropy(numbers, logits), each.mean(axis=(1, 2)), rtol=1e-5)
    weights = np.where(numbers[..., 0] == 0, 0.25, 1.0)
    expected = (weights * each).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))
    np.testing.assert_allclose(losses.pixel_cross_entropy(numbers, logits, 0.0, 0.25), expected, rtol=1e-5)


def test_class_numbers_need_the_cross_entropy() -> None:
    numbers, logits = np.zeros((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 4), np.float32)
    for name in ("bce_dice", "binary_cross_entropy"):
        with pytest.raises(ConfigError, match="there are class numbers; expected cross_entropy"):
            made(name, 4, "segmentation")(numbers, logits)


def test_traced_and_eager_agree() -> None:
    loss = made("cross_entropy", 3, smoothing=0.1)
    labels, logits = tf.constant([0, 2]), tf.constant([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    traced = tf.function(loss, input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 3])])
    np.testing.assert_allclose(traced(labels, logits), loss(labels, logits), rtol=1e-6)
