"""Probabilistic Grad-CAM: the Grad-CAMs of a film's patches, each as much as its patch believes in the class.

One pass over the patches: the features and the logits come out of the same forward call, and going back ends at the
features, so that the backbone is never differentiated. The maps of all classes cost one step through the head each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from covidcxr_tf.classifiers import to_probabilities
from covidcxr_tf.errors import RunFailed
from covidcxr_tf.explain.gradcam import Heat, class_logit, last_spatial_layer, scaled
from covidcxr_tf.lungs.patches import patch_counts
from covidcxr_tf.voting import BATCH, Places, Vote, count_votes, patch_batches, places


@dataclass(frozen=True)
class PatchMaps:
    """The Grad-CAMs of a film's patches, for every class.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the prepared film.
    where : Places
        Where the patches lie, and the share of the lung pixels that they cover.
    probabilities : ndarray of float64, (K, classes)
        Of each patch.
    maps : ndarray of float32, (K, classes, h, w)
        Not negative, not scaled, at the features' resolution.
    """

    shape: tuple[int, int]
    where: Places
    probabilities: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32]

    @property
    def vote(self) -> Vote:
        """What the patches say of the film."""
        return count_votes(self.probabilities, self.where.coverage)

    def heat(self, class_index: int) -> Heat:
        """Return the probabilistic Grad-CAM of a class, float32 (S, S) in [0, 1]; see `patch_gradcam`."""
        size = self.where.size
        total = np.zeros(self.shape, dtype=np.float32)
        for (row, column), chance, coarse in zip(
            self.where.corners, self.probabilities[:, class_index], self.maps[:, class_index], strict=True
        ):
            if chance > 0:
                patch = scaled(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR))
                total[row : row + size, column : column + size] += np.float32(chance) * patch
        counts = patch_counts(self.shape, self.where.corners, size)
        return np.clip(total / np.maximum(counts, 1), 0.0, 1.0).astype(np.float32)


def patch_gradcam(
    model: keras.Model,
    image: npt.NDArray[np.uint8],
    class_index: int,
    layer: str | None = None,
    *,
    size: int,
    count: int = 100,
    seed: int = 0,
    independent: bool = False,
    batch_size: int = BATCH,
) -> Heat:
    """Return the probabilistic Grad-CAM of one class over a prepared film.

    The Grad-CAM of each patch, scaled to [0, 1], times the probability that the patch gives the class, is laid where
    the patch was cut out; each pixel takes the mean over the patches that cover it.

    Parameters
    ----------
    model : keras.Model
        Of patches: flat graph, (N, size, size, C) to float32 logits (N, classes).
    image : ndarray of uint8, (S, S, C)
        The prepared film, black outside the lungs.
    class_index : int
        As for `gradcam`.
    layer : str, optional
        Layer whose activations are weighted; omitted: the last one with rows and columns.
    size, count, seed : int
        Of the patches: rows and columns, number K, seed of their places. Those of the vote give the patches that
        voted.
    independent : bool
        As for `gradcam`.
    batch_size : int
        Patches in one forward pass.

    Returns
    -------
    ndarray of float32, (S, S)
        In [0, 1], not scaled: 1 where every patch is sure of the class and has its largest heat there; 0 where no
        patch lies. `patch_maps` also tells what share of the lungs is covered.

    Raises
    ------
    RunFailed
        If a map is not finite.
    ValueError
        If the model has no such class, or the patches are larger than the film.

    Source: Oh 2020, equations 3 to 5. Differs from paper: a patch's map is divided by its largest value, and its
    smallest is not taken off, so that "no evidence" stays 0.
    """
    class_logit(model, class_index, independent)
    where = places(image, size, count, seed)
    return patch_maps(model, image, where, layer, independent=independent, batch_size=batch_size).heat(class_index)


def patch_maps(
    model: keras.Model,
    image: npt.NDArray[np.uint8],
    where: Places,
    layer: str | None = None,
    *,
    independent: bool = False,
    batch_size: int = BATCH,
) -> PatchMaps:
    """Return the Grad-CAMs of the patches `where` of a prepared film for all classes; the rest as `patch_gradcam`."""
    call = _maps_and_logits(model, layer or last_spatial_layer(model), independent)
    found = [call(tf.constant(batch)) for batch in patch_batches(image, where, batch_size)]
    maps = np.concatenate([part.numpy() for part, _ in found])
    logits = np.concatenate([part.numpy() for _, part in found]).astype(np.float64)
    if not (np.isfinite(maps).all() and np.isfinite(logits).all()):
        raise RunFailed("the heat map is not finite", remedy="the model's weights hold NaN or infinity: train it again")
    task = "multilabel" if independent else "classification"
    shape = (int(image.shape[0]), int(image.shape[1]))
    return PatchMaps(shape, where, to_probabilities(logits, task), maps)


@functools.lru_cache(maxsize=2)  # tracing a network takes seconds, and many films are explained by one model
def _maps_and_logits(model: keras.Model, layer: str, independent: bool) -> Callable[[Any], tuple[Any, Any]]:
    """Return a compiled function: patches (N, p, p, C) -> Grad-CAMs (N, classes, h, w) and logits (N, outputs)."""
    view = keras.Model(model.input, [model.get_layer(layer).output, model.outputs[0]])
    outputs = int(model.output_shape[-1])
    classes = 2 if outputs == 1 and not independent else outputs
    scores = [class_logit(model, index, independent) for index in range(classes)]

    @tf.function(reduce_retracing=True)
    def call(batch: Any) -> tuple[Any, Any]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(batch)  # a model whose weights are frozen would leave nothing on the tape
            features, logits = view(batch, training=False)
            # A sum over patches: no patch's logit hangs on another patch.
            totals = [tf.reduce_sum(score(logits)) for score in scores]
        activations = tf.cast(features, tf.float32)
        maps = []
        for total in totals:
            slopes = tape.gradient(total, features, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            slopes = tf.cast(slopes, tf.float32)
            weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
            maps.append(tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1)))
        return tf.stack(maps, axis=1), logits

    return call
