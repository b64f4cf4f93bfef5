"""Batch normalisation worked into the convolution before it: the same network with fewer passes over memory.

In inference batch normalisation is ``scale * x + shift`` a channel, and so is what a convolution's kernel and bias can
do. Only a normalisation that directly follows a layer which nothing else reads can go; those of DenseNets that follow a
concatenation stay.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np

Variant = Literal["float32", "bfloat16"]

LINEAR = (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense)
#: Layers that compute in float32 in every variant: one subtraction in half precision would cost grey levels.
FULL_PRECISION = ("normalise", "logits")


class Passed(keras.layers.Layer):
    """In place of a layer whose work another one has taken over, or that does nothing in inference."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return what came in."""
        return inputs


def inference_copy(model: keras.Model, variant: Variant = "float32", *, keep: str | None = None) -> keras.Model:
    """Return a copy for inference alone: normalisations folded, dropout gone, in the wanted precision.

    Parameters
    ----------
    model : keras.Model
        Flat functional graph.
    variant : "float32" or "bfloat16"
        What it computes in; weights stay float32.
    keep : str, optional
        A layer whose output must stay what it is, as a heat map is drawn from it.

    Returns
    -------
    keras.Model
        Layers of the same names.
    """
    pairs = foldable(model, keep)
    folded = {norm: linear for linear, norm in pairs.items()}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in folded or isinstance(layer, keras.layers.Dropout):
            return Passed(name=layer.name, dtype=_policy(layer, variant))
        config = layer.get_config()
        if layer.name in pairs:
            config["use_bias"] = True
        if not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = _policy(layer, variant)
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        if layer.name in pairs:
            copy.get_layer(layer.name).set_weights(_folded(layer, model.get_layer(pairs[layer.name])))
        elif layer.name not in folded and not isinstance(layer, keras.layers.Dropout) and layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    copy.trainable = False
    return copy


def foldable(model: keras.Model, keep: str | None = None) -> dict[str, str]:
    """Return linear layer -> the batch normalisation that can go into it, by name."""
    inside = {id(layer) for layer in model.layers}
    outputs = {id(tensor) for tensor in model.outputs}
    found = {}
    for norm in model.layers:
        if not isinstance(norm, keras.layers.BatchNormalization) or isinstance(norm.input, (list, tuple)):
            continue
        before = norm.input._keras_history.operation
        readers = [node for node in getattr(before, "_outbound_nodes", ()) if id(node.operation) in inside]
        linear = isinstance(before, LINEAR) and before.activation is keras.activations.linear
        last_axis = norm.axis in (-1, len(norm.input.shape) - 1)
        seen = before.name == keep or id(norm.input) in outputs
        if linear and last_axis and len(readers) == 1 and not seen:
            found[before.name] = norm.name
    return found


def scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return what a batch normalisation multiplies each channel by and then adds, float64 (channels,) each."""
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = -mean * scale
    return scale, shift if norm.beta is None else shift + np.asarray(norm.beta, np.float64)


def _folded(linear: Any, norm: Any) -> list[np.ndarray]:
    scale, shift = scale_and_shift(norm)
    kernel = np.asarray(linear.kernel, np.float64)
    # A transposed convolution has its outputs on the last axis but one.
    transposed = isinstance(linear, keras.layers.Conv2DTranspose)
    kernel = kernel * (scale[:, np.newaxis] if transposed else scale)
    bias = 0.0 if linear.bias is None else np.asarray(linear.bias, np.float64) * scale
    return [kernel.astype(np.float32), (bias + shift).astype(np.float32)]


def _policy(layer: keras.layers.Layer, variant: Variant) -> str:
    half = variant == "bfloat16" and layer.name not in FULL_PRECISION
    return "mixed_bfloat16" if half else "float32"
