"""How much of a heat map lies in the lungs."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.explain.explanation import Film, Mask


def heat_share(heat: Film, lungs: Mask) -> float | None:
    """Return the share of heat inside the lungs, [0, 1]; None where there is no heat or there are no lungs.

    Parameters
    ----------
    heat : ndarray of float32, (H, W)
        Not negative.
    lungs : ndarray of uint8, (H, W)
        0/1.
    """
    total = float(heat.sum(dtype=np.float64))
    return float((heat * lungs).sum(dtype=np.float64)) / total if total and lungs.any() else None
