"""Patches of one film vote for its class.

Source: Oh 2020, section II.B: K = 100 patches with centres drawn in the lungs; the class that most of them declare is
the film's ("majority voting").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covidcxr_tf.lungs.patches import Corners, coverage, cut, lung_pixels, patch_corners

Floats = npt.NDArray[np.float64]

#: Patches in one forward pass: 224 px x 3 channels of float32 are 20 MB at that.
BATCH = 32


@dataclass(frozen=True)
class Places:
    """Where the patches of one film lie.

    Attributes
    ----------
    corners : ndarray of int32, (K, 2)
        First row and column of each patch.
    size : int
        Rows and columns of a patch.
    coverage : float
        Share of the lung pixels that at least one patch covers, [0, 1].
    """

    corners: Corners
    size: int
    coverage: float


@dataclass(frozen=True)
class Vote:
    """What the patches of one film say.

    Attributes
    ----------
    probabilities : ndarray of float64, (classes,)
        See `count_votes`; they sum to 1.
    votes : ndarray of int64, (classes,)
        Patches that declare each class; they sum to K.
    mean : ndarray of float64, (classes,)
        Mean probability over the patches.
    coverage : float
        Share of the lung pixels that at least one patch covers, [0, 1].
    """

    probabilities: Floats
    votes: npt.NDArray[np.int64]
    mean: Floats
    coverage: float


def places(image: npt.NDArray[np.generic], size: int, count: int, seed: int) -> Places:
    """Return where `count` patches of a prepared film (S, S, C) lie: centres drawn from its lung pixels by `seed`."""
    lungs = lung_pixels(image)
    corners = patch_corners(lungs, size, count, seed)
    return Places(corners, size, coverage(lungs, corners, size))


def patch_batches(image: npt.NDArray[np.uint8], where: Places, most: int = BATCH) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the patches of a film in batches that differ by one at most, so that a compiled network is traced once.

    Parameters
    ----------
    image : ndarray of uint8, (S, S, C)
    where : Places
    most : int
        Patches in a batch at most: the memory that this costs.

    Yields
    ------
    ndarray of float32, (n, size, size, C)
        In [0, 1].
    """
    parts = max(1, math.ceil(len(where.corners) / most))
    for corners in np.array_split(where.corners, parts):
        yield cut(image, corners, where.size).astype(np.float32) / np.float32(255)


def vote(
    image: npt.NDArray[np.uint8], where: Places, probabilities: Callable[[npt.NDArray[np.float32]], Floats]
) -> Vote:
    """Return what the patches of a prepared film, uint8 (S, S, C), say.

    Parameters
    ----------
    image, where
        The film and the places of its patches.
    probabilities : callable
        Patches float32 (n, size, size, C) in [0, 1] -> probabilities float64 (n, classes).
    """
    return count_votes(np.concatenate([probabilities(batch) for batch in patch_batches(image, where)]), where.coverage)


def count_votes(probabilities: Floats, covered: float) -> Vote:
    """Return the vote of K patches.

    The probability of a class is (votes + mean probability) / (K + 1): the share of the votes, with the mean as one
    vote more that is divided. The largest is therefore always a class with the most votes, and where classes have
    equally many, the one with the larger mean.

    Parameters
    ----------
    probabilities : ndarray of float64, (K, classes)
        Of each patch; a patch declares its most probable class, the first of equals.
    covered : float
        Share of the lung pixels that the patches cover.

    Raises
    ------
    ValueError
        If there is no patch.

    Notes
    -----
    Differs from paper: it takes the most frequent class alone, says nothing of ties and gives no probability.
    """
    if len(probabilities) == 0:
        raise ValueError("no patch votes; expected at least one")
    votes = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    mean = probabilities.mean(axis=0)
    return Vote((votes + mean) / (len(probabilities) + 1), votes, mean, covered)
