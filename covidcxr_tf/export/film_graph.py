"""From a file's bytes to what the network sees, in TensorFlow operations; twin of `LoadedModel.film_input`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from covidcxr_tf.classifiers import NO_LUNGS, OK, UNREADABLE, WHOLE_FILM, LoadedModel
from covidcxr_tf.config import ImageConfig
from covidcxr_tf.export.decode import read_film
from covidcxr_tf.export.frozen import Frozen, frozen_lungs
from covidcxr_tf.export.quality import mask_score
from covidcxr_tf.imaging import graph
from covidcxr_tf.imaging.graph_levels import divide
from covidcxr_tf.lungs.posture import judged

AT_ONCE = 4
"""Films of one request that are prepared at the same time; each may hold 40 Mpx."""

NONE = -1.0
"""What stands for a score that the model does not give."""


class Seen(NamedTuple):
    """Films as the network sees them, the first axis being the film.

    Attributes
    ----------
    levels : uint8 [N, S, S, C]
        All 0 for an unreadable film.
    status : int32 [N]
        0, 1 unreadable, 2 lungs not found and the whole film used.
    lung_box : float32 [N, 4]
        Top, left, bottom, right of what the network sees, as fractions of the film; all 0 for an unreadable film.
    lung_quality : float32 [N]
        Score of the lung region in [0, 1]; -1 where the model has no lung network.
    """

    levels: tf.Tensor
    status: tf.Tensor
    lung_box: tf.Tensor
    lung_quality: tf.Tensor


Preparation = Callable[[tf.Tensor], Seen]


def film_preparation(loaded: LoadedModel) -> Preparation:
    """Return the function from files, string [N], to films as this model sees them."""
    lungs = frozen_lungs(loaded.lungs) if loaded.lungs is not None else None
    shape = (loaded.image.size, loaded.image.size, len(loaded.image.channels))

    def unreadable() -> Seen:
        quality = tf.constant(NONE if lungs is None else 0.0)
        return Seen(tf.zeros(shape, tf.uint8), tf.constant(UNREADABLE), tf.zeros([4]), quality)

    def prepare(content: tf.Tensor) -> Seen:
        film, readable = read_film(content)
        return tf.cond(readable, lambda: _seen(loaded, lungs, film), unreadable)

    kinds = Seen(
        tf.TensorSpec(shape, tf.uint8),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([4], tf.float32),
        tf.TensorSpec([], tf.float32),
    )
    return lambda files: tf.map_fn(prepare, files, fn_output_signature=kinds, parallel_iterations=AT_ONCE)


def tensor_preparation(image: ImageConfig, reference: object) -> Preparation:
    """Return the function from films that are cropped and sized already, float32 [N, S, S, 1], to `Seen`.

    One with a value that is no number is unreadable; what lies outside [0, 1] is clipped.
    """

    def prepare(film: tf.Tensor) -> Seen:
        known = tf.reduce_all(tf.math.is_finite(film))
        levels = graph.channels(graph.film_levels(tf.where(known, film[..., 0], 0.0), image), image, reference)
        box = tf.constant(WHOLE_FILM, tf.float32)
        return Seen(
            tf.where(known, levels, tf.zeros_like(levels)),
            tf.where(known, OK, UNREADABLE),
            tf.where(known, box, tf.zeros_like(box)),
            tf.constant(NONE),
        )

    kinds = Seen(
        tf.TensorSpec((image.size, image.size, len(image.channels)), tf.uint8),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([4], tf.float32),
        tf.TensorSpec([], tf.float32),
    )
    return lambda films: tf.map_fn(prepare, films, fn_output_signature=kinds, parallel_iterations=AT_ONCE)


def fractions(levels: tf.Tensor) -> tf.Tensor:
    """Return the network's input, float32 in [0, 1], of levels uint8: correctly rounded, as NumPy divides."""
    return divide(tf.cast(levels, tf.float32), tf.constant(255.0))


def _seen(loaded: LoadedModel, lungs: Frozen | None, film: tf.Tensor) -> Seen:
    whole = tf.constant(WHOLE_FILM, tf.float64)
    if lungs is None or loaded.lungs is None:
        levels = graph.model_input(film, loaded.image, reference_histogram=loaded.reference)
        return Seen(levels, tf.constant(OK), tf.cast(whole, tf.float32), tf.constant(NONE))
    small = graph.model_input(film, loaded.lungs.image)
    shares = lungs(fractions(small)[tf.newaxis])[0][0]
    region = graph.lung_region(shares)
    region = tf.ensure_shape(region, (loaded.lungs.image.size, loaded.lungs.image.size))
    box, found = graph.box_around(region, shares, loaded.image.lung_edges, loaded.image.lung_margin)
    levels = graph.model_input(film, loaded.image, box, region, loaded.reference)
    used = whole if loaded.image.lungs == "mask_whole" else box
    score = mask_score(region, shares, small[..., 0] if judged(loaded.lungs.image) else None)
    return Seen(levels, tf.where(found, OK, NO_LUNGS), tf.cast(used, tf.float32), score)
