"""The convolutions of DenseNet121, which `chexnet` and `densenet121` share.

Source: Huang 2017, table 1 (DenseNet-BC: 4 * growth 1x1 filters before each 3x3, transitions halve). Every layer
with weights is named as in ``keras.applications.DenseNet121``, so that its files and CheXNet's fit by name, and what
one of our networks learned can be handed to the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation, he_normal, image_input

CAM_LAYER = "relu"  # the last features before pooling
DENSENET121 = (6, 12, 24, 16)
EPSILON = 1.001e-5  # of keras.applications; PyTorch has 1e-5, which the conversion corrects for


def backbone(
    input_shape: tuple[int | None, ...],
    normalise: Normalisation | None,
    blocks: Sequence[int],
    growth: int,
    stem: int,
    synchronized: bool,
    seed: int | None,
    final_relu: bool = True,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input and the last features, a 32nd of the input's size for four blocks.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels; None leaves rows or columns open.
    normalise : (mean, std) or None
        One value a channel, in units of [0, 1]; None leaves the layer out.
    blocks, growth, stem
        Layers in each dense block, filters that each adds, filters of the first convolution.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    seed : int or None
        Seed of the initial weights.
    final_relu : bool
        False gives what Keras before 2.2.3 had: no ReLU after the last batch normalisation.
    """
    image, features = image_input(input_shape, normalise)
    features = keras.layers.ZeroPadding2D(3, name="conv1_pad")(features)
    features = _convolution(features, stem, 7, "conv1_conv", seed, strides=2, padding="valid")
    features = _normalised_relu(features, "conv1", synchronized)
    features = keras.layers.ZeroPadding2D(1, name="pool1_pad")(features)
    features = keras.layers.MaxPooling2D(3, strides=2, name="pool1")(features)
    for block, depth in enumerate(blocks, start=2):
        for layer in range(1, depth + 1):
            features = _dense_layer(features, growth, f"conv{block}_block{layer}", synchronized, seed)
        if block <= len(blocks):
            name = f"pool{block}"
            features = _normalised_relu(features, name, synchronized)
            features = _convolution(features, features.shape[-1] // 2, 1, f"{name}_conv", seed)
            features = keras.layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(features)
    features = keras.layers.BatchNormalization(epsilon=EPSILON, synchronized=synchronized, name="bn")(features)
    if final_relu:
        features = keras.layers.Activation("relu", name=CAM_LAYER)(features)
    return image, features


def _dense_layer(
    features: keras.KerasTensor, growth: int, name: str, synchronized: bool, seed: int | None
) -> keras.KerasTensor:
    new = _normalised_relu(features, f"{name}_0", synchronized)
    new = _convolution(new, 4 * growth, 1, f"{name}_1_conv", seed)
    new = _normalised_relu(new, f"{name}_1", synchronized)
    new = _convolution(new, growth, 3, f"{name}_2_conv", seed)
    return keras.layers.Concatenate(name=f"{name}_concat")([features, new])


def _normalised_relu(features: keras.KerasTensor, name: str, synchronized: bool) -> keras.KerasTensor:
    features = keras.layers.BatchNormalization(epsilon=EPSILON, synchronized=synchronized, name=f"{name}_bn")(features)
    return keras.layers.Activation("relu", name=f"{name}_relu")(features)


def _convolution(
    features: keras.KerasTensor,
    filters: int,
    kernel: int,
    name: str,
    seed: int | None,
    strides: int = 1,
    padding: str = "same",
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=he_normal(seed, name),
        name=name,
    )(features)
