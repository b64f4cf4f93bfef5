"""TensorFlow twins of `lungs.region` and `crop`: region, box, crop and mask, the same pixels."""

from __future__ import annotations

import tensorflow as tf

from covidcxr_tf.imaging.crop import (
    BEYOND,
    DILATION,
    LEAST_SHARE,
    OPENING,
    PIXEL_STEPS,
    SIDE_STEPS,
    THRESHOLD,
    WEIGHTS,
    LungEdges,
)
from covidcxr_tf.imaging.graph_levels import divide


def lung_region(probabilities: tf.Tensor) -> tf.Tensor:
    """Return where the lungs are, a little enlarged; twin of `region.lung_region`.

    Parameters
    ----------
    probabilities : float32 [h, w], [0, 1]

    Returns
    -------
    uint8 [h, w], 0 or 1
    """
    inside = tf.cast(probabilities > THRESHOLD, tf.float32)[tf.newaxis, :, :, tf.newaxis]
    eroded = -tf.nn.max_pool2d(-inside, OPENING, 1, "SAME")
    opened = tf.nn.max_pool2d(eroded, OPENING, 1, "SAME")
    return tf.cast(tf.nn.max_pool2d(opened, DILATION, 1, "SAME")[0, :, :, 0], tf.uint8)


def lungs_found(region: tf.Tensor) -> tf.Tensor:
    """Return a scalar bool: the region covers at least 2 % of the film; twin of `crop.lungs_found`."""
    part, whole = LEAST_SHARE
    count = tf.math.count_nonzero(region)
    return (count > 0) & (count * whole >= part * tf.size(region, out_type=tf.int64))


def lung_box(region: tf.Tensor, margin: float = 0.05) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the bounding box with a margin, and whether lungs were found; twin of `region.lung_box`.

    Parameters
    ----------
    region : uint8 [h, w], 0 or 1
    margin : float
        Added on each side, as a share of the box's own height or width.

    Returns
    -------
    box : float64 [4]
        Top, left, bottom, right as fractions of the film; the whole film where no lungs were found (the NumPy one
        returns None). Keep it in float64 until the crop: float32 can move a border by a pixel.
    found : bool []
    """
    found = lungs_found(region)
    top, bottom = _margined_extent(tf.reduce_any(region > 0, axis=1), margin)
    left, right = _margined_extent(tf.reduce_any(region > 0, axis=0), margin)
    whole = tf.constant([0.0, 0.0, 1.0, 1.0], tf.float64)
    return tf.where(found, tf.stack([top, left, bottom, right]), whole), found


def _margined_extent(occupied: tf.Tensor, margin: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return first and one-past-last True with the margin, as fractions clipped to [0, 1]."""
    flags = tf.cast(occupied, tf.int32)
    length = tf.size(flags, out_type=tf.int64)
    first, last = tf.argmax(flags), length - tf.argmax(flags[::-1])
    extra = tf.constant(margin, tf.float64) * tf.cast(last - first, tf.float64)
    size = tf.cast(length, tf.float64)
    start = divide(tf.cast(first, tf.float64) - extra, size)
    end = divide(tf.cast(last, tf.float64) + extra, size)
    return tf.maximum(start, 0.0), tf.minimum(end, 1.0)


