"""Grey and colour levels to films in [0, 1], a strip of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LUMA = (19595, 38470, 7471)
"""ITU-R BT.601 weights (.299, .587, .114) of red, green and blue in 1/65536, the integers that PIL uses.

The sum ``19595 R + 38470 G + 7471 B`` of 8-bit levels is below 2**24 and so exact in float32, and equal levels give
back exactly that level: a grey film stored as colour reads the same as one stored as grey.
"""

_STRIP_ROWS = 256


def grey(levels: npt.NDArray[Any], top: float) -> npt.NDArray[np.float32]:
    """Return grey in [0, 1] from levels of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    Parameters
    ----------
    levels : ndarray of uint8, uint16 or float32, (rows, columns) or (rows, columns, channels)
        Straight (not premultiplied) levels, 0 to `top`.
    top : float
        Highest level of the type.

    Returns
    -------
    ndarray of float32, (rows, columns)
        In [0, 1].
    """
    if levels.ndim == 2:
        film = levels.astype(np.float32)
        film /= np.float32(top)
        return film
    alpha = levels[..., -1] if levels.shape[2] in (2, 4) else None
    film = np.empty(levels.shape[:2], np.float32)
    for start in range(0, len(levels), _STRIP_ROWS):  # a whole film's intermediate results would be four films more
        rows = slice(start, start + _STRIP_ROWS)
        film[rows] = _luma(levels[rows]) if levels.shape[2] >= 3 else levels[rows, :, 0]
        film[rows] /= np.float32(top)
    if alpha is not None and alpha.min() != alpha.max():
        for start in range(0, len(levels), _STRIP_ROWS):
            rows = slice(start, start + _STRIP_ROWS)
            film[rows] *= alpha[rows].astype(np.float32) / np.float32(top)
    return film


def _luma(levels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the luma of colour levels on the scale of the levels."""
    # At most 65535 * 65536 < 2**32: no overflow for 16-bit levels either.
    total = levels[..., 0].astype(np.uint32) * np.uint32(LUMA[0])
    total += levels[..., 1].astype(np.uint32) * np.uint32(LUMA[1])
    total += levels[..., 2].astype(np.uint32) * np.uint32(LUMA[2])
    return total.astype(np.float32) / np.float32(65536)
