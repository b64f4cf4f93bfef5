"""Class activation maps: the features before global average pooling, weighted as the logit weights their means."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import UsageError
from covidcxr_tf.explain.gradcam import Heat, Image, class_logit, scaled

#: Layers that change nothing when a film is judged.
TRANSPARENT = (keras.layers.Dropout,)


def cam(
    model: keras.Model, image: Image, class_index: int, layer: str | None = None, *, independent: bool = False
) -> Heat:
    """Return the class activation map of one class.

    Parameters
    ----------
    model : keras.Model
        Flat graph whose last layers are: features, global average pooling, logits; dropout may lie between.
    image : ndarray of float32, (S, S, C)
        The network's input in [0, 1].
    class_index : int
        As for `gradcam`.
    layer : str, optional
        Not used: the map is exact for one layer only, the one that is pooled.
    independent : bool
        As for `gradcam`.

    Returns
    -------
    ndarray of float32, (S, S)
        In [0, 1], the largest value 1; what speaks against the class is 0.

    Raises
    ------
    UsageError
        If the model is built in another way.
    RunFailed
        If the map is not finite.
    ValueError
        If the model has no such class.

    Source: Zhou 2016, "Learning deep features for discriminative localization", equation 2.
    """
    rows, columns = image.shape[:2]
    coarse = class_map(model, image, class_index, independent=independent).astype(np.float32)
    return scaled(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR))


def class_map(
    model: keras.Model, image: Image, class_index: int, *, independent: bool = False
) -> npt.NDArray[np.float64]:
    """Return the signed map (h, w) at the features' resolution; its mean and the logit's bias make the logit.

    Parameters and errors as for `cam`.
    """
    score = class_logit(model, class_index, independent)
    pooled, logits = _pooling_and_logits(model)
    # One row a channel. `score` picks the class's column, or turns the only one round.
    weights = score(np.asarray(logits.kernel, dtype=np.float64))
    features = keras.Model(model.input, pooled.input)(image[None], training=False)
    return np.asarray(keras.ops.cast(features, "float32"), dtype=np.float64)[0] @ weights


def _pooling_and_logits(model: keras.Model) -> tuple[keras.layers.Layer, keras.layers.Dense]:
    """Return the pooling and the logits layer that directly follows it."""
    logits = model.layers[-1]
    before = _producer(logits.input)
    while isinstance(before, TRANSPARENT):
        before = _producer(before.input)
    fits = isinstance(logits, keras.layers.Dense) and isinstance(before, keras.layers.GlobalAveragePooling2D)
    if not fits or logits.activation is not keras.activations.linear:
        raise UsageError(
            f"a class activation map is not defined for the model '{model.name}': before its logits stands "
            f"'{before.name}'",
            expected="features, global average pooling, logits (model.pooling = 'average', model.head_units = 0)",
            remedy="train such a model, or use --method gradcam, which is the same map where both are defined",
        )
    return before, logits


def _producer(tensor: keras.KerasTensor) -> keras.layers.Layer:
    """Return the layer that a symbolic tensor comes out of."""
    return tensor._keras_history.operation
