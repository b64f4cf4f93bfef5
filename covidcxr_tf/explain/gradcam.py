"""Grad-CAM, Grad-CAM++, Score-CAM and gradient saliency through tf-keras-vis, with one way to place and scale the map.

The library computes each map at the resolution of the layer; we place and scale it ourselves. Its own enlargement puts
the first cell's centre on the first pixel, which at 10x10 cells on 320 pixels moves heat by up to 16 pixels; ours keeps
each cell over the pixels it saw. Its own scaling takes the minimum off, by which "no evidence" could turn into some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam

from covidcxr_tf.errors import RunFailed

Heat = npt.NDArray[np.float32]
Image = npt.NDArray[np.float32]

MAX_CHANNELS = 128
"""Channels that Score-CAM tries; each costs a forward pass, the 1024 of a DenseNet121 a minute or two a film."""

MAX_MASKED_BYTES = 512 * 2**20
"""Memory of Score-CAM's masked copies of the film; the library holds all of them at once, about three times over."""


def gradcam(
    model: keras.Model, image: Image, class_index: int, layer: str | None = None, *, independent: bool = False
) -> Heat:
    """Return the Grad-CAM heat map of one class.

    Parameters
    ----------
    model : keras.Model
        Flat graph, float32 logits (1, C) out.
    image : ndarray of float32, (S, S, C)
        The network's input in [0, 1].
    class_index : int
        The class whose raw logit is looked into. A model with one logit has two classes: 1 is it, 0 is minus it.
    layer : str, optional
        Layer whose activations are weighted; omitted: the last one with rows and columns.
    independent : bool
        Each logit is a finding of its own (multilabel), so that a single logit is class 0.

    Returns
    -------
    ndarray of float32, (S, S)
        In [0, 1], the largest value 1; all zero where nothing speaks for the class.

    Raises
    ------
    RunFailed
        If the map is not finite (a model with NaN weights).
    ValueError
        If the model has no such class.

    Source: Selvaraju 2017, "Grad-CAM", equations 1 and 2.
    """
    score = class_logit(model, class_index, independent)
    return _cam(Gradcam, model, image, lambda outputs: score(outputs), layer)


def gradcam_plus_plus(
    model: keras.Model, image: Image, class_index: int, layer: str | None = None, *, independent: bool = False
) -> Heat:
    """Return the Grad-CAM++ heat map of one class; parameters, result and errors as for `gradcam`.

    The method differentiates ``exp(logit)``. That factor is one number for the whole map and scaling takes it out
    again, so the logit is shifted to 0 beforehand: a logit of 90 would overflow and one of -110 would vanish.

    Source: Chattopadhay 2018, "Grad-CAM++", equations 7 and 19.
    """
    score = class_logit(model, class_index, independent)

    def shifted(outputs: tf.Tensor) -> tf.Tensor:
        logit = score(outputs)
        return logit - tf.stop_gradient(logit)

    return _cam(GradcamPlusPlus, model, image, shifted, layer)


