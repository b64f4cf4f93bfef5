"""Networks as functions without variables: weights become constants, which graph optimisers can fold and reorder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.errors import RunFailed
from covidcxr_tf.export.folding import Variant, inference_copy
from covidcxr_tf.export.rules import Rules, gate_score
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.anatomy import LEFT_LUNG, RIGHT_LUNG
from covidcxr_tf.models import features

Frozen = Callable[..., list[tf.Tensor]]

NO_SCORE = -1.0
"""What stands for the score of a gate that the model does not have."""

MAX_BYTES = 1_800_000_000
"""Weights that fit in one file of constants: protocol buffers end at 2 GiB."""


def frozen_classifier(loaded: LoadedModel, variant: Variant = "float32") -> Frozen:
    """Return the network as a function without variables.

    Parameters
    ----------
    loaded : LoadedModel
    variant : "float32" or "bfloat16"

    Returns
    -------
    callable
        From images float32 [N, S, S, C] in [0, 1] and class indices int32 [N] (-1: the predicted class) to logits
        float32 [N, K], the Grad-CAM of these classes at the resolution of `heat_layer`, float32 [N, rows, columns], not
        negative and not scaled, the class indices that were meant, int32 [N], and the gate's scores, float32 [N], -1
        where the model has no gate. Where only the logits are used, TensorFlow leaves the other operations out.

    Notes
    -----
    Source: Selvaraju 2017, "Grad-CAM", equations 1 and 2, as `covidcxr_tf.explain.gradcam` has them.
    """
    layer = heat_layer(loaded.model, loaded.arch)
    network = inference_copy(loaded.model, variant, keep=layer)
    both = keras.Model(network.inputs, [network.get_layer(layer).output, network.outputs[0]])
    rules, gate = Rules.of(loaded), loaded.gate
    if gate is not None and gate.layer != layer:
        raise RunFailed(f"the gate is about the layer {gate.layer}", expected=f"that of the heat maps, {layer}")

    def score_of(features: tf.Tensor) -> tf.Tensor:
        if gate is None:
            return tf.fill(tf.shape(features)[:1], NO_SCORE)
        return gate_score(gate, tf.reduce_mean(tf.cast(features, tf.float32), axis=[1, 2]))

    def classify(images: tf.Tensor, class_index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            features, logits = both(images, training=False)
            index = rules.asked(logits, class_index)
            score = rules.score(logits, index)
        slopes = tf.cast(tape.gradient(score, features, unconnected_gradients="zero"), tf.float32)
        weights = tf.reduce_mean(slopes, axis=[1, 2], keepdims=True)
        cells = tf.nn.relu(tf.reduce_sum(tf.cast(features, tf.float32) * weights, axis=-1))
        return logits, cells, index, score_of(features)

    image = tf.TensorSpec([None, *loaded.model.input_shape[1:]], tf.float32)
    return freeze(classify, network, image, tf.TensorSpec([None], tf.int32))


def frozen_lungs(lungs: LungFinder) -> Frozen:
    """Return the lung network as a function: images float32 [1, s, s, C] to lung probabilities float32 [1, s, s]."""
    network = inference_copy(lungs.model)

    def shares(images: tf.Tensor) -> tf.Tensor:
        logits = network(images, training=False)
        if lungs.finds_heart:
            found = tf.nn.softmax(logits)
            return found[..., LEFT_LUNG] + found[..., RIGHT_LUNG]
        return tf.sigmoid(logits)[..., 0]

    channels, size = len(lungs.image.channels), lungs.image.size
    return freeze(shares, network, tf.TensorSpec([1, size, size, channels], tf.float32))


def freeze(function: Callable[..., Any], network: keras.Model, *inputs: tf.TensorSpec) -> Frozen:
    """Return `function` with the network's variables as constants; it gives a list of tensors.

    Raises
    ------
    RunFailed
        If there are more weights than one file of constants can hold.
    """
    held = sum(4 * math.prod(weight.shape) for weight in network.weights)
    if held > MAX_BYTES:
        raise RunFailed(
            f"the network {network.name} has {held} bytes of weights", expected=f"at most {MAX_BYTES} for one graph"
        )
    traced = tf.function(function, autograph=False).get_concrete_function(*inputs)
    constant = convert_variables_to_constants_v2(traced, lower_control_flow=False)

    def call(*arguments: tf.Tensor) -> list[tf.Tensor]:
        results = constant(*arguments)
        return list(results) if isinstance(results, (list, tuple)) else [results]

    return call


def heat_layer(model: keras.Model, arch: str) -> str:
    """Return the layer that heat maps are drawn from: the architecture's own, else the last with rows and columns.

    Raises
    ------
    RunFailed
        If the network has no layer with rows and columns.
    """
    named = features.heat_layer(model, arch)
    if named is not None:
        return named
    for layer in reversed(model.layers):
        shape = tuple(getattr(layer.output, "shape", ()))
        if len(shape) == 4 and shape[1] != 1:
            return str(layer.name)
    raise RunFailed("the network has no layer with rows and columns to draw heat maps from")
