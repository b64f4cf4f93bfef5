"""Batch normalisation worked into the convolutions around it: the same network with fewer passes over memory.

In inference batch normalisation is ``scale * x + shift`` a channel, and so is what a convolution's kernel and bias can
do. A normalisation that directly follows a layer which nothing else reads goes into that layer. One that follows a
concatenation, as in DenseNets, becomes a depthwise convolution of one pixel, which TensorFlow runs together with its
bias and the ReLU after it in one pass over memory instead of three. A 1x1 convolution before an average pooling changes
places with it: both are linear and meet on no axis, and after the pooling there are fewer pixels to convolve.
"""

from __future__ import annotations

from dataclasses import dataclass
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


class Scaled(keras.layers.DepthwiseConv2D):
    """A scale and a shift for each channel, in place of a normalisation and called as one."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the features scaled and shifted."""
        return super().call(inputs)


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
    plan = _plan(model, keep)

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):  # an operation without weights
            return layer.__class__.from_config(layer.get_config())
        if layer.name in plan.gone:
            return Passed(name=layer.name, dtype=_policy(layer, variant))
        if layer.name in plan.depthwise:
            return Scaled(1, name=layer.name, dtype=_policy(layer, variant))
        source = model.get_layer(plan.swapped.get(layer.name, layer.name))
        config = {**source.get_config(), "name": layer.name}
        if source.name in plan.pairs:
            config["use_bias"] = True
        if not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = _policy(source, variant)
        return source.__class__.from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        if layer.weights and layer.name not in plan.gone:
            copy.get_layer(plan.swapped.get(layer.name, layer.name)).set_weights(_weights(model, layer, plan))
    copy.trainable = False
    return copy


@dataclass(frozen=True)
class _Plan:
    """What becomes of the layers, by name."""

    pairs: dict[str, str]
    """Linear layer -> the normalisation after it, which it takes over."""
    depthwise: frozenset[str]
    """Normalisations that become depthwise convolutions."""
    swapped: dict[str, str]
    """Convolution -> pooling and the other way round."""
    gone: frozenset[str]


def _plan(model: keras.Model, keep: str | None) -> _Plan:
    pairs = foldable(model, keep)
    folded = frozenset(pairs.values())
    pooled = pooled_first(model, keep)
    dropped = {layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    both_ways = pooled | {pool: convolution for convolution, pool in pooled.items()}
    return _Plan(pairs, depthwise_norms(model) - folded, both_ways, folded | dropped)


def depthwise_norms(model: keras.Model) -> frozenset[str]:
    """Return the batch normalisations of rows, columns and channels, in this order, by name."""
    norms = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    last = keras.config.image_data_format() == "channels_last"
    return frozenset(norm.name for norm in norms if last and len(norm.input.shape) == 4 and norm.axis in (-1, 3))


def pooled_first(model: keras.Model, keep: str | None = None) -> dict[str, str]:
    """Return 1x1 convolution -> the average pooling after it that may as well come before it, by name."""
    found = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D) or layer.activation is not keras.activations.linear:
            continue
        pointwise = (*layer.kernel_size, *layer.strides) == (1, 1, 1, 1)
        pool = sole_reader(model, layer, keep) if pointwise else None
        if not isinstance(pool, keras.layers.AveragePooling2D) or pool.data_format != layer.data_format:
            continue
        if min(pool.strides) > 1:
            found[layer.name] = pool.name
    return found


def foldable(model: keras.Model, keep: str | None = None) -> dict[str, str]:
    """Return linear layer -> the batch normalisation that can go into it, by name."""
    inside = {id(one) for one in model.operations}
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


def sole_reader(model: keras.Model, layer: Any, keep: str | None = None) -> Any:
    """Return the one layer or operation that reads `layer`; None if others, an output or the caller (`keep`) do too."""
    inside = {id(one) for one in model.operations}
    readers = [node.operation for node in layer._outbound_nodes if id(node.operation) in inside]
    seen = layer.name == keep or any(layer.output is tensor for tensor in model.outputs)
    return readers[0] if len(readers) == 1 and not seen else None


def scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return what a batch normalisation multiplies each channel by and then adds, float64 (channels,) each."""
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = -mean * scale
    return scale, shift if norm.beta is None else shift + np.asarray(norm.beta, np.float64)


def _weights(model: keras.Model, layer: Any, plan: _Plan) -> list[np.ndarray]:
    """Return the weights of what stands for `layer` in the copy."""
    if layer.name in plan.depthwise:
        scale, shift = scale_and_shift(layer)
        return [scale.astype(np.float32).reshape(1, 1, -1, 1), shift.astype(np.float32)]
    if layer.name not in plan.pairs:
        return list(layer.get_weights())
    scale, shift = scale_and_shift(model.get_layer(plan.pairs[layer.name]))
    kernel = np.asarray(layer.kernel, np.float64)
    # A transposed convolution has its outputs on the last axis but one.
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    kernel = kernel * (scale[:, np.newaxis] if transposed else scale)
    bias = 0.0 if layer.bias is None else np.asarray(layer.bias, np.float64) * scale
    return [kernel.astype(np.float32), (bias + shift).astype(np.float32)]


def _policy(layer: keras.layers.Layer, variant: Variant) -> str:
    half = variant == "bfloat16" and layer.name not in FULL_PRECISION
    return "mixed_bfloat16" if half else "float32"
