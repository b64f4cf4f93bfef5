"""TensorFlow twins of `lungs.region` and `crop`: region, box, crop and mask, the same pixels."""

from __future__ import annotations

import tensorflow as tf

from covidcxr_tf.imaging.crop import DILATION, LEAST_SHARE, OPENING, THRESHOLD
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
