"""FC-DenseNet ("Tiramisu"): dense blocks on the way down and up, with a copy of each level from one to the other.

Source: Jegou 2017, "The One Hundred Layers Tiramisu", tables 1 and 2; Oh 2020, II.A, for heart and lungs. Going up,
only the features that a block has made itself are enlarged, so that the number of channels does not grow with the
square of the depth; the last block hands all of its input on with them.

Differs from paper: no biases but the last convolution's. Every other convolution is followed by a normalisation or a
linear layer with a shift of its own, so that its bias could do nothing; Jegou's networks carry 3 to 4 thousand of them
(0.04 to 0.08 % of the weights).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation, dropout_layer, image_input, initialise, layer_seed

CAM_LAYER = "features"  # what the last 1x1 convolution reads, at full size


def build_fcdensenet(
    name: str,
    input_shape: tuple[int | None, ...],
    num_classes: int,
    *,
    blocks: Sequence[int],
    bottleneck: int,
    growth: int,
    stem: int,
    weights: str,
    dropout: float,
    normalise: Normalisation | None,
    synchronized: bool,
    seed: int | None,
) -> keras.Model:
    """Return an FC-DenseNet from films (N, H, W, channels) float32 in [0, 1] to logits (N, H, W, num_classes) float32.

    Parameters
    ----------
    name : str
        Of the model.
    input_shape : tuple of int
        Rows, columns, channels. Rows and columns must be divisible by 2 ** len(blocks); None leaves them open.
    num_classes : int
        Mask channels: 1 is lungs against the rest (one sigmoid a pixel), more are classes (softmax over them).
    blocks : sequence of int
        Layers of each block going down, and in reverse order going up.
    bottleneck : int
        Layers of the block between.
    growth : int
        Features that each layer adds.
    stem : int
        Filters of the first convolution.
    weights, dropout, normalise, synchronized, seed
        As `covidcxr_tf.models.fcdensenet103.build` says.

    Raises
    ------
    ValueError
        If there is no block or a block has no layer, or the size cannot be halved once a block.
    """
    _check(input_shape, blocks, bottleneck)
    layers = _Layers(growth, dropout, synchronized, seed)
    image, entered = image_input(input_shape, normalise)
    features = layers.convolution(entered, stem, 3, "stem_conv")
    copies = []
    for level, depth in enumerate(blocks, start=1):
        features = layers.block(features, depth, f"down{level}")[0]
        copies.append(features)
        features = layers.transition_down(features, f"down{level}_transition")
    whole, made = layers.block(features, bottleneck, "bottleneck")
    for level in range(len(blocks), 0, -1):
        features = layers.transition_up(made, f"up{level}_transition")
        features = keras.layers.Concatenate(name=f"up{level}_concat")([copies[level - 1], features])
        # The last block's name for all it hands on is the same whatever the depth: heat maps are drawn from it.
        whole, made = layers.block(features, blocks[level - 1], f"up{level}", CAM_LAYER if level == 1 else None)
    logits = keras.layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=keras.initializers.GlorotUniform(seed=layer_seed(seed, "logits")),
        dtype="float32",
        name="logits",
    )(whole)
    return initialise(keras.Model(image, logits, name=name), weights)


class _Layers:
    """The parts of table 1 with the settings that all of them share."""

    def __init__(self, growth: int, dropout: float, synchronized: bool, seed: int | None) -> None:
        self.growth = growth
        self.dropout = dropout
        self.synchronized = synchronized
        self.seed = seed

    def convolution(self, features: keras.KerasTensor, width: int, side: int, name: str) -> keras.KerasTensor:
        return keras.layers.Conv2D(
            width, side, padding="same", use_bias=False, kernel_initializer=self._initialiser(name), name=name
        )(features)

    def block(
        self, features: keras.KerasTensor, depth: int, name: str, whole_name: str | None = None
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return all features, those that came in included, and those that the block made."""
        made = []
        whole = features
        for step in range(1, depth + 1):
            made.append(self._activated(whole, self.growth, 3, f"{name}_layer{step}"))
            last = step == depth
            whole_here = whole_name if last and whole_name else f"{name}_concat{step}"
            whole = keras.layers.Concatenate(name=whole_here)([whole, made[-1]])
        new = made[0] if depth == 1 else keras.layers.Concatenate(name=f"{name}_new")(made)
        return whole, new

    def transition_down(self, features: keras.KerasTensor, name: str) -> keras.KerasTensor:
        mixed = self._activated(features, features.shape[-1], 1, name)
        return keras.layers.MaxPooling2D(2, name=f"{name}_pool")(mixed)

    def transition_up(self, features: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.Conv2DTranspose(
            features.shape[-1],
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=self._initialiser(name),
            name=name,
        )(features)

    def _activated(self, features: keras.KerasTensor, width: int, side: int, name: str) -> keras.KerasTensor:
        features = keras.layers.BatchNormalization(synchronized=self.synchronized, name=f"{name}_bn")(features)
        features = keras.layers.Activation("relu", name=f"{name}_relu")(features)
        features = self.convolution(features, width, side, f"{name}_conv")
        return dropout_layer(self.dropout, self.seed, f"{name}_dropout")(features) if self.dropout else features

    def _initialiser(self, name: str) -> keras.initializers.Initializer:
        return keras.initializers.HeUniform(seed=layer_seed(self.seed, name))  # Jegou 2017, section 4.1


def _check(input_shape: tuple[int | None, ...], blocks: Sequence[int], bottleneck: int) -> None:
    if not blocks or min(*blocks, bottleneck) < 1:
        raise ValueError(
            f"blocks is {tuple(blocks)} and bottleneck {bottleneck}; expected at least one block and one layer in each"
        )
    divisor = 2 ** len(blocks)
    for axis, side in zip(("rows", "columns"), input_shape[:2], strict=True):
        if side is not None and (side < divisor or side % divisor):
            raise ValueError(
                f"the input has {side} {axis}; {len(blocks)} blocks need a multiple of {divisor} "
                f"(nearest: {max(divisor, round(side / divisor) * divisor)})"
            )
