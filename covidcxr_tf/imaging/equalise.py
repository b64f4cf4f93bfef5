"""Histogram equalisation of a whole film, and by the rank within a disk."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def equalize(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the image with its grey levels spread by its cumulative histogram.

    Level v goes to round(S(v) * f), halves to even, where S(v) counts the pixels above the lowest level present and
    not above v, and f = 255 / (n - pixels at the lowest level), both in float32. So the lowest level goes to 0, the
    highest to 255; an image of one level stays as it is.

    Parameters
    ----------
    image : uint8 (H, W)

    Returns
    -------
    uint8 (H, W)

    Notes
    -----
    Source: the universal preprocessing of Oh 2020, section III.A, computed as OpenCV's ``equalizeHist`` does.
    """
    return cv2.equalizeHist(np.ascontiguousarray(image))


def rank_equalize(image: npt.NDArray[np.uint8], radius: int = 40) -> npt.NDArray[np.uint8]:
    """Return the image in which each pixel is its own rank among the pixels of a disk around it.

    Takes seconds on a large film and has no TensorFlow twin, so `export` refuses it.

    Parameters
    ----------
    image : uint8 (H, W)
    radius : int
        Of the disk, px; 40 on films of 320 px in the authors' code.

    Returns
    -------
    uint8 (H, W)

    Notes
    -----
    Source: Haghanifar 2020, Figure 4, "AHE" before the U-Net.
    """
    from skimage.filters import rank
    from skimage.morphology import disk

    return rank.equalize(np.ascontiguousarray(image), disk(radius))
