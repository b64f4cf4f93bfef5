"""How likely a lung region is to be right, in TensorFlow operations: twin of `lungs.masks.mask_quality`'s score."""

from __future__ import annotations

import tensorflow as tf

from covidcxr_tf.imaging.graph_levels import divide
from covidcxr_tf.lungs import masks, posture


def mask_score(region: tf.Tensor, probabilities: tf.Tensor | None = None, levels: tf.Tensor | None = None) -> tf.Tensor:
    """Return the score of a lung region, float32 [], in [0, 1]; that of `masks.mask_quality`, rounded to float32.

    Parameters
    ----------
    region : uint8 [h, w], 0 or 1
        Static shape, fewer than 2**24 pixels.
    probabilities : float32 [h, w], optional
        The network's, which its certainty is taken from.
    levels : uint8 [h, w], optional
        The film as the network saw it, which its posture is taken from.
    """
    rows, columns = region.shape
    inside = tf.cast(region, tf.float64)
    area = tf.reduce_sum(inside) / float(rows * columns)
    usual_area = _rising(area, masks.AREA_LIMITS[0], masks.AREA_USUAL[0])
    usual_area *= _rising(-area, -masks.AREA_LIMITS[1], -masks.AREA_USUAL[1])
    symmetry = _rising(_symmetry(inside), masks.SYMMETRY_LIMIT, masks.SYMMETRY_USUAL)
    border = _rising(-_border_share(inside), -masks.BORDER_LIMIT, -masks.BORDER_USUAL)
    score = usual_area * _components_mark(region) * symmetry * border
    if probabilities is not None:
        score *= _rising(expected_dice(probabilities), masks.CERTAINTY_LIMIT, masks.CERTAINTY_USUAL)
    if levels is not None:
        score *= _posture_mark(region, levels)
    return tf.where(area > 0, tf.cast(score, tf.float32), 0.0)


def expected_dice(probabilities: tf.Tensor) -> tf.Tensor:
    """Return the Dice that a network expects of its own mask, float64 []; twin of `masks.expected_dice`."""
    shares = tf.cast(probabilities, tf.float64)
    inside = tf.cast(shares > 0.5, tf.float64)
    return tf.math.divide_no_nan(2 * tf.reduce_sum(shares * inside), tf.reduce_sum(shares) + tf.reduce_sum(inside))


