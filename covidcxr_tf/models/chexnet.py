"""COVID-CXNet: the DenseNet121 of CheXNet and a small head; and the probe, CheXNet with its own 14 findings.

Source: Haghanifar 2020, section 4.3 and figure 8 (head: global average pooling, 10 ReLU units, dropout, output);
its convolutions are `covidcxr_tf.models.densenet`'s.

Differs from paper: `build` returns one logit a class; ``compat`` ``"paper"`` or ``"authors"`` gives two classes one
logit (sigmoid). With pretrained weights the input is normalised as they were trained; the authors' code divides by
255 only, which ``compat="authors"`` keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from covidcxr_tf.data.manifest import FINDINGS
from covidcxr_tf.models.densenet import CAM_LAYER, DENSENET121, backbone
from covidcxr_tf.models.layers import Normalisation, dropout_layer, he_normal, initialise, logits_layer, output_units

__all__ = ["CAM_LAYER", "DENSENET121", "Probe", "build", "build_probe", "probe", "probe_network"]


def build(
    input_shape: tuple[int | None, ...] = (320, 320, 3),
    num_classes: int = 2,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.2,
    head_units: int = 10,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = DENSENET121,
    growth: int = 32,
    stem: int = 64,
    seed: int | None = None,
) -> keras.Model:
    """Return COVID-CXNet from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels; at least 32 px. None leaves rows or columns open.
    num_classes : int
        Logits; with ``compat`` ``"paper"`` or ``"authors"`` two classes share one logit (sigmoid).
    weights : str
        ``"none"``, ``"imagenet"``, ``"chexnet:FILE"`` or ``"FILE"``; see `covidcxr_tf.models.weights`.
    compat : str
        ``"ours"``, ``"paper"`` or ``"authors"``.
    dropout : float
        Rate before the logits; 0 leaves the layer out.
    head_units : int
        Units of the dense ReLU layer after pooling; 0 leaves it out.
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
    if normalise is None and weights != "none" and compat != "authors":
        from covidcxr_tf.models.weights import recommended_normalisation

        normalise = recommended_normalisation(weights, channels=int(input_shape[-1] or 0))
    units = output_units(num_classes, compat)
    image, features = backbone(input_shape, normalise, blocks, growth, stem, synchronized, seed)
    features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    if head_units:
        features = keras.layers.Dense(
            head_units, activation="relu", kernel_initializer=he_normal(seed, "head"), name="head"
        )(features)
    if dropout:
        features = dropout_layer(dropout, seed)(features)
    model = keras.Model(image, logits_layer(units, seed)(features), name="chexnet")
    return initialise(model, weights)


class Probe(NamedTuple):
    """CheXNet with its own output layer."""

    model: keras.Model  # films (N, H, W, channels) float32 in [0, 1] -> logits (N, labels)
    labels: tuple[str, ...]  # in the file's order; "" where an output was never trained
    provenance: Any  # covidcxr_tf.models.provenance.Provenance


def build_probe(path: str | Path, input_shape: tuple[int | None, int | None] = (224, 224)) -> Probe:
    """Return CheXNet itself, with the findings that a CheXNet file was trained on.

    Parameters
    ----------
    path : str or path
        A CheXNet file in any of the three layouts, or converted by ``covidcxr weights convert``.
    input_shape : (rows, columns)
        224 px is what all three were trained at.

    Raises
    ------
    WeightsError
        If the file cannot be read, or it is no CheXNet.
    """
    from covidcxr_tf.models.arrays import assign_all
    from covidcxr_tf.models.converted import read_chexnet

    checkpoint = read_chexnet(path)
    known = checkpoint.provenance
    model = probe_network(known, input_shape)
    assign_all(model, checkpoint.layers, where=path)
    return Probe(model, known.labels, known)


def probe_network(provenance: Any, input_shape: tuple[int | None, int | None] = (224, 224)) -> keras.Model:
    """Return the untrained network that a CheXNet file with this provenance fits: backbone, pooling, logits."""
    image, features = backbone(
        (*input_shape, provenance.channels),
        (provenance.mean, provenance.std),
        provenance.blocks,
        provenance.growth,
        provenance.stem,
        synchronized=False,
        seed=0,
        final_relu=provenance.final_relu,
    )
    features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    return keras.Model(image, logits_layer(len(provenance.labels), seed=0)(features), name="chexnet_probe")


def probe(built: Probe, films: Any) -> np.ndarray:
    """Return the probabilities of the 14 NIH findings, float64 (N, 14), in the order of ``FINDINGS``.

    Parameters
    ----------
    built : Probe
        From `build_probe`.
    films : (N, H, W) or (N, H, W, channels) float32 in [0, 1]
        At the probe's size; a grey film is repeated where the network wants three channels.

    Returns
    -------
    numpy.ndarray
        Raw sigmoids in [0, 1], never calibrated; NaN for a finding that the file was not trained on.
    """
    batch = np.asarray(films, dtype=np.float32)
    batch = batch[..., np.newaxis] if batch.ndim == 3 else batch
    channels = built.model.input_shape[-1]
    if batch.shape[-1] == 1 and channels > 1:
        batch = np.repeat(batch, channels, axis=-1)
    logits = np.asarray(built.model.predict(batch, verbose=0), dtype=np.float64)
    result = np.full((len(batch), len(FINDINGS)), np.nan)
    for column, finding in enumerate(FINDINGS):
        if finding in built.labels:
            result[:, column] = 1 / (1 + np.exp(-logits[:, built.labels.index(finding)]))
    return result
