"""Bi-histogram equalisation with adaptive sigmoid functions (BEASF)."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.imaging.histogram import histogram

Compat = Literal["ours", "authors"]

# Scales grey levels before the sigmoid, so that a part of the histogram covers at most [-5, 5].
SPREAD = 5.0


def beasf(image: npt.NDArray[np.uint8], gamma: float = 1.5, compat: Compat = "ours") -> npt.NDArray[np.uint8]:
    """Return the image with the levels below and above its mean each stretched by a sigmoid.

    Parameters
    ----------
    image : uint8 (H, W)
    gamma : float
        Slope of the sigmoids; above 0. The paper shows 0.5 to 2.0 and uses 1.5.
    compat : "ours" or "authors"
        The method as described, or with the slips of the authors' code (see `beasf_table`).

    Returns
    -------
    uint8 (H, W)

    Raises
    ------
    ValueError
        If `gamma` is not positive or `compat` is unknown.

    Notes
    -----
    Source: Arriaga-Garcia 2014; Haghanifar 2020, section 3.2 and Figure 3.
    """
    return cv2.LUT(np.ascontiguousarray(image), beasf_table(histogram(image), gamma, compat))


def beasf_table(counts: npt.NDArray[np.integer], gamma: float = 1.5, compat: Compat = "ours") -> npt.NDArray[np.uint8]:
    """Return the 256 grey levels that BEASF gives to the levels of a histogram.

    m is the mean grey level, cut to a whole number. The histogram is split into [0, m] and [m, 255]; a and b are the
    first levels at which each part's cumulative count exceeds its half. With s(z) = 1 / (1 + exp(-gamma z)), levels
    below m go to trunc(m s(5 (t - a) / m)), stretched to [0, m]; levels above it go to
    trunc(m + (255 - m) s(5 (t - b) / (255 - m))), stretched to [m, 255]; both stretches are cut to whole numbers.

    Parameters
    ----------
    counts : int (256,)
        Pixels at each grey level, not all zero.
    gamma : float
        Slope of the sigmoids; above 0.
    compat : "ours" or "authors"
        "authors" counts in 256 bins between the lowest and the highest level of the image instead of 0 to 255 (but
        takes the bin for the level), takes the level before b for b, and gives each level above m the value of the
        level before it.

    Returns
    -------
    uint8 (256,)
        Never falling. The identity where m is 0 or 255 or the histogram has one level only, where the method divides
        by zero; a part whose sigmoid is flat after cutting stays as it is.

    Raises
    ------
    ValueError
        If `gamma` is not positive or `compat` is unknown.
    """
    if not gamma > 0 or compat not in ("ours", "authors"):
        raise ValueError(f"gamma {gamma}, compat '{compat}': expected gamma above 0, compat 'ours' or 'authors'")
    own: npt.NDArray[np.int64] = np.asarray(counts, dtype=np.int64)
    levels = np.arange(256)
    table = levels.copy()
    present = np.flatnonzero(own)
    mean = int(own @ levels // own.sum())
    if mean in (0, 255) or len(present) == 1:
        return table.astype(np.uint8)
    if compat == "authors":
        own = _bins_of_own_range(own, int(present[0]), int(present[-1]))
    low, high = _half_level(own, 0, mean), _half_level(own, mean, 255)
    below = _stretched_sigmoid(levels[: mean + 1], low, mean, gamma, in_floats=compat == "authors")
    if compat == "ours":
        above = _stretched_sigmoid(levels[mean:], high, 255 - mean, gamma)
    else:
        above = _stretched_sigmoid(levels[mean:255], max(mean, high - 1), 255 - mean, gamma)
    if below is not None:
        table[: mean + 1] = below
    if above is not None:
        table[256 - len(above) :] = mean + above
    return table.astype(np.uint8)


def _bins_of_own_range(counts: npt.NDArray[np.int64], lowest: int, highest: int) -> npt.NDArray[np.int64]:
    """Return the counts in 256 equal bins from the lowest to the highest level, as `numpy.histogram` bins them."""
    levels = np.arange(lowest, highest + 1)
    bins = np.minimum((levels - lowest) * 256 // (highest - lowest), 255)
    return np.bincount(bins, weights=counts[lowest : highest + 1], minlength=256).astype(np.int64)


def _half_level(counts: npt.NDArray[np.int64], first: int, last: int) -> int:
    """Return the first level in [first, last] at which the cumulative count exceeds half of the part's."""
    sums = np.cumsum(counts[first : last + 1])
    return first + int(np.argmax(2 * sums > sums[-1]))


def _stretched_sigmoid(
    levels: npt.NDArray[np.int64], centre: int, span: int, gamma: float, *, in_floats: bool = False
) -> npt.NDArray[np.int64] | None:
    """Return trunc(span * sigmoid) of the levels, stretched to [0, span]; None where it is flat.

    `in_floats` divides before it multiplies, as the authors' lower part does: now and then a level lower.
    """
    with np.errstate(over="ignore"):  # a steep gamma: exp is infinite, the sigmoid rightly 0
        sigmoid = 1.0 / (1.0 + np.exp(-gamma * (SPREAD * (levels - centre) / span)))
    cut = np.trunc(span * sigmoid).astype(np.int64)
    rise, width = cut - cut[0], cut[-1] - cut[0]
    if width == 0:
        return None
    if in_floats:
        return np.trunc(span / width * rise).astype(np.int64)
    return span * rise // width