def measured_posture(region: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """Return polarity, side by side and brighter below, float64 [3]; twin of `posture.posture`, 0 without a pixel."""
    inside = region > 0
    between = _between_in_rows(inside)
    above = tf.transpose(_between_in_rows(tf.transpose(inside)))
    counts = [tf.math.count_nonzero(one) for one in (between, above)]
    occupied = tf.cast(tf.reduce_any(inside, axis=1), tf.int32)
    length = region.shape[0]
    top, bottom = tf.argmax(occupied), length - tf.argmax(occupied[::-1])
    third, rows = (bottom - top) // 3, tf.range(length, dtype=tf.int64)[:, tf.newaxis]
    low = _mean_level(levels, between & (rows >= bottom - third) & (rows < bottom))
    high = _mean_level(levels, between & (rows >= top) & (rows < top + third))
    apart, within = _mean_level(levels, between), _mean_level(levels, inside)
    nothing = tf.constant(0.0, tf.float64)
    both = tf.cast(tf.maximum(counts[0] + counts[1], 1), tf.float64)
    return tf.stack(
        [
            tf.where(counts[0] > 0, apart - within, nothing),
            divide(tf.cast(counts[0], tf.float64), both),
            tf.where((low >= 0) & (high >= 0), low - high, nothing),
        ]
    )


def _posture_mark(region: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    polarity, beside, below = tf.unstack(measured_posture(region, levels))
    return (
        _rising(polarity, posture.POLARITY_LIMIT, posture.POLARITY_USUAL)
        * _rising(beside, posture.SIDE_BY_SIDE_LIMIT, posture.SIDE_BY_SIDE_USUAL)
        * _rising(below, posture.BRIGHTER_BELOW_LIMIT, posture.BRIGHTER_BELOW_USUAL)
    )


def _between_in_rows(inside: tf.Tensor) -> tf.Tensor:
    counted = tf.cast(inside, tf.int32)
    left, right = (tf.cumsum(counted, axis=1, reverse=way) > 0 for way in (False, True))
    return left & right & ~inside


def _mean_level(levels: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
    """Return the mean level over some pixels, float64, or -1 where there are none."""
    count = tf.math.count_nonzero(where)
    total = tf.reduce_sum(tf.where(where, tf.cast(levels, tf.int64), tf.constant(0, tf.int64)))
    mean = divide(tf.cast(total, tf.float64), tf.cast(255 * tf.maximum(count, 1), tf.float64))
    return tf.where(count > 0, mean, tf.constant(-1.0, tf.float64))


def part_areas(region: tf.Tensor) -> tf.Tensor:
    """Return how many pixels each part (8 neighbours) of the region has, int32 [h * w + 1]; 0 for no part.

    Parameters
    ----------
    region : uint8 [h, w], 0 or 1

    Notes
    -----
    Each pixel points at one of its part with a higher number; all pointers of a part are hooked and shortened until
    they end at the same pixel (Shiloach and Vishkin 1982). A dozen rounds for two lungs, not one for each pixel of
    the longest path.
    """
    count = region.shape[0] * region.shape[1]
    inside = tf.reshape(tf.cast(region > 0, tf.int32), [-1])
    numbers = tf.range(1, count + 1) * inside  # 0: outside

    def step(labels: tf.Tensor, _moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        plane = tf.reshape(tf.cast(labels, tf.float32), [1, *region.shape, 1])  # whole numbers below 2**24: exact
        highest = tf.cast(tf.reshape(tf.nn.max_pool2d(plane, 3, 1, "SAME"), [-1]), tf.int32) * inside
        best = tf.math.unsorted_segment_max(highest, labels, count + 1)  # for each part's end, what its pixels touch
        own = tf.concat([[0], tf.maximum(tf.maximum(best[1:], highest), labels)], axis=0)
        for _ in range(2):
            own = tf.gather(own, own)
        shorter = own[1:] * inside
        return shorter, tf.reduce_any(shorter != labels)

    labels, _ = tf.while_loop(lambda _labels, moved: moved, step, (numbers, tf.constant(True)), parallel_iterations=1)
    return tf.concat([[0], tf.math.bincount(labels, minlength=count + 1, maxlength=count + 1)[1:]], axis=0)


def _components_mark(region: tf.Tensor) -> tf.Tensor:
    areas = tf.cast(part_areas(region), tf.float64)
    least = masks.COMPONENT_SHARE * tf.reduce_sum(areas)
    components = tf.math.count_nonzero((areas > 0) & (areas >= least))
    mark = tf.constant(masks.MANY_COMPONENTS_MARK, tf.float64)
    for number, value in masks.COMPONENT_MARKS.items():
        mark = tf.where(components == number, tf.constant(value, tf.float64), mark)
    return mark


def _symmetry(inside: tf.Tensor) -> tf.Tensor:
    columns = tf.reduce_sum(inside, axis=0)
    half = inside.shape[1] // 2
    middle = columns[half] / 2 if inside.shape[1] % 2 else tf.constant(0.0, tf.float64)
    left = tf.reduce_sum(columns[:half]) + middle
    right = tf.reduce_sum(columns[inside.shape[1] - half :]) + middle
    return tf.math.divide_no_nan(tf.minimum(left, right), tf.maximum(left, right))


def _border_share(inside: tf.Tensor) -> tf.Tensor:
    rows, columns = inside.shape
    core = tf.reduce_sum(inside[1:-1, 1:-1])
    return (tf.reduce_sum(inside) - core) / float(rows * columns - (rows - 2) * (columns - 2))


def _rising(value: tf.Tensor, zero: float, one: float) -> tf.Tensor:
    return tf.clip_by_value((value - zero) / tf.constant(one - zero, tf.float64), 0.0, 1.0)
