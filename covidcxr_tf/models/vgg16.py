"""VGG16 for four kinds of films, and its variant for class activation maps.

Source: the five-fold portable CXR study, section "CNN"; Simonyan & Zisserman 2015, table 1, column D (13 convolutions
of 3x3). Convolutions are named as in ``keras.applications.VGG16``, so that its files fit by name.

The text says "three fully connected layers, each having 4096 nodes". VGG16 has two of 4096 and a third that is its
output, 1000 ImageNet classes; a third of 4096 cannot be the output for four classes. We read the text by its letter:
three of 4096, then four logits (151.1 M parameters). VGG16 as published is ``head_layers=2`` (138.4 M with 1000
classes, 134.3 M with four). Dropout stands after each dense layer, as in VGG16; the text gives no rate, ours is .5.

``pooling="average"`` is the study's heat-map network: "adding global average pooling into CNN" (after Zhou 2016).
``block5_conv3`` is averaged and goes into the logits, with no pooling and no dense layer between, so that the weights
of a class are exactly the weights of its activation map.

Differs from paper: `build` returns logits; the softmax is taken by whoever predicts.
"""

from __future__ import annotations

from collections.abc import Sequence

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

CAM_LAYER = "block5_conv3"
CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each block; a pooling that halves rows and columns follows
FILTERS = (64, 128, 256, 512, 512)
DENSE_LAYERS = 3  # of the text; `covidcxr_tf.models.weights` knows as many by name


def build(
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    num_classes: int = 4,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.5,
    head_units: int = 4096,
    head_layers: int = DENSE_LAYERS,
    pooling: str = "flatten",
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = CONVOLUTIONS,
    filters: Sequence[int] = FILTERS,
    seed: int | None = None,
) -> keras.Model:
    """Return VGG16 from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels; at least 32 px a side (16 with ``pooling="average"``, which may leave them open: None).
    num_classes : int
        Logits; with ``compat`` ``"paper"`` or ``"authors"`` two classes share one logit (sigmoid).
    weights : str
        ``"none"``, ``"imagenet"`` or ``"FILE"``; see `covidcxr_tf.models.weights`.
    compat : str
        ``"ours"``, ``"paper"`` or ``"authors"``; the dense layers are the same in all, see the module.
    dropout : float
        Rate after each dense layer; 0 leaves the layers out.
    head_units : int
        Units of each dense layer; 0 leaves them out.
    head_layers : int
        Dense layers before the logits, 0 to 3: the text's reading is 3, VGG16's own 2.
    pooling : str
        ``"flatten"``; ``"average"`` for class activation maps, which has no dense layers: `head_units`, `head_layers`
        and `dropout` do nothing.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1]. None: what `weights` were trained with, or nothing without weights.
    synchronized : bool
        Accepted as every architecture does; there is no batch normalisation here.
    blocks, filters : sequence of int
        Convolutions in each of the five blocks, and their filters. The defaults are VGG16; `CAM_LAYER` exists where the
        last block has three.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If the film is too small, or a number of filters, layers or channels does not fit.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    _check(input_shape, blocks, filters, head_layers, pooling)
    if normalise is None and weights != "none":
        from covidcxr_tf.models.weights import recommended_normalisation

        normalise = recommended_normalisation(weights, channels=int(input_shape[-1] or 0), arch="vgg16")
    units = output_units(num_classes, compat)
    image, features = image_input(input_shape, normalise)
    features = _convolutions(features, blocks, filters, seed)
    if pooling == "average":
        features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    else:
        features = keras.layers.MaxPooling2D(2, name="block5_pool")(features)
        features = _head(features, head_units, head_layers, dropout, seed)
    return initialise(keras.Model(image, logits_layer(units, seed)(features), name="vgg16"), weights)


def _convolutions(
    features: keras.KerasTensor, blocks: Sequence[int], filters: Sequence[int], seed: int | None
) -> keras.KerasTensor:
    """Return the features of the last convolution, a 16th of the input's size, after their ReLU."""
    for block, (depth, width) in enumerate(zip(blocks, filters, strict=True), start=1):
        if block > 1:
            features = keras.layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(features)
        for step in range(1, depth + 1):
            name = f"block{block}_conv{step}"
            features = keras.layers.Conv2D(
                width, 3, padding="same", activation="relu", kernel_initializer=he_normal(seed, name), name=name
            )(features)
    return features


def _head(features: keras.KerasTensor, units: int, layers: int, dropout: float, seed: int | None) -> keras.KerasTensor:
    features = keras.layers.Flatten(name="flatten")(features)
    for step in range(1, (layers if units else 0) + 1):
        name = f"dense{step}"
        features = keras.layers.Dense(units, activation="relu", kernel_initializer=he_normal(seed, name), name=name)(
            features
        )
        if dropout:
            features = dropout_layer(dropout, seed, f"dropout{step}")(features)
    return features


def _check(
    input_shape: tuple[int | None, ...],
    blocks: Sequence[int],
    filters: Sequence[int],
    head_layers: int,
    pooling: str,
) -> None:
    if pooling not in ("flatten", "average"):
        raise ValueError(f"pooling is '{pooling}'; expected flatten or average")
    if not 0 <= head_layers <= DENSE_LAYERS:
        raise ValueError(f"head_layers is {head_layers}; expected 0 to {DENSE_LAYERS}")
    for name, numbers in (("blocks", blocks), ("filters", filters)):
        if len(numbers) != len(CONVOLUTIONS) or min(numbers) < 1:
            raise ValueError(f"{name} is {tuple(numbers)}; expected five numbers of at least 1, one a block")
    smallest = 16 if pooling == "average" else 32
    for axis, side in zip(("rows", "columns"), input_shape[:2], strict=True):
        if side is None and pooling == "flatten":
            raise ValueError(f"the input's {axis} are open, which pooling flatten cannot take; expected a number")
        if side is not None and side < smallest:
            raise ValueError(f"the input has {side} {axis}; expected at least {smallest}")
