"""From the lung network's probabilities to what a classifier sees: region, box, crop, mask.

Every operation here has an exact twin in `imaging.graph` (pooling, gather, whole-number arithmetic), so that the
exported graph crops the same pixels. Component cleaning has none and lives in `lungs.masks`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]  # top, left, bottom, right, as fractions of the film

THRESHOLD = 0.5
OPENING = 3  # px, square
DILATION = 5  # px, square
# A smaller region is a failed segmentation. The smallest of 537 human lung masks covers 18 % of its film.
LEAST_SHARE = (1, 50)


def lung_region(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Return where the lungs are, a little enlarged.

    Above 0.5, opened with 3 x 3 (specks go), dilated with 5 x 5 (the pleura and the rim of white lungs come in). What
    lies beyond the border does not take part.

    Parameters
    ----------
    probabilities : float32 (h, w), [0, 1]
        At the network's own resolution, 256 x 256 px for the shipped one.

    Returns
    -------
    uint8 (h, w), 0 or 1

    Notes
    -----
    Differs from paper: Haghanifar 2020 (Figure 4) dilates three times at 320 px; once at 256 px, with the margin of
    `lung_box`, keeps the crop as wide without joining mask and shoulder.
    """
    inside = (probabilities > THRESHOLD).astype(np.uint8)
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((OPENING, OPENING), np.uint8))
    return cv2.dilate(opened, np.ones((DILATION, DILATION), np.uint8))


def lungs_found(region: npt.NDArray[np.uint8]) -> bool:
    """Return whether the region covers at least 2 % of the film.

    Parameters
    ----------
    region : uint8 (h, w), 0 or 1
    """
    part, whole = LEAST_SHARE
    count = int(np.count_nonzero(region))
    return count > 0 and count * whole >= part * region.size


def lung_box(region: npt.NDArray[np.uint8], margin: float = 0.05) -> Box | None:
    """Return the bounding box of the region with a margin, as fractions of the film.

    Parameters
    ----------
    region : uint8 (h, w), 0 or 1
    margin : float
        Added on each side, as a share of the box's own height or width.

    Returns
    -------
    (top, left, bottom, right) or None
        In [0, 1]; bottom and right are just outside. None where the region covers less than 2 % of the film.
    """
    if not lungs_found(region):
        return None
    top, bottom = _margined_extent(region.any(axis=1), margin)
    left, right = _margined_extent(region.any(axis=0), margin)
    return top, left, bottom, right


def _margined_extent(occupied: npt.NDArray[np.bool_], margin: float) -> tuple[float, float]:
    """Return first and one-past-last True with the margin, as fractions clipped to [0, 1]."""
    length = len(occupied)
    indices = np.flatnonzero(occupied)
    first, last = int(indices[0]), int(indices[-1]) + 1
    extra = margin * (last - first)
    return max(0.0, (first - extra) / length), min(1.0, (last + extra) / length)


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
    rows = _nearest(film.shape[0], region.shape[0])
    columns = _nearest(film.shape[1], region.shape[1])
    return film * region[rows][:, columns]


def _nearest(length: int, source: int) -> npt.NDArray[np.int64]:
    """Return for each of `length` pixels the source pixel under its centre."""
    return (2 * np.arange(length, dtype=np.int64) + 1) * source // (2 * length)