def mass_box(probabilities: tf.Tensor, region: tf.Tensor, margin: float = 0.05) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the box around nearly all of the lungs with a margin, and whether they were found; twin of the other.

    Parameters
    ----------
    probabilities : float32 [h, w], [0, 1]
    region : uint8 [h, w], 0 or 1
    margin : float

    Returns
    -------
    box : float64 [4]
        As of `lung_box`.
    found : bool []
    """
    found = lungs_found(region)
    weight = tf.cast(tf.math.ceil(tf.maximum(2.0 * probabilities - 1.0, 0.0) * float(WEIGHTS)), tf.int64)
    top, bottom = _mass_extent(tf.reduce_sum(weight, axis=1), margin)
    left, right = _mass_extent(tf.reduce_sum(weight, axis=0), margin)
    whole = tf.constant([0.0, 0.0, 1.0, 1.0], tf.float64)
    return tf.where(found, tf.stack([top, left, bottom, right]), whole), found


def _mass_extent(weights: tf.Tensor, margin: float) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(tf.size(weights), tf.float64)
    first, last = _depth(weights), size - _depth(weights[::-1])
    extra = tf.constant(margin, tf.float64) * (last - first)
    # SIDE_STEPS is a power of 2: what Grappler makes of this division is exact.
    start, end = (tf.round(divide(edge, size) * SIDE_STEPS) / SIDE_STEPS for edge in (first - extra, last + extra))
    return tf.maximum(start, 0.0), tf.minimum(end, 1.0)


def _depth(weights: tf.Tensor) -> tf.Tensor:
    sums = tf.cumsum(weights)
    place = tf.argmax(tf.cast(sums * BEYOND > sums[-1], tf.int32))
    here = weights[place]
    part = divide(tf.cast(sums[-1] - BEYOND * (sums[place] - here), tf.float64), tf.cast(BEYOND * here, tf.float64))
    return tf.cast(place, tf.float64) + part


def box_around(
    region: tf.Tensor, probabilities: tf.Tensor, edges: LungEdges, margin: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return `lung_box` or `mass_box`, as the config has it; twin of `region.box_around`."""
    return mass_box(probabilities, region, margin) if edges == "mass" else lung_box(region, margin)


def box_within_pixels(box: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return top, left, bottom, right in pixels, to an eighth, float64 []; twin of `crop.box_within_pixels`."""
    top, bottom = _fine_extent(box[0], box[2], height)
    left, right = _fine_extent(box[1], box[3], width)
    return top, left, bottom, right


def _fine_extent(first: tf.Tensor, last: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(length, tf.float64)
    start, end = (tf.round(edge * size * PIXEL_STEPS) / PIXEL_STEPS for edge in (first, last))
    start = tf.clip_by_value(start, 0.0, size - 1.0)
    return start, tf.minimum(tf.maximum(end, start + 1.0), size)


def crop(film: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Return the part of the film inside the box, outwards rounded to at least one pixel; twin of `crop.crop`.

    Parameters
    ----------
    film : any dtype [H, W, ...]
    box : float64 [4]
        Top, left, bottom, right as fractions of the film.

    Returns
    -------
    the film's dtype [h, w, ...]
    """
    box = tf.cast(box, tf.float64)
    top, bottom = _pixel_extent(box[0], box[2], tf.shape(film)[0])
    left, right = _pixel_extent(box[1], box[3], tf.shape(film)[1])
    return film[top:bottom, left:right]


def _pixel_extent(first: tf.Tensor, last: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(length, tf.float64)
    start = tf.clip_by_value(tf.cast(tf.floor(first * size), tf.int32), 0, length - 1)
    end = tf.minimum(tf.maximum(tf.cast(tf.math.ceil(last * size), tf.int32), start + 1), length)
    return start, end


def mask_film(film: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
    """Return the film with everything outside the region at 0; twin of `crop.mask_film`.

    Parameters
    ----------
    film : float32 [H, W], [0, 1]
    region : uint8 [h, w], 0 or 1

    Returns
    -------
    float32 [H, W], [0, 1]
    """
    return film * tf.cast(region_at(region, tf.shape(film, out_type=tf.int64)), film.dtype)


def region_at(region: tf.Tensor, shape: tf.Tensor | tuple[int, int]) -> tf.Tensor:
    """Return the region at another resolution; twin of `crop.region_at`.

    Parameters
    ----------
    region : uint8 [h, w], 0 or 1
    shape : int64 [2]

    Returns
    -------
    uint8 [H, W], 0 or 1
    """
    own, wanted = tf.shape(region, out_type=tf.int64), tf.cast(shape, tf.int64)
    rows, columns = (_nearest(wanted[axis], own[axis]) for axis in (0, 1))
    return tf.gather(tf.gather(region, rows), columns, axis=1)


def _nearest(length: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    """Return for each of `length` pixels the source pixel under its centre."""
    return (2 * tf.range(length) + 1) * source // (2 * length)
