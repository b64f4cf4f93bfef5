"""Contrast-limited adaptive histogram equalisation."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt


@functools.lru_cache(maxsize=1)
def _reject(clip_limit: float, tiles: int) -> None:
    """Raise on settings that cv2 takes silently."""
    if not clip_limit > 0 or tiles < 1:
        raise ValueError(f"clip_limit {clip_limit} and tiles {tiles}: expected above 0 and at least 1")


def clahe(image: npt.NDArray[np.uint8], clip_limit: float = 2.0, tiles: int = 8) -> npt.NDArray[np.uint8]:
    """Return the image with each tile's histogram clipped and equalised, blended bilinearly between tiles.

    Parameters
    ----------
    image : uint8 (H, W)
    clip_limit : float
        Greatest bin height as a multiple of the mean bin height; above 0.
    tiles : int
        Tiles along each axis.

    Returns
    -------
    uint8 (H, W)

    Raises
    ------
    ValueError
        If `clip_limit` is not positive or `tiles` is below 1.

    Notes
    -----
    Source: Zuiderveld 1994, as in OpenCV. Clip limit 2.0 and 8 x 8 tiles: Haghanifar 2020, section 3.2.
    """
    _reject(clip_limit, tiles)
    # A cv2 CLAHE object holds scratch memory: one a call, as threads must not share it.
    return cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(np.ascontiguousarray(image))
