"""From what the network saw back to the film's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.explain.explanation import Film, Superpixels
from covidcxr_tf.lungs.region import Box, box_pixels

if TYPE_CHECKING:
    from covidcxr_tf.explain.lime import LimeResult


def heat_on_film(heat: npt.NDArray[np.floating], box: Box, shape: tuple[int, ...]) -> Film:
    """Return a map of the network's input put back where it came from, float32 (H, W), the largest value 1 or all 0.

    Parameters
    ----------
    heat : ndarray of float, (S, S)
        Not negative.
    box : tuple of float
        Top, left, bottom, right of what the network saw, as fractions of the film.
    shape : tuple of int
        (H, W) of the film.
    """
    rows, columns = _pixels(box, shape)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    placed = np.zeros(shape, dtype=np.float32)
    # Reducing with INTER_AREA keeps thin saliency from falling between two pixels; it enlarges as INTER_LINEAR does.
    way = cv2.INTER_AREA if size[0] < heat.shape[1] and size[1] < heat.shape[0] else cv2.INTER_LINEAR
    placed[rows, columns] = cv2.resize(heat.astype(np.float32), size, interpolation=way)
    return positive_share(placed)


def superpixels_on_film(found: LimeResult, box: Box, shape: tuple[int, ...]) -> Superpixels:
    """Return LIME's super-pixels put back where they came from; -1 outside `box`."""
    rows, columns = _pixels(box, shape)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    segments = np.full(shape, -1, dtype=np.int32)
    numbers = cv2.resize(found.segments.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    segments[rows, columns] = numbers.astype(np.int32)
    return Superpixels(segments, found.weights, found.top, found.fit, found.samples)


def _pixels(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, left, bottom, right = box_pixels(box, shape)
    return slice(top, bottom), slice(left, right)


def positive_share(heat: Film) -> Film:
    """Return the positive part of a map, the largest value 1, or all 0 where nothing is positive."""
    peak = float(heat.max(initial=0.0))
    return np.clip(heat / peak, 0.0, 1.0) if peak > 0 else np.zeros_like(heat)
