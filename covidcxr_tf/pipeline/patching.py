"""Patches cut from prepared films within tf.data, centred in the lungs.

Source: Oh 2020, section II.B: random patches of 224 px out of masked films of 1024 px.
Differs from paper: the authors' loader draws row and column of a centre independently, so that it can leave the lung;
here a pixel is drawn. A patch that would cross the film's border is moved inside instead of being filled with black.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

#: Pixels drawn, at least and for each patch, before the first ones inside the lungs are taken. Lungs that were found
#: cover 2 % of a film at least: fewer than five of 2048 then fall inside once in 10^12 films, and fewer than n of 410 n
#: (n > 5) more seldom still.
DRAWS, DRAWS_A_PATCH = 2048, 410


def cut_patches(images: Any, size: int, count: int, seed: Any) -> Any:
    """Return patches uint8 (N * count, size, size, C) of films uint8 (N, S, S, C), film by film.

    Parameters
    ----------
    images : tensor
        Films that are 0 in all channels outside the lungs (``lungs = "mask_whole"``); a film without any other pixel
        is cut anywhere.
    size : int
        Rows and columns of a patch, at most S.
    count : int
        Patches a film.
    seed : tensor
        Integers (2,), stateless: the same seed and films give the same patches.
    """
    corners = draw_corners(images, size, count, seed)
    films = tf.repeat(tf.range(tf.shape(images)[0]), count)
    channels = images.shape[-1]

    def one(place: tuple[Any, Any]) -> Any:
        film, corner = place
        return tf.slice(images[film], [corner[0], corner[1], 0], [size, size, channels])

    signature = tf.TensorSpec((size, size, channels), images.dtype)
    return tf.map_fn(one, (films, corners), fn_output_signature=signature)


def draw_corners(images: Any, size: int, count: int, seed: Any) -> Any:
    """Return the top left corners int32 (N * count, 2) of patches centred on drawn lung pixels."""
    number, side = tf.shape(images)[0], images.shape[1]
    draws = DRAWS if count <= DRAWS // DRAWS_A_PATCH + 1 else DRAWS_A_PATCH * count
    drawn = tf.random.stateless_uniform([number, draws, 2], seed, 0, side, tf.int32)
    inside = tf.reduce_any(tf.gather_nd(images, drawn, batch_dims=1) > 0, axis=-1)
    # The first `count` pixels inside; where there are fewer, the first outside fill up.
    rank = tf.where(inside, 0, draws) + tf.range(draws)
    _, first = tf.math.top_k(-rank, k=count)
    centres = tf.gather(drawn, first, batch_dims=1)
    corners = tf.clip_by_value(centres - size // 2, 0, side - size)
    return tf.reshape(corners, [-1, 2])
