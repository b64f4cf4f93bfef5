"""The one path for pixels as TensorFlow operations, for the exported graph.

Same names as the NumPy functions. CLAHE, BEASF, equalisation, histogram matching and everything about the lungs are
bit-equal to them. `resize` is so too on the CPUs it was tried on, but that hangs on the order of float64 sums, and a
GPU may add otherwise; `model_input` therefore settles the last bits (see `stack.to_levels`) before it rounds to levels.
Compile with ``jit_compile=False``.

Not `tf.image.resize`: it keeps its weights in float32 and is up to .004 grey levels off PIL, which flips one level
in 400 where films are reduced by a whole factor; here the weights are PIL's, in float64.
"""

from __future__ import annotations

import tensorflow as tf

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.imaging.graph_levels import beasf, clahe, divide, equalize, histogram, match_histogram, universal
from covidcxr_tf.imaging.graph_lungs import (
    box_around,
    box_within_pixels,
    crop,
    lung_region,
    lungs_found,
    mask_film,
    region_at,
)
from covidcxr_tf.imaging.histogram import Counts
from covidcxr_tf.imaging.resize import Method
from covidcxr_tf.imaging.stack import FINE

__all__ = [
    "beasf",
    "box_around",
    "channels",
    "clahe",
    "crop",
    "equalize",
    "film_levels",
    "histogram",
    "lung_region",
    "lungs_found",
    "mask_film",
    "match_histogram",
    "model_input",
    "region_at",
    "resize",
    "to_levels",
    "to_uint8",
    "universal",
]


def to_uint8(film: tf.Tensor) -> tf.Tensor:
    """Return the film as 8-bit levels, halves to even; twin of `levels.to_uint8`.

    Parameters
    ----------
    film : float32 [...]
        What lies outside [0, 1] is clipped.

    Returns
    -------
    uint8 [...]
    """
    return tf.cast(tf.clip_by_value(tf.round(film * 255.0), 0.0, 255.0), tf.uint8)


def to_levels(film: tf.Tensor) -> tf.Tensor:
    """Return a resized film as 8-bit levels with ties settled; twin of `stack.to_levels`."""
    return tf.cast(_in_steps(film, 1), tf.uint8)


def _in_steps(film: tf.Tensor, steps: int) -> tf.Tensor:
    fine = tf.round(film * (255.0 * FINE))
    return tf.clip_by_value(tf.round(fine * (steps / FINE)), 0.0, 255.0 * steps)


def film_levels(film: tf.Tensor, cfg: ImageConfig) -> tf.Tensor:
    """Return a resized film as `channels` takes it, uint8 or uint16 [H, W]; twin of `stack.film_levels`."""
    return to_levels(film) if cfg.level_steps == 1 else tf.cast(_in_steps(film, cfg.level_steps), tf.uint16)


def whole_levels(image: tf.Tensor, cfg: ImageConfig) -> tf.Tensor:
    """Return `film_levels` as uint8 [H, W]; twin of `stack.whole_levels`."""
    if cfg.level_steps == 1:
        return image
    return tf.cast(tf.round(tf.cast(image, tf.float32) * (1.0 / cfg.level_steps)), tf.uint8)


def resize(
    film: tf.Tensor, size: tuple[int, int], method: Method = "bilinear", box: tf.Tensor | None = None
) -> tf.Tensor:
    """Return the film in another size, antialiased; twin of `resize.resize`.

    Parameters
    ----------
    film : float32 [H, W], [0, 1]
    size : (rows, columns)
    method : "bilinear" or "cubic"
    box : float64 [4], optional
        Fractions top, left, bottom, right: the part of the film that is wanted, to an eighth of a pixel.

    Returns
    -------
    float32 [rows, columns], [0, 1]
        Equal to PIL's; at most the last bit of float32 apart where another machine adds in another order.
    """
    rows, columns = size
    height, width = tf.shape(film)[0], tf.shape(film)[1]
    top, left, bottom, right = _in_pixels(box, height, width)
    # As there: along the rows first, summed in float64, kept in float32 in between.
    across = _weighted(_weights(width, left, right, columns, method), tf.transpose(film))
    resized = _weighted(_weights(height, top, bottom, rows, method), tf.transpose(across))
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 1.0), (rows, columns))


def _weighted(weights: tf.Tensor, film: tf.Tensor) -> tf.Tensor:
    """Return float32 weights @ film, summed in float64 over the few weights that are not 0."""
    product = tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(weights), tf.cast(film, tf.float64))
    return tf.cast(product, tf.float32)


