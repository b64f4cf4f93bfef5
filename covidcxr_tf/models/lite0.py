"""The convolutions of EfficientNet-Lite0, for `efficientnet_lite0` and `unet_lite0`.

Source: Tan 2019, table 1 (EfficientNet-B0), and the note on EfficientNet-Lite (Liu 2020): no squeeze and excitation,
ReLU6 instead of swish, stem and head of fixed width. Padding is TensorFlow's "same", epsilon 1e-3 and momentum 0.99
are the original's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras

from covidcxr_tf.models.layers import Normalisation, both_sides, he_normal, image_input, smoothed

EPSILON, MOMENTUM = 1e-3, 0.99
STEM, HEAD = 32, 1280  # filters


class Stage(NamedTuple):
    """Blocks of one width; the first one may halve the picture."""

    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(3, 1, 1, 16),
    Stage(3, 2, 6, 24),
    Stage(5, 2, 6, 40),
    Stage(3, 2, 6, 80),
    Stage(5, 1, 6, 112),
    Stage(5, 2, 6, 192),
    Stage(3, 1, 6, 320),
)
BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # in each stage


def stages(
    input_shape: tuple[int | None, ...],
    normalise: Normalisation | None,
    blocks: Sequence[int] = BLOCKS,
    *,
    width: float = 1.0,
    synchronized: bool = False,
    low_pass: int = 0,
    mirrored: bool = False,
    seed: int | None = None,
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Return the input ``"image"``, and a list: the normalised film, then the features after each stage.

    The first two stages lie at a half and a quarter of the film's size.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels. None leaves rows or columns open.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1].
    blocks : sequence of int
        Blocks in each stage, at most seven stages; fewer leave the last ones out.
    width : float
        Times the filters of every stage, at least 1 filter; other values than 1 make small networks for tests.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    low_pass : int
        Means of 3 x 3 px before the first convolution, see `layers.smoothed`.
    mirrored : bool
        The features are those of the films and then of their mirror images, see `layers.both_sides`.
    seed : int, optional
        Seed of the initial weights.

    Raises
    ------
    ValueError
        If there is no stage, more than seven, or a stage without a block.
    """
    if not 1 <= len(blocks) <= len(STAGES) or min(blocks) < 1:
        raise ValueError(f"blocks is {tuple(blocks)}; expected 1 to {len(STAGES)} numbers, each at least 1")
    image, film = image_input(input_shape, normalise)
    film = smoothed(film, low_pass)
    if mirrored:
        film = both_sides(film)
    unit = _Unit(synchronized, seed)
    features = unit.convolution(film, scaled(STEM, width), 3, 2, "stem")
    found, number = [film], 0
    for stage, depth in zip(STAGES, blocks, strict=False):
        for step in range(depth):
            number += 1
            stride = stage.stride if step == 0 else 1
            features = _block(features, stage, scaled(stage.filters, width), stride, f"block{number}", unit)
        found.append(features)
    return image, found


def scaled(filters: int, width: float) -> int:
    """Return a number of filters times `width`, at least 1."""
    return max(round(filters * width), 1)


def top(
    features: keras.KerasTensor, filters: int, *, synchronized: bool = False, seed: int | None = None
) -> keras.KerasTensor:
    """Return the last 1x1 convolution with its normalisation and ReLU6, ``"top_relu"``."""
    return _Unit(synchronized, seed).convolution(features, filters, 1, 1, "top")


class _Unit:
    """A convolution, its normalisation and ReLU6."""

    def __init__(self, synchronized: bool, seed: int | None) -> None:
        self.synchronized, self.seed = synchronized, seed

    def convolution(
        self, features: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str, relu: bool = True
    ) -> keras.KerasTensor:
        features = keras.layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=he_normal(self.seed, f"{name}_conv"),
            name=f"{name}_conv",
        )(features)
        return self.normalised(features, name, relu)

    def depthwise(self, features: keras.KerasTensor, kernel: int, stride: int, name: str) -> keras.KerasTensor:
        features = keras.layers.DepthwiseConv2D(
            kernel,
            strides=stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=he_normal(self.seed, f"{name}_conv"),
            name=f"{name}_conv",
        )(features)
        return self.normalised(features, name)

    def normalised(self, features: keras.KerasTensor, name: str, relu: bool = True) -> keras.KerasTensor:
        features = keras.layers.BatchNormalization(
            epsilon=EPSILON, momentum=MOMENTUM, synchronized=self.synchronized, name=f"{name}_bn"
        )(features)
        return keras.layers.ReLU(6.0, name=f"{name}_relu")(features) if relu else features


def _block(
    features: keras.KerasTensor, stage: Stage, filters: int, stride: int, name: str, unit: _Unit
) -> keras.KerasTensor:
    """Return an inverted bottleneck: wide, one filter a channel, narrow and linear; added where the shape stays."""
    wide_in, shortcut = int(features.shape[-1]), features
    if stage.expansion > 1:
        features = unit.convolution(features, wide_in * stage.expansion, 1, 1, f"{name}_expand")
    features = unit.depthwise(features, stage.kernel, stride, f"{name}_depthwise")
    features = unit.convolution(features, filters, 1, 1, f"{name}_project", relu=False)
    if stride == 1 and wide_in == filters:
        features = keras.layers.Add(name=f"{name}_add")([shortcut, features])
    return features
