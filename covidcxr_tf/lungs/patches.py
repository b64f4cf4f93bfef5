"""Square patches drawn in the lungs of a prepared film, and how much of the lungs they see.

A prepared film here is what `imaging.stack.model_input` makes with ``lungs = "mask_whole"``: black outside the lungs,
so that its lung pixels are those with any channel above 0.

Source: Oh 2020, section II.B (patches of 224 px out of 1024, centres random in the lungs, K = 100 in inference).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Corners = npt.NDArray[np.int32]


def lung_pixels(image: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which pixels of a prepared film are lung: those with any channel above 0.

    Parameters
    ----------
    image : uint8 or float32 (H, W, C)

    Returns
    -------
    bool (H, W)
        A lung pixel that is black in every channel counts as outside: after equalisation that is the film's darkest
        level only, which hardly ever lies in a lung.
    """
    return np.any(image > 0, axis=-1)


def patch_corners(lungs: npt.NDArray[np.bool_], size: int, count: int, seed: int) -> Corners:
    """Return where patches begin whose centres are lung pixels.

    Each centre is one lung pixel, all of them equally likely, drawn with replacement. A patch that would stick out is
    moved back inside the frame, so at the border its centre is not the pixel that was drawn. Without any lung pixel
    centres come from the whole frame.

    Parameters
    ----------
    lungs : bool (H, W)
    size : int
        Side of a patch, px; the centre is the pixel ``size // 2`` rows and columns after the corner.
    count : int
        How many patches, K.
    seed : int
        The same lungs, size, count and seed give the same patches.

    Returns
    -------
    int32 (count, 2)
        First row and first column of each patch.

    Raises
    ------
    ValueError
        If `lungs` has not two dimensions, or `size` is not between 1 and its shorter side, or `count` is negative.

    Notes
    -----
    Source: Oh 2020, section II.B.

    Differs from paper: row and column are drawn together. The authors' training loader draws them independently of
    each other, which lets a centre leave the lung.
    """
    _check(lungs.shape, size)
    if count < 0:
        raise ValueError(f"{count} patches: expected 0 or more")
    within = np.flatnonzero(lungs)
    generator = np.random.default_rng(seed)
    if len(within):
        centres = within[generator.integers(0, len(within), count)]
    else:
        centres = generator.integers(0, lungs.size, count)
    first = np.stack(np.unravel_index(centres, lungs.shape), axis=-1) - size // 2
    return np.clip(first, 0, np.array(lungs.shape) - size).astype(np.int32)


def patch_counts(shape: tuple[int, int], corners: Corners, size: int) -> npt.NDArray[np.int32]:
    """Return how many patches cover each pixel.

    Parameters
    ----------
    shape : (H, W)
    corners : int32 (K, 2)
        First row and column of each patch, which lies inside the frame.
    size : int
        Side of a patch, px.

    Returns
    -------
    int32 (H, W)
        0 to K.

    Raises
    ------
    ValueError
        If a patch does not fit into the frame.
    """
    _check(shape, size, corners)
    # A patch adds 1 from its first row and column on and takes it back behind its last: two running sums do the rest.
    steps = np.zeros((shape[0] + 1, shape[1] + 1), np.int32)
    top, left = corners[:, 0], corners[:, 1]
    for rows, columns, step in ((top, left, 1), (top + size, left, -1), (top, left + size, -1)):
        np.add.at(steps, (rows, columns), step)
    np.add.at(steps, (top + size, left + size), 1)
    return steps.cumsum(axis=0).cumsum(axis=1)[: shape[0], : shape[1]].astype(np.int32)


def coverage(lungs: npt.NDArray[np.bool_], corners: Corners, size: int) -> float:
    """Return the share of lung pixels that at least one patch covers.

    Parameters
    ----------
    lungs : bool (H, W)
        Without any lung pixel the share is that of the whole frame, where the patches come from then.
    corners : int32 (K, 2)
    size : int
        Side of a patch, px.

    Returns
    -------
    float
        In [0, 1]; 0 without patches.

    Raises
    ------
    ValueError
        If a patch does not fit into the frame.
    """
    seen = patch_counts((lungs.shape[0], lungs.shape[1]), corners, size) > 0
    return float(seen[lungs].mean() if lungs.any() else seen.mean())


def cut(image: npt.NDArray[Any], corners: Corners, size: int) -> npt.NDArray[Any]:
    """Return the patches of an image.

    Parameters
    ----------
    image : any dtype (H, W, C)
    corners : int32 (K, 2)
    size : int
        Side of a patch, px.

    Returns
    -------
    the image's dtype (K, size, size, C)
        Copies, in the order of the corners.

    Raises
    ------
    ValueError
        If a patch does not fit into the frame.
    """
    _check(image.shape[:2], size, corners)
    patches = np.empty((len(corners), size, size, *image.shape[2:]), image.dtype)
    for place, (row, column) in enumerate(corners):
        patches[place] = image[row : row + size, column : column + size]
    return patches


def _check(shape: tuple[int, ...], size: int, corners: Corners | None = None) -> None:
    """Raise ValueError where patches of this size do not fit into a frame of this shape."""
    if len(shape) != 2 or not 1 <= size <= min(shape):
        raise ValueError(f"patches of {size} px in a frame of shape {shape}: expected 1 px to the shorter of two sides")
    # Checked here: a negative index would silently count from the other side.
    sticks_out = corners is not None and (np.any(corners < 0) or np.any(corners + size > np.array(shape)))
    if sticks_out:
        raise ValueError(f"a patch of {size} px sticks out of a frame of shape {shape}")
