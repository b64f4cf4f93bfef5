"""The region's score in the graph: that of `mask_quality`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from covidcxr_tf.export.quality import expected_dice, mask_score, measured_posture, part_areas
from covidcxr_tf.lungs import masks
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.posture import posture


def blobs(seed: int, side: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=(side, side)), random.choice([0.6, 1.5, side / 10]))
    return (field > np.quantile(field, random.uniform(0.2, 0.9))).astype(np.uint8)


def snake(side: int) -> np.ndarray:
    """Return one part whose ends are half the picture's pixels apart."""
    drawn = np.zeros((side, side), np.uint8)
    drawn[::4] = 1
    for row in range(0, side - 4, 4):
        drawn[row : row + 4, -1 if row % 8 == 0 else 0] = 1
    return drawn


@pytest.mark.parametrize("side", [32, 33])
def test_score_and_parts_are_those_of_opencv(side: int) -> None:
    score, parts = (tf.function(one, autograph=False) for one in (mask_score, part_areas))
    found = set()
    for seed in range(40):
        region = blobs(seed, side)
        expected = cv2.connectedComponentsWithStats(region, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
        assert sorted(area for area in parts(tf.constant(region)).numpy() if area) == sorted(expected)
        assert score(tf.constant(region)).numpy() == np.float32(mask_quality(region).score)
        found.add(float(mask_quality(region).score))
    assert len(found) > 5


def test_limits() -> None:
    assert mask_score(tf.zeros((32, 32), tf.uint8)).numpy() == 0
    whole = np.ones((32, 32), np.uint8)
    assert mask_score(tf.constant(whole)).numpy() == np.float32(mask_quality(whole).score)
    winding = snake(64)
    assert [area for area in part_areas(tf.constant(winding)).numpy() if area] == [winding.sum()]


def test_certainty_is_that_of_numpy() -> None:
    random = np.random.default_rng(0)
    for power in (0.1, 0.5, 1.0, 4.0):
        shares = (random.random((33, 33)) ** power).astype(np.float32)
        region = (shares > 0.5).astype(np.uint8)
        assert expected_dice(tf.constant(shares)).numpy() == pytest.approx(masks.expected_dice(shares), rel=1e-12)
        found = mask_score(tf.constant(region), tf.constant(shares)).numpy()
        assert found == pytest.approx(mask_quality(region, shares).score, rel=1e-6)
    assert expected_dice(tf.zeros((4, 4))).numpy() == 0


def test_posture_is_that_of_numpy() -> None:
    twin = tf.function(measured_posture, autograph=False)
    random = np.random.default_rng(3)
    scores = set()
    for seed in range(30):
        region = blobs(seed, 40)
        levels = ndimage.gaussian_filter(random.integers(0, 256, (40, 40)), 2).astype(np.uint8)
        expected = posture(region, levels)
        np.testing.assert_allclose(twin(tf.constant(region), tf.constant(levels)).numpy(), expected, atol=1e-15)
        found = mask_score(tf.constant(region), None, tf.constant(levels)).numpy()
        assert found == pytest.approx(mask_quality(region, None, expected).score, rel=1e-6, abs=1e-12)
        scores.add(float(found))
    assert len(scores) > 3
    for region in (np.zeros((9, 9), np.uint8), np.ones((9, 9), np.uint8)):
        assert not twin(tf.constant(region), tf.zeros((9, 9), tf.uint8)).numpy().any()
