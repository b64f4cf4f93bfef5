"""What a network sees before it answers: the channel means of one layer, beside its logits."""

from __future__ import annotations

import keras

from covidcxr_tf.catalog import ARCHS
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import cam_layer
from covidcxr_tf.models.layers import MEAN_OF_SIDES


def heat_layer(model: keras.Model, arch: str) -> str | None:
    """Return the layer that heat maps are drawn from and a new gate is fitted on, or None where there is no such layer.

    It is the mean of both sides where there is one, else the layer that the architecture's file names.
    """
    names = {layer.name for layer in model.layers}
    if MEAN_OF_SIDES in names:
        return MEAN_OF_SIDES
    name = cam_layer(arch) if arch in ARCHS else None
    return name if name in names else None


def sides(model: keras.Model) -> int:
    """Return how many pictures the network sees of each film: 2 where its mirror image is one of them, else 1."""
    return 2 if any(layer.name == MEAN_OF_SIDES for layer in model.layers) else 1


def with_channel_means(model: keras.Model, layer: str) -> keras.Model:
    """Return a network over the same weights with two outputs: logits, and the channel means of a layer.

    Parameters
    ----------
    model : keras.Model
        Flat graph.
    layer : str
        One with rows, columns and channels; its means are float32 (N, channels).

    Raises
    ------
    WeightsError
        If the model has no such layer.
    """
    try:
        activations = model.get_layer(layer).output
    except ValueError:
        raise WeightsError(f"has no layer '{layer}'", expected="the layer that its gate was fitted on") from None
    means = keras.layers.GlobalAveragePooling2D(dtype="float32", name=f"means_of_{layer}")(activations)
    return keras.Model(model.inputs, [model.outputs[0], means])
