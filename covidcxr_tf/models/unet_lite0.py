"""A U-Net whose encoder is EfficientNet-Lite0, so that it can begin with ImageNet weights.

Source: Ronneberger 2015, figure 1, for the way up and the copies; Tan 2019, table 1, for the way down. Ours: 537 films
with drawn lungs are few, and an encoder that has seen a million pictures needs fewer of them. 3.4 M parameters.

Differs from paper: the levels go up by repeating pixels instead of a transposed convolution, the encoder's first level
lies at half size, and the normalised film itself is the copy at full size.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation, dropout_layer, he_normal, initialise, layer_seed
from covidcxr_tf.models.lite0 import BLOCKS, stages

CAM_LAYER = "decoder1_relu2"  # the features that the last 1x1 convolution reads, at full size
COPIED = (0, 1, 2, 3, 5)  # the film, and the stages whose features are the last of their size
STAGES = 6  # the seventh widens for the classes of ImageNet


def build(
    input_shape: tuple[int | None, ...] = (256, 256, 1),
    num_classes: int = 1,
    *,
    weights: str = "none",
    filters: Sequence[int] = (16, 32, 48, 64, 96),
    dropout: float = 0.0,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = BLOCKS[:-1],
    width: float = 1.0,
    low_pass: int = 0,
    compat: str = "ours",
    seed: int | None = None,
) -> keras.Model:
    """Return a U-Net from films (N, H, W, channels) float32 in [0, 1] to logits (N, H, W, num_classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels. Rows and columns must be divisible by 32; None leaves them open.
    num_classes : int
        Mask channels; 1 is lungs against the rest, one sigmoid a pixel.
    weights : str
        ``"none"``, ``"imagenet"`` (the encoder) or ``"FILE"``: a model file of ours.
    filters : sequence of int
        Filters of the decoder's levels, from full size down: 16, 32, 48, 64, 96 at 1/1 to 1/16.
    dropout : float
        Rate after the encoder; 0 leaves the layer out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1]. None: what `weights` were trained with, or nothing without weights.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    blocks, width
        Blocks in each of the encoder's six stages, and a factor of its filters.
    low_pass : int
        Means of 3 x 3 px that the film goes through first, for the encoder and for the copy at full size; 0 is none.
    compat : str
        Accepted as every architecture does; all readings are the same network here.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If the size is no multiple of 32, or there are not five decoder levels and six stages.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    _check(input_shape, filters, blocks)
    if normalise is None and weights != "none":
        from covidcxr_tf.models.weights import recommended_normalisation

        normalise = recommended_normalisation(weights, channels=int(input_shape[-1] or 0), arch="unet_lite0")
    image, found = stages(
        input_shape, normalise, blocks, width=width, synchronized=synchronized, low_pass=low_pass, seed=seed
    )
    features = found[STAGES]
    if dropout:
        features = dropout_layer(dropout, seed)(features)
    for level in range(len(filters), 0, -1):
        name = f"decoder{level}"
        features = keras.layers.UpSampling2D(2, name=f"{name}_up")(features)
        features = keras.layers.Concatenate(name=f"{name}_concat")([found[COPIED[level - 1]], features])
        for step in (1, 2):
            features = _convolution(features, filters[level - 1], name, step, synchronized, seed)
    logits = keras.layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=keras.initializers.GlorotUniform(seed=layer_seed(seed, "logits")),
        dtype="float32",
        name="logits",
    )(features)
    return initialise(keras.Model(image, logits, name="unet_lite0"), weights)


def _convolution(
    features: keras.KerasTensor, filters: int, name: str, step: int, synchronized: bool, seed: int | None
) -> keras.KerasTensor:
    # No bias: the normalisation that follows has its own shift.
    features = keras.layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer=he_normal(seed, f"{name}_conv{step}"),
        name=f"{name}_conv{step}",
    )(features)
    features = keras.layers.BatchNormalization(synchronized=synchronized, name=f"{name}_bn{step}")(features)
    return keras.layers.Activation("relu", name=f"{name}_relu{step}")(features)


def _check(input_shape: tuple[int | None, ...], filters: Sequence[int], blocks: Sequence[int]) -> None:
    if len(filters) != len(COPIED) or len(blocks) != STAGES:
        raise ValueError(
            f"filters has {len(filters)} levels and blocks {len(blocks)} stages; expected {len(COPIED)} and {STAGES}"
        )
    for axis, side in zip(("rows", "columns"), input_shape[:2], strict=True):
        if side is not None and (side < 32 or side % 32):
            raise ValueError(f"the input has {side} {axis}; five halvings need a multiple of 32")
