"""TensorFlow twins of CLAHE, BEASF, equalisation and histogram matching, bit-equal to the NumPy and OpenCV ones.

Every function takes uint8 [H, W] of any, also unknown, size. Compile with ``jit_compile=False``: XLA contracts a
multiplication and an addition into one rounding, and OpenCV does not.
"""

from __future__ import annotations

import tensorflow as tf

from covidcxr_tf.imaging.beasf import SPREAD, Compat
from covidcxr_tf.imaging.clahe import FINE, LEVELS, Redistribution
from covidcxr_tf.imaging.histogram import Counts
from covidcxr_tf.imaging.universal import gamma_table

FLAT = -(2**20)  # in place of a part's table: no stretched value comes near it


def divide(numerator: tf.Tensor, denominator: tf.Tensor) -> tf.Tensor:
    """Return the correctly rounded quotient, 0 for a denominator of 0.

    Grappler turns ``x / constant`` into ``x * (1 / constant)`` and ``1 / x`` into an approximate reciprocal, each one
    rounding away from what NumPy and OpenCV give. It leaves this operation alone.
    """
    return tf.math.divide_no_nan(numerator, denominator)


def histogram(image: tf.Tensor) -> tf.Tensor:
    """Return int64 [256], the pixels at each grey level; twin of `histogram.histogram`."""
    flat = tf.cast(tf.reshape(image, [-1]), tf.int32)
    return tf.cast(tf.math.bincount(flat, minlength=LEVELS, maxlength=LEVELS), tf.int64)


