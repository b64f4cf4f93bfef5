"""From the lung network's probabilities to the region and the box that a classifier's crop follows.

Every operation here has an exact twin in `imaging.graph` (pooling, whole-number arithmetic), so that the exported graph
crops the same pixels. Component cleaning has none and lives in `lungs.masks`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.imaging.crop import (
    BEYOND,
    DILATION,
    OPENING,
    SIDE_STEPS,
    THRESHOLD,
    WEIGHTS,
    Box,
    LungEdges,
    box_pixels,
    crop,
    lungs_found,
    mask_film,
)

__all__ = ["Box", "box_around", "box_pixels", "crop", "lung_box", "lung_region", "lungs_found", "mask_film", "mass_box"]


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
    top, bottom = _margined_extent(np.any(region > 0, axis=1), margin)
    left, right = _margined_extent(np.any(region > 0, axis=0), margin)
    return top, left, bottom, right


def mass_box(
    probabilities: npt.NDArray[np.floating], region: npt.NDArray[np.uint8], margin: float = 0.05
) -> Box | None:
    """Return a box around all but a thousandth of the lungs beyond each side, with a margin, as fractions of the film.

    A pixel weighs 2 p - 1 where the probability p is above 0.5. Where the outermost pixel lies hangs on single pixels
    near 0.5, and a film that is saved anew moves it by whole ones; this moves as little as the probabilities do.

    Parameters
    ----------
    probabilities : float32 (h, w), [0, 1]
    region : uint8 (h, w), 0 or 1
        `lung_region` of them: says whether there are lungs at all.
    margin : float
        Added on each side, as a share of the box's own height or width.

    Returns
    -------
    (top, left, bottom, right) or None
        In [0, 1], in steps of 1 / 4096. None where the region covers less than 2 % of the film.
    """
    if not lungs_found(region):
        return None
    above = np.maximum(2 * probabilities.astype(np.float32) - 1, np.float32(0))
    # In whole numbers, so that no order of adding changes a sum; rounded up: no pixel of the region weighs nothing.
    weights = np.ceil(above * np.float32(WEIGHTS)).astype(np.int64)
    top, bottom = _mass_extent(weights.sum(axis=1), margin)
    left, right = _mass_extent(weights.sum(axis=0), margin)
    return top, left, bottom, right


def _mass_extent(weights: npt.NDArray[np.int64], margin: float) -> tuple[float, float]:
    length = len(weights)
    first, last = _depth(weights), length - _depth(weights[::-1])
    extra = margin * (last - first)
    start, end = (round((edge / length) * SIDE_STEPS) / SIDE_STEPS for edge in (first - extra, last + extra))
    return max(0.0, start), min(1.0, end)


def _depth(weights: npt.NDArray[np.int64]) -> float:
    """Return how far in from the start a thousandth of all weight lies, in pixels."""
    sums = np.cumsum(weights)
    total = int(sums[-1])
    place = int(np.argmax(sums * BEYOND > total))
    here = int(weights[place])
    return place + (total - BEYOND * (int(sums[place]) - here)) / (BEYOND * here)


def box_around(
    region: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.floating], edges: LungEdges, margin: float
) -> Box | None:
    """Return `lung_box` of the region or `mass_box` of the probabilities, as the config's `lung_edges` has it."""
    return mass_box(probabilities, region, margin) if edges == "mass" else lung_box(region, margin)


def _margined_extent(occupied: npt.NDArray[Any], margin: float) -> tuple[float, float]:
    """Return first and one-past-last True with the margin, as fractions clipped to [0, 1]."""
    length = len(occupied)
    indices = np.flatnonzero(occupied)
    first, last = int(indices[0]), int(indices[-1]) + 1
    extra = margin * (last - first)
    return max(0.0, (first - extra) / length), min(1.0, (last + extra) / length)