def scorecam(
    model: keras.Model,
    image: Image,
    class_index: int,
    layer: str | None = None,
    *,
    independent: bool = False,
    max_channels: int = MAX_CHANNELS,
    batch_size: int = 32,
) -> Heat:
    """Return the Score-CAM heat map of one class; the other parameters, result and errors as for `gradcam`.

    Each channel of the layer, scaled to [0, 1], dims the film in turn; the channel's weight is the probability that
    the model gives the class on the dimmed film (softmax over rival classes; sigmoid for one logit and for findings).

    Parameters
    ----------
    max_channels : int
        Only this many channels, those of the largest spread, are tried ("Faster Score-CAM"), and fewer where the
        dimmed copies of a very large input would pass `MAX_MASKED_BYTES`. One forward pass a channel.
    batch_size : int
        Dimmed films in one forward pass.

    Source: Wang 2020, "Score-CAM", algorithm 1. Differs from paper: no baseline is taken off, and the cap.
    """
    activations = model.get_layer(layer or last_spatial_layer(model)).output
    # SciPy, by which the library enlarges activations, does not know bfloat16.
    full_precision = keras.layers.Activation("linear", dtype="float32")
    full_precision(activations)
    affordable = max(1, MAX_MASKED_BYTES // max(1, image.nbytes))
    channels = min(max_channels, int(activations.shape[-1]), affordable)
    return _cam(
        Scorecam,
        _against_rivals(model, class_index, independent),
        image,
        lambda outputs: outputs[:, 1],
        full_precision,
        max_N=channels,
        batch_size=batch_size,
    )


def saliency(
    model: keras.Model, image: Image, class_index: int, layer: str | None = None, *, independent: bool = False
) -> Heat:
    """Return, pixel by pixel, how strongly the class's logit answers to a change of the input.

    Parameters, result and errors as for `gradcam`; `layer` is not used. The value is the largest absolute derivative
    over the channels.

    Source: Simonyan 2014, "Deep inside convolutional networks", section 3.1.
    """
    score = class_logit(model, class_index, independent)
    # The library calls with a list of inputs; a model that is not built on a list warns of that.
    view = keras.Model(model.inputs, model.outputs)
    heat = Saliency(view, clone=False)(lambda outputs: score(outputs), image[None], normalize_map=False)
    return scaled(np.asarray(heat, dtype=np.float64)[0])


def last_spatial_layer(model: keras.Model) -> str:
    """Return the name of the last layer whose output has rows, columns and channels.

    Raises
    ------
    ValueError
        If there is none (a purely dense model).
    """
    for layer in reversed(model.layers):
        shape = getattr(layer.output, "shape", ())
        if len(shape) == 4 and tuple(shape)[1] != 1:
            return str(layer.name)
    raise ValueError("the model has no layer with rows and columns; use saliency or lime")


def class_logit(model: keras.Model, class_index: int, independent: bool) -> Callable[[Any], Any]:
    """Return the function from logits (N, C) to the logit (N,) of one class, as tensors or arrays.

    Raises
    ------
    ValueError
        If the model has no such class; one with one logit has two, unless `independent`.
    """
    width = int(model.output_shape[-1])
    one_for_two = width == 1 and not independent
    classes = 2 if one_for_two else width
    if not 0 <= class_index < classes:
        raise ValueError(f"class index {class_index} is not one of the model's {classes} classes")
    if one_for_two:
        return (lambda outputs: outputs[:, 0]) if class_index == 1 else (lambda outputs: -outputs[:, 0])
    return lambda outputs: outputs[:, class_index]


def scaled(heat: npt.NDArray[np.floating]) -> Heat:
    """Return `heat` as float32 in [0, 1]: what is below 0 becomes 0, the largest value 1; all zero stays all zero.

    Raises
    ------
    RunFailed
        If a value is not finite.
    """
    positive = np.maximum(np.asarray(heat, dtype=np.float64), 0.0)
    peak = float(positive.max(initial=0.0))
    if not np.isfinite(peak):
        raise RunFailed("the heat map is not finite", remedy="the model's weights hold NaN or infinity: train it again")
    return (positive / peak if peak > 0 else positive).astype(np.float32)


def _cam(
    method: type,
    model: keras.Model,
    image: Image,
    score: Callable[[tf.Tensor], tf.Tensor],
    layer: str | keras.layers.Layer | None,
    **options: Any,
) -> Heat:
    cam = method(model, clone=False)(
        score,
        image[None],
        penultimate_layer=layer or last_spatial_layer(model),
        seek_penultimate_conv_layer=False,  # the layer named is meant, even where it is an activation
        expand_cam=False,
        normalize_cam=False,
        **options,
    )
    rows, columns = image.shape[:2]
    coarse = np.asarray(cam, dtype=np.float32)[0]
    return scaled(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR))


def _against_rivals(model: keras.Model, class_index: int, independent: bool) -> keras.Model:
    """Return a view of `model` whose `predict` gives the class's logit (column 1) beside all its rivals' (column 0).

    Score-CAM in the library takes a softmax over whatever `predict` gives; over these two columns it is the class's
    probability in each of our three kinds of model.
    """
    score = class_logit(model, class_index, independent)
    alone = independent or int(model.output_shape[-1]) == 1
    view = keras.Model(model.inputs, model.outputs)

    def predict(batch: list[npt.NDArray[np.float32]], batch_size: int) -> npt.NDArray[np.float32]:
        # The model's own predict, as it keeps its traced function from film to film; silent, as stdout is for results.
        logits = model.predict(batch[0], batch_size=batch_size, verbose=0)
        if alone:
            rivals = np.zeros(len(logits))
        else:
            rivals = np.logaddexp.reduce(np.delete(logits, class_index, axis=1).astype(np.float64), axis=1)
        return np.stack([rivals, score(logits)], axis=1).astype(np.float32)

    view.predict = predict
    return view
