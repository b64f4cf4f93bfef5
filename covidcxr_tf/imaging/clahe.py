"""Contrast-limited adaptive histogram equalisation."""

from __future__ import annotations

import functools
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Redistribution = Literal["opencv", "even"]

#: Levels of 8-bit films, and bins of a tile's histogram.
LEVELS = 256
#: Steps within a level in the tables of "even".
FINE = 16
_Image = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_Whole = npt.NDArray[np.int32]


def clahe(
    image: _Image,
    clip_limit: float = 2.0,
    tiles: int = 8,
    redistribution: Redistribution = "opencv",
    steps: int = 1,
) -> npt.NDArray[np.uint8]:
    """Return the image with each tile's histogram clipped and equalised, blended bilinearly between tiles.

    Parameters
    ----------
    image : uint8 (H, W), or uint16 (H, W) from 0 to 255 `steps` with `steps` above 1
    clip_limit : float
        Greatest bin height as a multiple of the mean bin height; above 0.
    tiles : int
        Tiles along each axis.
    redistribution : "opencv" or "even"
        What becomes of the clipped pixels. "opencv" gives whole pixels to bins, in OpenCV's arithmetic: of what does
        not divide by 256, one pixel each goes to every second, third ... bin, and with 129 left instead of 127 they
        all go to the dark half. Where a tile has but some hundred pixels that is a good part of it: half a level of
        noise then moves mid-grey by tens of levels. "even" gives every bin the same share of a pixel, so the result
        follows the image steadily; all in whole numbers.
    steps : int
        Steps within a level in which the image comes: the level 12.5 is 200 with 16 steps. A pixel between two levels
        counts for both, by its nearness, and becomes what lies between what they become: half a level of rounding is
        not made three levels of contrast. Above 1 with "even" only.

    Returns
    -------
    uint8 (H, W)

    Raises
    ------
    ValueError
        If `clip_limit` is not positive, `tiles` or `steps` is below 1, `redistribution` is unknown, OpenCV is to take
        steps, or a value lies above 255 `steps`.

    Notes
    -----
    Source: Zuiderveld 1994, "opencv" as in OpenCV. Clip limit 2.0 and 8 x 8 tiles: Haghanifar 2020, section 3.2.
    """
    _reject(clip_limit, tiles, redistribution, steps)
    if redistribution == "even":
        if steps > 1 and image.size and image.max() > (LEVELS - 1) * steps:
            raise ValueError(f"a value is {image.max()}: expected at most {(LEVELS - 1) * steps}, 255 in {steps} steps")
        tables, height, width = _tile_tables(image, clip_limit, tiles, steps)
        return _blended(image, tables, height, width, tiles, steps)
    # A cv2 CLAHE object holds scratch memory: one a call, as threads must not share it.
    return cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(np.ascontiguousarray(image))


@functools.lru_cache(maxsize=8)  # a lung network's settings and a classifier's come in turn
def _reject(clip_limit: float, tiles: int, redistribution: str, steps: int) -> None:
    """Raise on settings that cv2 takes silently."""
    if not clip_limit > 0 or tiles < 1 or steps < 1:
        raise ValueError(
            f"clip_limit {clip_limit}, tiles {tiles} and steps {steps}: expected above 0, at least 1 and at least 1"
        )
    if redistribution not in get_args(Redistribution):
        raise ValueError(f"redistribution '{redistribution}': expected one of {', '.join(get_args(Redistribution))}")
    if steps > 1 and redistribution != "even":
        raise ValueError(f"steps {steps} with redistribution '{redistribution}': expected 1, or 'even'")


def _tile_tables(image: _Image, clip_limit: float, tiles: int, steps: int) -> tuple[_Whole, int, int]:
    """Return what each tile makes of each level, int32 (tiles * tiles * 256 + 1,) in 16ths; a tile's height, width."""
    below, right = (-length % tiles for length in image.shape)
    whole = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    height, width = whole.shape[0] // tiles, whole.shape[1] // tiles
    tile = (np.arange(whole.shape[0]) // height)[:, np.newaxis] * tiles + np.arange(whole.shape[1]) // width
    level, part = _level_and_part(whole, steps)
    cell = (tile * LEVELS + level).ravel()
    counts = np.bincount(cell, minlength=tiles * tiles * LEVELS).astype(np.int64).reshape(-1, LEVELS) * steps
    if part is not None:
        # So much of a pixel counts for the next level; exact, as sums of small whole numbers are in float64.
        passed_on = np.bincount(cell, part.ravel(), minlength=counts.size).astype(np.int64).reshape(-1, LEVELS)
        counts -= passed_on
        counts[:, 1:] += passed_on[:, :-1]  # the highest level has nothing to pass on
    counts *= LEVELS  # 256ths of a pixel's step
    # No bin is higher than all bins' mean times their number, so a greater limit clips no more.
    limit = max(int(min(clip_limit, LEVELS) * (height * width)), LEVELS) * steps
    excess = np.maximum(counts - limit, 0).sum(axis=1, keepdims=True)
    counts = np.minimum(counts, limit) * LEVELS + excess  # 65536ths: the excess of a tile over 256 bins
    half = LEVELS * LEVELS * height * width * steps
    tables = (np.cumsum(counts, axis=1) * (2 * FINE * (LEVELS - 1)) + half) // (2 * half)
    # One entry more, for what would lie above the last level of the last tile.
    return np.append(tables, 0).astype(np.int32), height, width


def _level_and_part(image: _Image, steps: int) -> tuple[_Whole, _Whole | None]:
    """Return the level at or below each pixel, and the steps above it; None where levels are whole."""
    level = image.astype(np.int32)
    if steps == 1:
        return level, None
    whole = level // np.int32(steps)
    return whole, level - whole * np.int32(steps)


def _blended(image: _Image, tables: _Whole, height: int, width: int, tiles: int, steps: int) -> npt.NDArray[np.uint8]:
    """Return for each pixel the mean of what the four nearest tiles make of it, weighted by their nearness."""
    above, below, down = _neighbours(image.shape[0], height, tiles)
    left, right, across = _neighbours(image.shape[1], width, tiles)
    level, part = _level_and_part(image, steps)

    def made_by(tile: _Whole) -> _Whole:
        place = tile * np.int32(LEVELS) + level
        here = tables[place]
        # Nothing lies above level 255, so that the next table's first entry counts for nothing there.
        return here if part is None else here * np.int32(steps) + (tables[place + np.int32(1)] - here) * part

    def row(tile_row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        first = tile_row[:, np.newaxis] * tiles
        before, after = (made_by((first + column).astype(np.int32)) for column in (left, right))
        return before * (2 * width - across) + after * across  # int64, as the weights are

    down = down[:, np.newaxis]
    whole = 4 * height * width * FINE * steps
    total = row(above) * (2 * height - down) + row(below) * down
    return ((2 * total + whole) // (2 * whole)).astype(np.uint8)


def _neighbours(
    length: int, tile: int, tiles: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each pixel the tiles before and after its centre, and the weight of the one after, of 2 * tile."""
    place = 2 * np.arange(length, dtype=np.int64) + 1 - tile
    before = place // (2 * tile)
    return np.clip(before, 0, tiles - 1), np.clip(before + 1, 0, tiles - 1), place - before * (2 * tile)
