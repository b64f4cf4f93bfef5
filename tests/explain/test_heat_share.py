"""The share of heat inside the lungs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.explain.heat_share import heat_share


def test_heat_inside_the_lungs() -> None:
    heat = np.array([[1.0, 3.0], [0.0, 4.0]], np.float32)
    lungs = np.array([[0, 1], [1, 0]], np.uint8)
    assert heat_share(heat, lungs) == pytest.approx(3 / 8)
    assert heat_share(heat * 0, lungs) is None
    assert heat_share(heat, lungs * 0) is None


def test_many_faint_pixels_are_not_lost_in_the_sum() -> None:
    heat = np.full((2048, 2048), 1e-4, np.float32)
    heat[0, 0] = 1.0
    lungs = np.zeros((2048, 2048), np.uint8)
    lungs[:, :1024] = 1
    assert heat_share(heat, lungs) == pytest.approx((0.9999 + 2**21 * 1e-4) / (0.9999 + 2**22 * 1e-4), rel=1e-7)
