"""The preprocessing that makes films of many origins alike: equalisation, then a gamma curve."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.imaging.equalise import equalize


def universal(image: npt.NDArray[np.uint8], gamma: float = 0.5) -> npt.NDArray[np.uint8]:
    """Return the image equalised over all its pixels, then brightened by a gamma curve.

    Parameters
    ----------
    image : uint8 (H, W)
        Where a lung is to be seen, the whole film: what equalisation sees decides the levels.
    gamma : float
        Exponent, above 0; below 1 brightens.

    Returns
    -------
    uint8 (H, W)
        Level v of the equalised image becomes ``round(255 (v / 255) ** gamma)``: the darkest level present 0, the
        brightest 255. An image of one level has nothing to equalise and gets the gamma curve only.

    Raises
    ------
    ValueError
        If `gamma` is not a positive number.

    Notes
    -----
    Source: Oh 2020, section II.A: cast to float32, histogram equalisation to [0, 255], gamma 0.5, resize.

    Differs from paper: 8 bit instead of float32, so levels are equalised as levels. In a network's path
    (`stack.model_input`) the resize comes first, so that the exported graph equalises a film of known size.
    """
    return cv2.LUT(equalize(image), gamma_table(gamma))


def gamma_table(gamma: float) -> npt.NDArray[np.uint8]:
    """Return the 256 levels of the gamma curve: ``round(255 (v / 255) ** gamma)``, halves to even.

    Parameters
    ----------
    gamma : float
        Exponent, above 0.

    Returns
    -------
    uint8 (256,)
        Never falling, from 0 to 255.

    Raises
    ------
    ValueError
        If `gamma` is not a positive number.
    """
    if not 0 < gamma < np.inf:
        raise ValueError(f"gamma {gamma}: expected a number above 0")
    return np.rint(255.0 * (np.arange(256) / 255.0) ** gamma).astype(np.uint8)