def look_up(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Return uint8 [H, W], each level replaced by its entry in the table [256]."""
    return tf.gather(tf.cast(table, tf.uint8), tf.cast(image, tf.int32))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Return the image with its levels spread by its cumulative histogram; twin of `equalise.equalize`.

    Parameters
    ----------
    image : uint8 [H, W]

    Returns
    -------
    uint8 [H, W]
    """
    counts = histogram(image)
    levels = tf.range(LEVELS, dtype=tf.int64)
    lowest = tf.argmax(tf.cast(counts > 0, tf.int32))
    rest = tf.reduce_sum(counts) - counts[lowest]
    above = tf.cast(tf.cumsum(tf.where(levels > lowest, counts, 0)), tf.float32)
    table = tf.round(above * divide(tf.constant(255.0), tf.cast(rest, tf.float32)))
    return look_up(image, tf.where(rest == 0, levels, tf.cast(table, tf.int64)))


def universal(image: tf.Tensor, gamma: float = 0.5) -> tf.Tensor:
    """Return the image equalised, then brightened by a gamma curve; twin of `universal.universal`.

    Parameters
    ----------
    image : uint8 [H, W]
    gamma : float
        Exponent, above 0.

    Returns
    -------
    uint8 [H, W]

    Raises
    ------
    ValueError
        If `gamma` is not a positive number.
    """
    return look_up(equalize(image), tf.constant(gamma_table(gamma)))


def match_histogram(image: tf.Tensor, reference: tf.Tensor | Counts) -> tf.Tensor:
    """Return the image with its histogram moved to the reference's; twin of `histogram.match_histogram`.

    Parameters
    ----------
    image : uint8 [H, W]
    reference : int [256]
        Pixel counts, none negative, one positive.

    Returns
    -------
    uint8 [H, W]
    """
    source_sums = tf.cumsum(histogram(image))
    wanted_sums = tf.cumsum(tf.cast(tf.convert_to_tensor(reference), tf.int64))
    table = tf.searchsorted(wanted_sums * source_sums[-1], source_sums * wanted_sums[-1], side="left")
    return look_up(image, table)


def beasf(image: tf.Tensor, gamma: float = 1.5, compat: Compat = "ours") -> tf.Tensor:
    """Return the image with the levels below and above its mean each stretched by a sigmoid; twin of `beasf.beasf`.

    Parameters
    ----------
    image : uint8 [H, W]
    gamma : float
        Slope of the sigmoids; above 0.
    compat : "ours" or "authors"

    Returns
    -------
    uint8 [H, W]
    """
    return look_up(image, beasf_table(histogram(image), gamma, compat))


def beasf_table(counts: tf.Tensor, gamma: float = 1.5, compat: Compat = "ours") -> tf.Tensor:
    """Return int64 [256], the levels that BEASF gives to the levels of a histogram; twin of `beasf.beasf_table`.

    Raises
    ------
    ValueError
        If `gamma` is not positive or `compat` is unknown.
    """
    if not gamma > 0 or compat not in ("ours", "authors"):
        raise ValueError(f"gamma {gamma}, compat '{compat}': expected gamma above 0, compat 'ours' or 'authors'")
    levels = tf.range(LEVELS, dtype=tf.int64)
    mean = tf.reduce_sum(counts * levels) // tf.maximum(tf.reduce_sum(counts), 1)
    present = tf.cast(counts > 0, tf.int32)
    degenerate = (mean == 0) | (mean == 255) | (tf.reduce_sum(present) < 2)
    if compat == "authors":
        counts = _bins_of_own_range(counts, present)
    low_half = _half_level(counts, tf.zeros_like(mean), mean)
    high_half = _half_level(counts, mean, tf.constant(255, tf.int64))
    authors = compat == "authors"
    low = _stretched_sigmoid(low_half, tf.zeros_like(mean), mean, mean, gamma, in_floats=authors)
    if authors:
        centre = tf.maximum(mean, high_half - 1)
        shifted = _stretched_sigmoid(centre, mean, tf.constant(254, tf.int64), 255 - mean, gamma)
        high = tf.roll(shifted, 1, axis=0)
    else:
        high = _stretched_sigmoid(high_half, mean, tf.constant(255, tf.int64), 255 - mean, gamma)
    table = tf.where(levels <= mean, low, mean + high)
    flat = tf.where(levels <= mean, low[0], high[255]) == FLAT
    return tf.where(degenerate | flat, levels, table)


def _bins_of_own_range(counts: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Return the counts in 256 equal bins from the lowest to the highest level."""
    levels = tf.range(LEVELS, dtype=tf.int64)
    lowest, highest = tf.argmax(present), 255 - tf.argmax(present[::-1])
    bins = (levels - lowest) * 256 // tf.maximum(highest - lowest, 1)
    return tf.math.unsorted_segment_sum(counts, tf.clip_by_value(bins, 0, 255), LEVELS)


def _half_level(counts: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Return the first level in [first, last] at which the cumulative count exceeds half of the part's."""
    levels = tf.range(LEVELS, dtype=tf.int64)
    sums = tf.cumsum(tf.where((levels >= first) & (levels <= last), counts, 0))
    return tf.argmax(tf.cast(2 * sums > sums[-1], tf.int32))


def _stretched_sigmoid(
    centre: tf.Tensor, first: tf.Tensor, last: tf.Tensor, span: tf.Tensor, gamma: float, *, in_floats: bool = False
) -> tf.Tensor:
    """Return int64 [256], trunc(span * sigmoid) stretched from [first, last] to [0, span]; FLAT where flat."""
    levels = tf.range(LEVELS, dtype=tf.int64)
    width_in_levels = tf.cast(span, tf.float64)
    argument = divide(tf.cast(int(SPREAD) * (levels - centre), tf.float64), width_in_levels)
    sigmoid = divide(tf.constant(1.0, tf.float64), 1.0 + tf.exp(-gamma * argument))
    cut = tf.cast(width_in_levels * sigmoid, tf.int64)
    rise, width = cut - cut[first], cut[last] - cut[first]
    if in_floats:
        stretched = tf.cast(divide(width_in_levels, tf.cast(width, tf.float64)) * tf.cast(rise, tf.float64), tf.int64)
    else:
        stretched = span * rise // tf.maximum(width, 1)
    return tf.where(width == 0, tf.constant(FLAT, tf.int64), stretched)


def clahe(
    image: tf.Tensor,
    clip_limit: float = 2.0,
    tiles: int = 8,
    redistribution: Redistribution = "opencv",
    steps: int = 1,
) -> tf.Tensor:
    """Return the image with each tile's clipped histogram equalised and blended; twin of `clahe.clahe`.

    Parameters
    ----------
    image : uint8 [H, W], or uint16 [H, W] from 0 to 255 `steps` with `steps` above 1
    clip_limit : float
        Greatest bin height as a multiple of the mean bin height; above 0.
    tiles : int
        Tiles along each axis.
    redistribution : "opencv" or "even"
        "opencv" is bit-equal to OpenCV's ``createCLAHE``.
    steps : int
        Steps within a level in which the image comes; above 1 with "even" only.

    Returns
    -------
    uint8 [H, W]

    Notes
    -----
    Source: Zuiderveld 1994.
    """
    if redistribution == "even":
        return _evenly(image, clip_limit, tiles, steps)
    rows, columns = tf.shape(image)[0], tf.shape(image)[1]
    padded = _reflected_to_tiles(image, tiles)
    tile_rows, tile_columns = tf.shape(padded)[0] // tiles, tf.shape(padded)[1] // tiles
    tables = _tile_tables(padded, tile_rows, tile_columns, clip_limit, tiles)
    above, below, row_weight = _neighbours(rows, tile_rows, tiles)
    left, right, column_weight = _neighbours(columns, tile_columns, tiles)
    value = tf.cast(image, tf.int32)

    def mapped(tile_row: tf.Tensor, tile_column: tf.Tensor) -> tf.Tensor:
        tile = tile_row[:, tf.newaxis] * tiles + tile_column
        return tf.gather(tables, tile * LEVELS + value)

    upper = mapped(above, left) * (1.0 - column_weight) + mapped(above, right) * column_weight
    lower = mapped(below, left) * (1.0 - column_weight) + mapped(below, right) * column_weight
    weight = row_weight[:, tf.newaxis]
    return tf.cast(tf.round(upper * (1.0 - weight) + lower * weight), tf.uint8)


def _evenly(image: tf.Tensor, clip_limit: float, tiles: int, steps: int) -> tf.Tensor:
    """Return CLAHE with the clipped pixels shared by all bins, in whole numbers throughout."""
    shape = tf.shape(image, out_type=tf.int64)
    padded = _reflected_to_tiles(image, tiles, as_opencv=False)
    height, width = (side // tiles for side in tf.unstack(tf.shape(padded, out_type=tf.int64)))
    tables = _even_tables(padded, height * width, clip_limit, tiles, steps)
    above, below, down = _whole_neighbours(shape[0], height, tiles)
    left, right, across = _whole_neighbours(shape[1], width, tiles)
    value = tf.cast(image, tf.int64)
    level, part = value // steps, value % steps
    after = tf.minimum(level + 1, LEVELS - 1)

    def made_by(tile: tf.Tensor) -> tf.Tensor:
        here = tf.gather(tables, tile * LEVELS + level)
        return here if steps == 1 else here * (steps - part) + tf.gather(tables, tile * LEVELS + after) * part

    def row(tile_row: tf.Tensor) -> tf.Tensor:
        first = tile_row[:, tf.newaxis] * tiles
        return made_by(first + left) * (2 * width - across) + made_by(first + right) * across

    down = down[:, tf.newaxis]
    whole = 4 * height * width * (FINE * steps)
    total = row(above) * (2 * height - down) + row(below) * down
    return tf.cast((2 * total + whole) // (2 * whole), tf.uint8)


def _even_tables(padded: tf.Tensor, area: tf.Tensor, clip_limit: float, tiles: int, steps: int) -> tf.Tensor:
    """Return int64 [tiles * tiles * 256]: what each tile makes of each level, in 16ths of a level."""
    height, width = (side // tiles for side in tf.unstack(tf.shape(padded)))
    value = tf.cast(padded, tf.int32)
    counts = _tile_counts(value // steps, height, width, tiles) * steps
    if steps > 1:
        passed_on = _tile_counts(value // steps, height, width, tiles, weights=value % steps)
        counts += tf.pad(passed_on[:, :-1], [[0, 0], [1, 0]]) - passed_on
    counts *= LEVELS  # 256ths of a pixel's step
    most = min(clip_limit, LEVELS)
    limit = tf.maximum(tf.cast(most * tf.cast(area, tf.float64), tf.int64), LEVELS) * steps
    excess = tf.reduce_sum(tf.maximum(counts - limit, 0), axis=1, keepdims=True)
    counts = tf.minimum(counts, limit) * LEVELS + excess  # 65536ths: the excess of a tile over 256 bins
    half = LEVELS * LEVELS * area * steps
    return tf.reshape((tf.cumsum(counts, axis=1) * (2 * FINE * (LEVELS - 1)) + half) // (2 * half), [-1])


def _whole_neighbours(length: tf.Tensor, tile: tf.Tensor, tiles: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return for each pixel the tiles before and after its centre, and the weight of the one after, of 2 * tile."""
    place = 2 * tf.range(length) + 1 - tile
    before = place // (2 * tile)
    first, after = (tf.clip_by_value(near, 0, tiles - 1) for near in (before, before + 1))
    return first, after, place - before * (2 * tile)


def _reflected_to_tiles(image: tf.Tensor, tiles: int, *, as_opencv: bool = True) -> tf.Tensor:
    """Return the image reflected below and to the right until both sides are whole tiles.

    As soon as one side is not, OpenCV adds ``tiles - n % tiles`` to BOTH: a whole tile row to an even one.
    """
    rows, columns = tf.shape(image)[0], tf.shape(image)[1]
    uneven = (rows % tiles > 0) | (columns % tiles > 0)

    def indices(length: tf.Tensor) -> tf.Tensor:
        more = uneven if as_opencv else length % tiles > 0
        padded = tf.where(more, length + tiles - length % tiles, length)
        period = tf.maximum(2 * (length - 1), 1)  # the border pixel itself is not repeated
        place = tf.range(padded) % period
        return tf.where(length > 1, tf.minimum(place, period - place), 0)

    return tf.gather(tf.gather(image, indices(rows)), indices(columns), axis=1)


def _tile_tables(
    padded: tf.Tensor, tile_rows: tf.Tensor, tile_columns: tf.Tensor, clip_limit: float, tiles: int
) -> tf.Tensor:
    """Return float32 [tiles * tiles * 256], the grey level that each tile gives to each level."""
    counts = tf.cast(_tile_counts(padded, tile_rows, tile_columns, tiles), tf.int32)
    area = tile_rows * tile_columns
    limit = tf.maximum(tf.cast(clip_limit * tf.cast(area, tf.float64) / LEVELS, tf.int32), 1)
    excess = tf.reduce_sum(tf.maximum(counts - limit, 0), axis=1, keepdims=True)
    counts = tf.minimum(counts, limit) + excess // LEVELS
    # What does not divide by 256 goes, one pixel each, to bins evenly apart.
    rest = excess % LEVELS
    step = tf.maximum(LEVELS // tf.maximum(rest, 1), 1)
    level = tf.range(LEVELS)[tf.newaxis]
    counts += tf.cast((level % step == 0) & (level // step < rest), tf.int32)
    scale = divide(tf.constant(255.0), tf.cast(area, tf.float32))
    table = tf.round(tf.cast(tf.cumsum(counts, axis=1), tf.float32) * scale)
    return tf.reshape(tf.clip_by_value(table, 0.0, 255.0), [-1])


def _tile_counts(
    padded: tf.Tensor, tile_rows: tf.Tensor, tile_columns: tf.Tensor, tiles: int, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Return int64 [tiles * tiles, 256], the pixels of each tile at each level, or the sums of their weights int32."""
    down = tf.range(tf.shape(padded)[0]) // tile_rows
    across = tf.range(tf.shape(padded)[1]) // tile_columns
    cell = (down[:, tf.newaxis] * tiles + across) * LEVELS + tf.cast(padded, tf.int32)
    cells = tiles * tiles * LEVELS
    flat = None if weights is None else tf.cast(tf.reshape(weights, [-1]), tf.int64)
    counts = tf.math.bincount(tf.reshape(cell, [-1]), flat, minlength=cells, maxlength=cells)
    return tf.cast(tf.reshape(counts, [tiles * tiles, LEVELS]), tf.int64)


def _neighbours(length: tf.Tensor, tile: tf.Tensor, tiles: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return for each pixel the tiles before and after it, int32, and the weight of the one after, float32."""
    place = tf.cast(tf.range(length), tf.float32) * divide(tf.constant(1.0), tf.cast(tile, tf.float32)) - 0.5
    before = tf.floor(place)
    first = tf.cast(before, tf.int32)
    return tf.maximum(first, 0), tf.minimum(first + 1, tiles - 1), place - before
