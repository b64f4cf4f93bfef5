"""Does a film stand upright, with bone bright? Told from its lung region and the grey between the lungs.

Three measures of a film as the lung network sees it (CLAHE, 256 x 256 px). Their usual values are what 643 films of
patients that the network never saw keep (children and adults, healthy and white lungs); the same films inverted,
turned by a quarter or upside down set the limits at which a mark is 0. Inverted or on their side, none of them passes
as good; upside down, a fifth does. `scripts/mask_failures.py` counts it on the 152 of them that have drawn masks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from covidcxr_tf.config import ImageConfig

# How much brighter the film is between the lungs than in them. Upright: 0.088 at least, median 0.26. Inverted: -0.091
# at most.
POLARITY_USUAL = 0.09
POLARITY_LIMIT = -0.05

# Of the pixels that lie between parts of the region, in its rows or in its columns: the share that does in rows.
# Upright: 0.92 at least. On its side: 0.95 in one of twenty, median 0.5. Upside down: median 0.91.
SIDE_BY_SIDE_USUAL = 0.92
SIDE_BY_SIDE_LIMIT = 0.88

# How much brighter it is between the bases than between the tops: the heart and the belly, against the windpipe.
# Upright: -0.12 at least in 99.5 %, median 0.04. Upside down: median -0.12.
BRIGHTER_BELOW_USUAL = -0.12
BRIGHTER_BELOW_LIMIT = -0.20


class Posture(NamedTuple):
    """What a film's lungs say of how it is shown; see the constants for the usual values.

    Attributes
    ----------
    polarity : float
        Mean between the lungs less mean in them, [-1, 1]; 0 where nothing lies between.
    side_by_side : float
        Pixels between parts of the region along rows, over those along rows or columns, [0, 1]; 0 where there are none.
    brighter_below : float
        Between the lungs: mean in the region's lowest third less mean in its highest, [-1, 1]; 0 where one has none.
    """

    polarity: float
    side_by_side: float
    brighter_below: float


def judged(image: ImageConfig) -> bool:
    """Return whether the measures hold for a network that sees films so: their limits are those of CLAHE."""
    return image.channels[0] == "clahe"


def posture(region: npt.NDArray[np.uint8], levels: npt.NDArray[np.uint8]) -> Posture:
    """Return the measures of a film.

    Parameters
    ----------
    region : uint8 (h, w), 0 or 1
        Where the lungs are, with at least one pixel.
    levels : uint8 (h, w)
        The film as the network saw it.

    Notes
    -----
    Sums of whole numbers, so that the twin in `export.quality` gives the same.
    """
    inside = region > 0
    between, above = between_in_rows(inside), between_in_rows(inside.T).T
    counts = int(between.sum()), int(above.sum())
    rows = np.flatnonzero(inside.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    third = (bottom - top) // 3
    low = mean_level(levels[bottom - third : bottom], between[bottom - third : bottom])
    high = mean_level(levels[top : top + third], between[top : top + third])
    apart = mean_level(levels, between)
    return Posture(
        0.0 if apart is None else apart - (mean_level(levels, inside) or 0.0),
        counts[0] / max(sum(counts), 1),
        0.0 if low is None or high is None else low - high,
    )


def between_in_rows(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels outside that have some of the region to their left and to their right, bool (h, w)."""
    left = np.logical_or.accumulate(inside, axis=1)
    right = np.logical_or.accumulate(inside[:, ::-1], axis=1)[:, ::-1]
    return left & right & ~inside


def mean_level(levels: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_]) -> float | None:
    """Return the mean level over some pixels, [0, 1], or None where there are none."""
    count = int(where.sum())
    return int(levels[where].sum(dtype=np.int64)) / (255 * count) if count else None
