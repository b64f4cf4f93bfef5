"""ResNet-101 and ResNet-18 against keras.applications and the papers' counts."""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
import numpy as np
import pytest

from covidcxr_tf import models
from covidcxr_tf.models import patch_resnet18, resnet18, resnet101
from covidcxr_tf.models.residual import Style, basic_block, bottleneck

RESNETS = {"resnet101": resnet101, "resnet18": resnet18, "patch-resnet18": patch_resnet18}
PLAIN = Style(bias=False, epsilon=1e-5, momentum=0.9, seed=1)


def trainable(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_variables)


@pytest.fixture(scope="module")
def both() -> tuple[keras.Model, keras.Model]:
    """Return keras.applications' ResNet-101 with batch statistics of its own, and ours."""
    theirs = keras.applications.ResNet101(weights=None, include_top=False, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            width = layer.get_weights()[0].size
            layer.set_weights([rng.uniform(low, high, width) for low, high in ((0.3, 0.6), (-1, 1), (-1, 1), (1, 2))])
    return theirs, resnet101.build((64, 64, 3), num_classes=1000)


def test_same_network_as_keras_applications(both: tuple[keras.Model, keras.Model]) -> None:
    theirs, ours = both
    for layer in theirs.layers:
        if layer.weights:
            ours.get_layer(layer.name).set_weights(layer.get_weights())
    images = np.random.default_rng(1).random((2, 64, 64, 3), dtype=np.float32)
    features = keras.Model(ours.input, ours.get_layer(resnet101.CAM_LAYER).output)(images)
    expected = np.asarray(theirs(images))
    assert expected.std() > 0.01
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_resnet101_has_the_layers_and_the_parameters_of_its_imagenet_form(
    both: tuple[keras.Model, keras.Model],
) -> None:
    theirs, ours = ({layer.name for layer in model.layers if layer.weights} for model in both)
    assert ours == theirs | {"logits"}
    # 42,658,176 without the top (keras.io) and 2048 x 1000 + 1000 with it: "more than 44 millions".
    assert both[1].count_params() == 42_658_176 + 2_049_000 == 44_707_176


@pytest.mark.parametrize("module", [resnet18, patch_resnet18])
def test_resnet18_has_the_parameters_of_its_imagenet_form(module: Any) -> None:
    # torchvision states 11,689,512; PyTorch does not count batch statistics.
    assert trainable(module.build(num_classes=1000)) == 11_689_512
    four = trainable(module.build(num_classes=4))
    assert four == 11_689_512 - 513_000 + (512 * 4 + 4) == 11_178_564
    assert 0.03 < 1 - four / 11.6e6 < 0.04  # the paper's figure is the top of 1000 classes: said in the module


def test_resnet18_by_hand() -> None:
    widths = [64, 64, 128, 256, 512]
    count = 3 * 49 * 64 + 2 * 64 + 512 * 4 + 4
    for before, width in itertools.pairwise(widths):
        count += 9 * before * width + 3 * 9 * width * width + 4 * 2 * width  # four 3x3, each with two vectors
        count += (before * width + 2 * width) if before != width else 0  # the shortcut
    assert trainable(resnet18.build(num_classes=4)) == count


@pytest.mark.parametrize("name", RESNETS)
def test_last_features_are_a_thirty_second_of_the_film(name: str) -> None:
    model = models.build(name, num_classes=2, input_shape=(None, None, 1), blocks=(1, 1, 1, 3), stem=4)
    feature_maps = keras.Model(model.input, model.get_layer("conv5_block3_out").output)
    for rows, columns in ((64, 96), (65, 33), (47, 50)):
        shape = feature_maps.compute_output_shape((1, rows, columns, 1))
        features = feature_maps(np.zeros((1, rows, columns, 1), np.float32))
        assert features.shape[1:3] == (math.ceil(rows / 32), math.ceil(columns / 32)), shape


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("compat", ["ours", "paper", "authors"])
def test_two_classes_have_two_nodes_in_these_papers(name: str, compat: str) -> None:
    model = models.build(name, 2, input_shape=(32, 32, 1), blocks=(1,), stem=4, compat=compat)
    assert model.output_shape == (None, 2)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="expected ours, paper or authors"):
        resnet18.build(blocks=(1,), stem=4, compat="theirs")
    with pytest.raises(ValueError, match="num_classes is 0"):
        resnet101.build(num_classes=0, blocks=(1,), stem=4)


@pytest.mark.parametrize(("block", "width"), [(basic_block, 8), (bottleneck, 32)])
def test_a_block_whose_last_normalisation_is_zero_hands_its_input_on(block: Any, width: int) -> None:
    image = keras.Input((6, 6, width))
    model = keras.Model(image, block(image, 8, 1, "b", PLAIN))
    assert "b_0_conv" not in {layer.name for layer in model.layers}
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)][-1]
    last.gamma.assign(np.zeros(width))
    films = np.random.default_rng(3).normal(size=(2, 6, 6, width)).astype(np.float32)
    np.testing.assert_array_equal(model(films), np.maximum(films, 0))


@pytest.mark.parametrize(("block", "out"), [(basic_block, 8), (bottleneck, 32)])
@pytest.mark.parametrize(("strides", "width"), [(2, 8), (1, 5), (2, 32)])
def test_a_block_that_changes_the_shape_has_a_convolution_in_its_shortcut(
    block: Any, out: int, strides: int, width: int
) -> None:
    image = keras.Input((6, 6, width))
    model = keras.Model(image, block(image, 8, strides, "b", PLAIN))
    assert model.get_layer("b_0_conv").kernel.shape == (1, 1, width, out)
    assert model.output_shape == (None, 6 // strides, 6 // strides, out)


def test_first_weights_keep_the_size_of_the_signal() -> None:
    # He's start: the variance of a kernel is 2 / (rows * columns * channels in).
    kernel = resnet18.build(seed=5).get_layer("conv4_block2_1_conv").get_weights()[0]
    assert kernel.var() == pytest.approx(2 / (9 * 256), rel=0.05)
