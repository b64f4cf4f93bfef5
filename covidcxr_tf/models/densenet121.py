"""DenseNet121 with one new output layer a phase: findings, then pneumonia, then COVID-19.

Source: Fricks 2021, sections 2.1 to 2.3 (the top layer is replaced by a dense sigmoid layer with He initialisation);
Huang 2017, table 1. The convolutions are those of `chexnet`, under the same names: a phase starts from the file of the
phase before, or from a COVID-CXNet, and only ``logits`` is fresh where the number of outputs differs.

Differs from paper: `build` returns logits; the sigmoids are taken by whoever predicts. Two classes get two logits
unless ``compat`` is ``"paper"``, which gives the text's single output.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.densenet import CAM_LAYER, DENSENET121, backbone
from covidcxr_tf.models.layers import Normalisation, dropout_layer, he_normal, initialise, output_units

__all__ = ["CAM_LAYER", "build"]


def build(
    input_shape: tuple[int | None, ...] = (512, 512, 1),
    num_classes: int = 2,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.0,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = DENSENET121,
    growth: int = 32,
    stem: int = 64,
    seed: int | None = None,
) -> keras.Model:
    """Return DenseNet121 from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels; 512x512x1 in the paper, at least 32 px. None leaves rows or columns open.
    num_classes : int
        Logits: 14 in phase 1. Two classes share one logit (sigmoid) with ``compat`` ``"paper"`` or ``"authors"``.
    weights : str
        ``"none"``, ``"imagenet"``, ``"chexnet:FILE"`` or ``"FILE"``; see `covidcxr_tf.models.weights`.
    compat : str
        ``"ours"``, ``"paper"`` or ``"authors"`` (no code of theirs is known: as ``"paper"``).
    dropout : float
        Rate before the logits; 0, the paper's, leaves the layer out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1]. None: what `weights` were trained with, or nothing without weights.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    blocks, growth, stem
        Layers in each dense block, filters that each adds, filters of the first convolution. The defaults are
        DenseNet121.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If a size or a number of channels does not fit.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    if normalise is None and weights != "none":
        from covidcxr_tf.models.weights import recommended_normalisation

        normalise = recommended_normalisation(weights, channels=int(input_shape[-1] or 0), arch="densenet121")
    units = output_units(num_classes, compat)
    image, features = backbone(input_shape, normalise, blocks, growth, stem, synchronized, seed)
    features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    if dropout:
        features = dropout_layer(dropout, seed)(features)
    # He's initialiser as the text says, though no ReLU follows; float32 under every precision policy.
    logits = keras.layers.Dense(units, kernel_initializer=he_normal(seed, "logits"), dtype="float32", name="logits")
    return initialise(keras.Model(image, logits(features), name="densenet121"), weights)
