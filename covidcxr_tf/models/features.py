"""What a network sees before it answers: the channel means of one layer, beside its logits."""

from __future__ import annotations

import keras

from covidcxr_tf.errors import WeightsError


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
