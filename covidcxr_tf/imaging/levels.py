"""Grey levels: the one rule by which a film in [0, 1] becomes 8-bit levels and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def to_uint8(film: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Return the film as 8-bit levels, ``round(film * 255)``.

    Parameters
    ----------
    film : ndarray of float, any shape
        Values in [0, 1]; what lies outside (the overshoot of a cubic resize) is clipped.

    Returns
    -------
    ndarray of uint8, same shape
        0 to 255; halves go to the even neighbour, as `tf.round` does, so that the exported graph agrees bit by bit.
    """
    scaled = np.asarray(film, dtype=np.float32) * np.float32(255)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def from_uint8(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return 8-bit levels as float32 in [0, 1], ``level / 255``; `to_uint8` gives the same levels back.

    Parameters
    ----------
    image : ndarray of uint8, any shape
        0 to 255.

    Returns
    -------
    ndarray of float32, same shape
        In [0, 1].

    Raises
    ------
    TypeError
        If `image` is not uint8: the range of any other type would have to be guessed.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(f"expected uint8 levels, got {image.dtype}")
    return image.astype(np.float32) / np.float32(255)
