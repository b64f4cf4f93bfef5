"""The mean activation of the last features: where a network answers at all, for whatever class."""

from __future__ import annotations

import cv2
import keras
import numpy as np

from covidcxr_tf.explain.gradcam import Heat, Image, class_logit, last_spatial_layer, scaled


def activation(
    model: keras.Model, image: Image, class_index: int, layer: str | None = None, *, independent: bool = False
) -> Heat:
    """Return the mean over the channels of a layer's output, enlarged to the input.

    Parameters
    ----------
    model : keras.Model
    image : ndarray of float32, (S, S, C)
        The network's input in [0, 1].
    class_index : int
        Must be a class of the model, but the map is the same for every class: no logit takes part.
    layer : str, optional
        Layer whose output is averaged; omitted: the last one with rows and columns.
    independent : bool
        As for `gradcam`.

    Returns
    -------
    ndarray of float32, (S, S)
        In [0, 1], the largest value 1; a negative mean (a layer without ReLU) is 0. `explain_film` shows it inside
        the lungs only, as the paper does.

    Raises
    ------
    RunFailed
        If the map is not finite.
    ValueError
        If the model has no such class.

    Notes
    -----
    Source: Kusakunniran 2021, section 2.3. Differs from paper: the text averages "the filters' weights of the last
    convolutional layer", but filters are the same for every film and have no place on it; what its figure 3 shows
    are feature maps, and these are averaged here.
    """
    class_logit(model, class_index, independent)
    features = keras.Model(model.input, model.get_layer(layer or last_spatial_layer(model)).output)
    outputs = keras.ops.cast(features(image[None], training=False), "float32")
    coarse = np.asarray(outputs)[0].mean(axis=-1)
    rows, columns = image.shape[:2]
    return scaled(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR))
