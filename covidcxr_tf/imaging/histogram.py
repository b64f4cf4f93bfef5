"""Grey-level histograms, and matching a film to a reference histogram."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer] | Sequence[int]

# cv2 counts in float32, which holds every whole number only up to 2**24.
_EXACT_PIXELS = 2**24


def histogram(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how many pixels have each grey level.

    Parameters
    ----------
    image : uint8 (H, W)

    Returns
    -------
    int64 (256,)
    """
    block = max(1, _EXACT_PIXELS // max(1, image.shape[1]))
    counts = np.zeros(256, np.int64)
    for first in range(0, image.shape[0], block):
        part = np.ascontiguousarray(image[first : first + block])
        # (256, 1) in OpenCV 4, (256,) in OpenCV 5.
        counts += cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return counts


def match_table(source: npt.NDArray[np.integer], reference: Counts) -> npt.NDArray[np.uint8]:
    """Return the grey-level table that takes one histogram to another.

    Level v goes to the lowest level r whose cumulative share in the reference is at least that of v in the source.
    Both shares are compared as whole numbers, so a film matched to its own histogram keeps each of its levels, and
    the TensorFlow twin gives the same table.

    Parameters
    ----------
    source, reference : int (256,)
        Pixel counts; neither all zero. The two sums multiplied must stay below 2**63.

    Returns
    -------
    uint8 (256,)
        Never falling.

    Raises
    ------
    ValueError
        If `reference` is not 256 non-negative counts with a positive sum.

    Notes
    -----
    Differs from paper: Haghanifar 2020 (section 3.2) does not define its matching; the authors' library interpolates
    between reference levels, this is the classical specification (Gonzalez & Woods, section 3.3).
    """
    wanted = np.asarray(reference, dtype=np.int64)
    if wanted.shape != (256,) or wanted.min() < 0 or wanted.sum() == 0:
        raise ValueError(f"reference of shape {wanted.shape}: expected 256 counts, none negative, one positive")
    source_sums = np.cumsum(source, dtype=np.int64)
    wanted_sums = np.cumsum(wanted)
    table = np.searchsorted(wanted_sums * source_sums[-1], source_sums * wanted_sums[-1], side="left")
    return table.astype(np.uint8)


def match_histogram(image: npt.NDArray[np.uint8], reference: Counts) -> npt.NDArray[np.uint8]:
    """Return the image with its grey levels moved so that its histogram follows the reference's.

    Parameters
    ----------
    image : uint8 (H, W)
    reference : int (256,)
        Pixel counts of the reference film, of any size.

    Returns
    -------
    uint8 (H, W)

    Raises
    ------
    ValueError
        If `reference` is not 256 non-negative counts with a positive sum.
    """
    return cv2.LUT(np.ascontiguousarray(image), match_table(histogram(image), reference))
