"""U-Net: an encoder, a decoder and a copy of each level's features from one to the other.

Source: Ronneberger 2015, figure 1; filters 32 to 512 as in Haghanifar 2020, section 3.2 and figure 4. With
``filters=(16, 32, 64, 128, 256)`` it has 1.95 M parameters instead of 7.77 M.

Differs from paper: convolutions keep the size (Ronneberger's shrink it, so that masks need cropping), each is
followed by batch normalisation (neither text has it; without it the narrow network needs many more epochs), and the
levels go up by a 2x2 transposed convolution, as in Ronneberger.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation, dropout_layer, he_normal, image_input, initialise, layer_seed

CAM_LAYER = "decoder1_relu2"  # the features that the last 1x1 convolution reads, at full size


def build(
    input_shape: tuple[int | None, ...] = (256, 256, 1),
    num_classes: int = 1,
    *,
    weights: str = "none",
    filters: Sequence[int] = (32, 64, 128, 256, 512),
    dropout: float = 0.0,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    compat: str = "ours",
    seed: int | None = None,
) -> keras.Model:
    """Return a U-Net from films (N, H, W, channels) float32 in [0, 1] to logits (N, H, W, num_classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels. Rows and columns must be divisible by 2 ** (len(filters) - 1); None leaves them open.
    num_classes : int
        Mask channels; 1 is lungs against the rest, one sigmoid a pixel.
    weights : str
        ``"none"`` or the path of a model file of ours.
    filters : sequence of int
        Filters of each level from full size down; the last one is the bottleneck's.
    dropout : float
        Rate after the bottleneck; 0 leaves the layer out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1].
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    compat : str
        Accepted as every architecture does; both readings are the same network here.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If the size cannot be halved once a level, or there are fewer than two levels.
    """
    _check_shape(input_shape, filters)
    image, features = image_input(input_shape, normalise)
    copies = []
    for level, width in enumerate(filters[:-1], start=1):
        features = _double_convolution(features, width, f"encoder{level}", synchronized, seed)
        copies.append(features)
        features = keras.layers.MaxPooling2D(2, name=f"encoder{level}_pool")(features)
    features = _double_convolution(features, filters[-1], "bottleneck", synchronized, seed)
    if dropout:
        features = dropout_layer(dropout, seed)(features)
    for level in range(len(filters) - 1, 0, -1):
        width, name = filters[level - 1], f"decoder{level}"
        features = keras.layers.Conv2DTranspose(
            width, 2, strides=2, kernel_initializer=he_normal(seed, f"{name}_up"), name=f"{name}_up"
        )(features)
        features = keras.layers.Concatenate(name=f"{name}_concat")([copies[level - 1], features])
        features = _double_convolution(features, width, name, synchronized, seed)
    logits = keras.layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=keras.initializers.GlorotUniform(seed=layer_seed(seed, "logits")),
        dtype="float32",
        name="logits",
    )(features)
    return initialise(keras.Model(image, logits, name="unet"), weights)


def _double_convolution(
    features: keras.KerasTensor, width: int, name: str, synchronized: bool, seed: int | None
) -> keras.KerasTensor:
    for step in (1, 2):
        # No bias: the normalisation that follows has its own shift.
        features = keras.layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=he_normal(seed, f"{name}_conv{step}"),
            name=f"{name}_conv{step}",
        )(features)
        features = keras.layers.BatchNormalization(synchronized=synchronized, name=f"{name}_bn{step}")(features)
        features = keras.layers.Activation("relu", name=f"{name}_relu{step}")(features)
    return features


def _check_shape(input_shape: tuple[int | None, ...], filters: Sequence[int]) -> None:
    if len(filters) < 2:
        raise ValueError(f"filters is {tuple(filters)}; expected at least two levels")
    divisor = 2 ** (len(filters) - 1)
    for axis, side in zip(("rows", "columns"), input_shape[:2], strict=True):
        if side is not None and (side < divisor or side % divisor):
            raise ValueError(
                f"the input has {side} {axis}; {len(filters)} levels need a multiple of {divisor} "
                f"(nearest: {max(divisor, round(side / divisor) * divisor)})"
            )
