"""Which part of a film a classifier sees: a box of it, or its lungs alone.

Every operation has an exact twin in `graph_lungs` (gather, whole-number arithmetic), so that the exported graph takes
the same pixels. `lungs.region` finds region and box.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

LungEdges = Literal["region", "mass"]
Box = tuple[float, float, float, float]  # top, left, bottom, right, as fractions of the film

# What makes a region of a lung network's probabilities; here because both `lungs.region` and its twin need them.
THRESHOLD = 0.5
OPENING = 3  # px, square
DILATION = 5  # px, square
# Of the box by mass: steps of a pixel's weight, the part of all weight beyond each side, and steps of a side.
WEIGHTS = 1024
BEYOND = 1000
SIDE_STEPS = 4096
# Steps within a film's pixel where a film is cropped between pixels.
PIXEL_STEPS = 8
# A smaller region is a failed segmentation. The smallest of 537 human lung masks covers 18 % of its film.
LEAST_SHARE = (1, 50)


def lungs_found(region: npt.NDArray[np.uint8]) -> bool:
    """Return whether the region covers at least 2 % of the film.

    Parameters
    ----------
    region : uint8 (h, w), 0 or 1
    """
    part, whole = LEAST_SHARE
    count = int(np.count_nonzero(region))
    return count > 0 and count * whole >= part * region.size


def box_pixels(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the box in whole pixels, outwards rounded: first row, first column, one past the last row and column.

    Parameters
    ----------
    box : (top, left, bottom, right)
        Fractions in [0, 1].
    shape : (H, W)

    Returns
    -------
    tuple of int
        At least 1 px high and wide, inside the film.
    """
    top, bottom = _pixel_extent(box[0], box[2], shape[0])
    left, right = _pixel_extent(box[1], box[3], shape[1])
    return top, left, bottom, right


def _pixel_extent(first: float, last: float, length: int) -> tuple[int, int]:
    start = min(max(math.floor(first * length), 0), length - 1)
    return start, min(max(math.ceil(last * length), start + 1), length)


def box_within_pixels(box: Box, shape: tuple[int, ...]) -> Box:
    """Return the box in pixels, to an eighth: top, left, bottom, right; at least 1 px high and wide, inside the film.

    Eighths, so that what two machines compute a little apart gives the same crop, and because PIL keeps float32.
    """
    top, bottom = _fine_extent(box[0], box[2], shape[0])
    left, right = _fine_extent(box[1], box[3], shape[1])
    return top, left, bottom, right


def _fine_extent(first: float, last: float, length: int) -> tuple[float, float]:
    start, end = (round(edge * length * PIXEL_STEPS) / PIXEL_STEPS for edge in (first, last))
    start = min(max(start, 0.0), length - 1.0)
    return start, min(max(end, start + 1.0), float(length))


def crop(film: np.ndarray, box: Box) -> np.ndarray:
    """Return the part of the film inside the box, a view.

    Parameters
    ----------
    film : any dtype (H, W, ...)
    box : (top, left, bottom, right)
        Fractions in [0, 1]; rounded outwards to whole pixels, at least one.

    Returns
    -------
    the film's dtype (h, w, ...)
    """
    top, left, bottom, right = box_pixels(box, film.shape[:2])
    return film[top:bottom, left:right]


def mask_film(film: npt.NDArray[np.float32], region: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the film with everything outside the region at 0.

    Parameters
    ----------
    film : float32 (H, W), [0, 1]
    region : uint8 (h, w), 0 or 1
        Of any resolution; each film pixel asks the region pixel that its centre falls into.

    Returns
    -------
    float32 (H, W), [0, 1]
    """
    return film * region_at(region, film.shape[:2])


def region_at(region: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the region at another resolution: each pixel asks the region pixel that its centre falls into.

    Parameters
    ----------
    region : uint8 (h, w), 0 or 1
    shape : (H, W)

    Returns
    -------
    uint8 (H, W), 0 or 1
    """
    rows, columns = (_nearest(length, source) for length, source in zip(shape, region.shape, strict=True))
    return region[rows][:, columns]


def _nearest(length: int, source: int) -> npt.NDArray[np.int64]:
    """Return for each of `length` pixels the source pixel under its centre."""
    return (2 * np.arange(length, dtype=np.int64) + 1) * source // (2 * length)