def _in_pixels(box: tf.Tensor | None, height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return top, left, bottom, right in pixels, float64 []: the whole film without a box."""
    if box is not None:
        return box_within_pixels(box, height, width)
    nothing = tf.constant(0.0, tf.float64)
    return nothing, nothing, tf.cast(height, tf.float64), tf.cast(width, tf.float64)


def _weights(length: tf.Tensor, start: tf.Tensor, end: tf.Tensor, wanted: int, method: Method) -> tf.Tensor:
    """Return float64 [wanted, length]: the share of each source pixel in each one of [start, end); rows sum to 1.

    Each operation stands in PIL's order, as the last bit of a weight decides how a float32 half is rounded.
    """
    one = tf.constant(1.0, tf.float64)
    scale = divide(end - start, wanted * one)
    centres = start + (tf.range(wanted, dtype=tf.float64) + 0.5) * scale
    offset = tf.cast(tf.range(length), tf.float64) - centres[:, tf.newaxis] + 0.5
    distance = tf.abs(offset * divide(one, tf.maximum(scale, 1.0)))
    if method == "bilinear":
        weights = tf.maximum(1.0 - distance, 0.0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1.0
        far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        weights = tf.where(distance < 1.0, near, tf.where(distance < 2.0, far, 0.0))
    return weights / tf.cumsum(weights, axis=1)[:, -1:]


def channels(image: tf.Tensor, cfg: ImageConfig, reference_histogram: tf.Tensor | Counts | None = None) -> tf.Tensor:
    """Return the channels that the config names, in its order; twin of `stack.channels`.

    Parameters
    ----------
    image : uint8 or uint16 [H, W]
        Of `film_levels`.
    cfg : ImageConfig
    reference_histogram : int [256], optional
        Pixel counts that the image is matched to first.

    Returns
    -------
    uint8 [H, W, C]
    """
    whole = whole_levels(image, cfg)
    if reference_histogram is not None:
        whole = match_histogram(whole, reference_histogram)
        image = whole if cfg.level_steps == 1 else tf.cast(whole, tf.uint16) * cfg.level_steps
    make = {
        "raw": lambda: whole,
        "clahe": lambda: clahe(image, cfg.clip_limit, cfg.tiles, cfg.redistribution, cfg.level_steps),
        "beasf": lambda: beasf(whole, cfg.gamma, cfg.compat),
        "equalize": lambda: equalize(whole),
        "universal": lambda: universal(whole, cfg.universal_gamma),
    }
    made = {name: make[name]() for name in dict.fromkeys(cfg.channels)}  # each once: a channel may repeat
    return tf.stack([made[name] for name in cfg.channels], axis=-1)


def model_input(
    film: tf.Tensor,
    cfg: ImageConfig,
    box: tf.Tensor | None = None,
    region: tf.Tensor | None = None,
    reference_histogram: tf.Tensor | Counts | None = None,
) -> tf.Tensor:
    """Return what a network gets of a film, before the division by 255; twin of `stack.model_input`.

    Parameters
    ----------
    film : float32 [H, W], [0, 1], bone bright
        H and W may be unknown while tracing.
    cfg : ImageConfig
    box : float64 [4], optional
        Fractions top, left, bottom, right, as `box_around` gives them; the whole film where None, and always with
        ``cfg.lungs == "mask_whole"``.
    region : uint8 [h, w], optional
        Masks the film (``cfg.lungs == "mask"``) or the channels (``"mask_whole"``) where it covers at least 2 % of it.
    reference_histogram : int [256], optional
        See `channels`.

    Returns
    -------
    uint8 [size, size, C]
    """
    if cfg.lungs == "mask" and region is not None:
        film = tf.where(lungs_found(region), mask_film(film, region), film)
    size = (cfg.size, cfg.size)
    if box is None or cfg.lungs == "mask_whole":
        film = resize(film, size)
    else:
        film = resize(film, size, box=box) if cfg.lung_edges == "mass" else resize(crop(film, box), size)
    stacked = channels(film_levels(film, cfg), cfg, reference_histogram)
    if cfg.lungs == "mask_whole" and region is not None:
        inside = region_at(region, (cfg.size, cfg.size))[..., tf.newaxis]
        stacked = tf.where(lungs_found(region), stacked * inside, stacked)
    return stacked
