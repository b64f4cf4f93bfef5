"""What the residual networks share: stem, basic block, bottleneck, stages.

Source: He 2016, table 1 and figure 5. Layers are named as in ``keras.applications.ResNet101``
(``conv4_block23_3_conv``), in the shallow networks too, which Keras does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from covidcxr_tf.models.layers import (
    Normalisation,
    dropout_layer,
    he_normal,
    image_input,
    initialise,
    logits_layer,
    output_units,
)


@dataclass(frozen=True)
class Style:
    """In what published residual networks differ from one another, and one model's seed.

    Attributes
    ----------
    bias : bool
        Whether convolutions have a bias: Keras' have, though batch normalisation follows; torchvision's have not.
    epsilon, momentum : float
        Of batch normalisation; momentum is the weight of the past.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy.
    seed : int or None
        Of the initial weights.
    """

    bias: bool
    epsilon: float
    momentum: float
    synchronized: bool = False
    seed: int | None = None


Block = Callable[[keras.KerasTensor, int, int, str, Style], keras.KerasTensor]


def residual_network(
    name: str,
    block: Block,
    style: Style,
    input_shape: tuple[int | None, ...],
    num_classes: int,
    *,
    weights: str,
    compat: str,
    dropout: float,
    normalise: Normalisation | None,
    blocks: Sequence[int],
    stem: int,
) -> keras.Model:
    """Return a residual network from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    name : str
        Of the model; `covidcxr_tf.models.weights` looks ImageNet weights up by it.
    block : callable
        `basic_block` or `bottleneck`.
    blocks : sequence of int
        Blocks in each stage; each stage but the first halves the rows and columns and doubles the filters.
    stem : int
        Filters of the first convolution and of the first stage.
    """
    output_units(num_classes, compat)  # checks both
    if normalise is None and weights != "none" and compat != "authors":
        from covidcxr_tf.models.weights import recommended_normalisation

        normalise = recommended_normalisation(weights, channels=int(input_shape[-1] or 0), arch=name)
    image, features = image_input(input_shape, normalise)
    features = keras.layers.ZeroPadding2D(3, name="conv1_pad")(features)
    features = convolution(features, stem, 7, "conv1_conv", style, strides=2, padding="valid")
    features = normalised(features, "conv1_bn", style)
    features = keras.layers.Activation("relu", name="conv1_relu")(features)
    # After a ReLU zeros are as good as minus infinity around the maximum.
    features = keras.layers.ZeroPadding2D(1, name="pool1_pad")(features)
    features = keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(features)
    for stage, depth in enumerate(blocks):
        for number in range(1, depth + 1):
            strides = 2 if stage > 0 and number == 1 else 1
            features = block(features, stem * 2**stage, strides, f"conv{stage + 2}_block{number}", style)
    features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    if dropout:
        features = dropout_layer(dropout, style.seed)(features)
    # The papers have one node a class, for two classes too: `compat` changes nothing here.
    model = keras.Model(image, logits_layer(num_classes, style.seed)(features), name=name)
    return initialise(model, weights)


def bottleneck(features: keras.KerasTensor, filters: int, strides: int, name: str, style: Style) -> keras.KerasTensor:
    """Return 1x1, 3x3 and 1x1 with four times the filters, added to the shortcut; the first 1x1 has the stride.

    The shortcut is a 1x1 convolution where the shape changes.
    """
    shortcut = features
    if strides != 1 or features.shape[-1] != 4 * filters:
        shortcut = convolution(features, 4 * filters, 1, f"{name}_0_conv", style, strides=strides)
        shortcut = normalised(shortcut, f"{name}_0_bn", style)
    for step, kernel in ((1, 1), (2, 3)):
        features = convolution(
            features, filters, kernel, f"{name}_{step}_conv", style, strides=strides if step == 1 else 1
        )
        features = normalised(features, f"{name}_{step}_bn", style)
        features = keras.layers.Activation("relu", name=f"{name}_{step}_relu")(features)
    features = convolution(features, 4 * filters, 1, f"{name}_3_conv", style)
    return _added(shortcut, normalised(features, f"{name}_3_bn", style), name)


def basic_block(features: keras.KerasTensor, filters: int, strides: int, name: str, style: Style) -> keras.KerasTensor:
    """Return 3x3 and 3x3 added to the shortcut, which is a 1x1 convolution where the shape changes."""
    shortcut = features
    if strides != 1 or features.shape[-1] != filters:
        shortcut = convolution(features, filters, 1, f"{name}_0_conv", style, strides=strides)
        shortcut = normalised(shortcut, f"{name}_0_bn", style)
    if strides == 1:
        features = convolution(features, filters, 3, f"{name}_1_conv", style)
    else:
        # PyTorch pads both sides; Keras' "same" would pad an even film below and to the right only.
        features = keras.layers.ZeroPadding2D(1, name=f"{name}_1_pad")(features)
        features = convolution(features, filters, 3, f"{name}_1_conv", style, strides=strides, padding="valid")
    features = normalised(features, f"{name}_1_bn", style)
    features = keras.layers.Activation("relu", name=f"{name}_1_relu")(features)
    features = convolution(features, filters, 3, f"{name}_2_conv", style)
    return _added(shortcut, normalised(features, f"{name}_2_bn", style), name)


def convolution(
    features: keras.KerasTensor,
    filters: int,
    kernel: int,
    name: str,
    style: Style,
    *,
    strides: int = 1,
    padding: str = "same",
) -> keras.KerasTensor:
    """Return a convolution without activation, started as He does."""
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=style.bias,
        kernel_initializer=he_normal(style.seed, name),
        name=name,
    )(features)


def normalised(features: keras.KerasTensor, name: str, style: Style) -> keras.KerasTensor:
    """Return batch normalisation."""
    return keras.layers.BatchNormalization(
        epsilon=style.epsilon, momentum=style.momentum, synchronized=style.synchronized, name=name
    )(features)


def _added(shortcut: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.KerasTensor:
    features = keras.layers.Add(name=f"{name}_add")([shortcut, features])
    return keras.layers.Activation("relu", name=f"{name}_out")(features)
