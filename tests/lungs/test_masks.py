from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from covidcxr_tf.lungs.masks import clean_mask, expected_dice, mask_quality


def two_lungs(rows: int = 100, columns: int = 100) -> np.ndarray:
    """Two ellipses of 16 % of the film each."""
    row, column = (np.mgrid[:rows, :columns] + 0.5) / np.array([rows, columns]).reshape(2, 1, 1)
    left = ((row - 0.5) / 0.34) ** 2 + ((column - 0.29) / 0.15) ** 2 < 1
    right = ((row - 0.5) / 0.34) ** 2 + ((column - 0.71) / 0.15) ** 2 < 1
    return (left | right).astype(np.uint8)


def test_cleaning_keeps_two_parts_and_fills_holes() -> None:
    mask = two_lungs()
    dirty = mask.copy()
    dirty[48:52, 26:30] = 0
    dirty[2:6, 48:52] = 1
    assert np.array_equal(clean_mask(dirty), mask)


def test_three_by_three() -> None:
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
    assert clean_mask(ring).tolist() == [[1, 1, 1]] * 3
    # A hole that meets the border is none; corners join.
    diagonal = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.uint8)
    assert np.array_equal(clean_mask(diagonal), diagonal)
    assert not clean_mask(np.zeros((3, 3), np.uint8)).any()


@pytest.mark.parametrize(("second", "kept"), [(14, False), (15, True)])
def test_second_part_stays_from_15_percent_on(second: int, kept: bool) -> None:
    mask = np.zeros((3, 100), np.uint8)
    mask[0] = 1
    mask[2, :second] = 1
    assert bool(clean_mask(mask)[2].any()) is kept


def test_values_of_png_masks_are_taken_as_inside() -> None:
    assert np.array_equal(clean_mask(two_lungs() * 255), two_lungs())
    assert mask_quality(two_lungs() * 255) == mask_quality(two_lungs())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.floats(0.05, 0.9))
def test_cleaning_again_changes_nothing(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random(random.integers(1, 25, 2)) < density).astype(np.uint8)
    cleaned = clean_mask(mask)
    assert cleaned.max() <= 1
    assert ndimage.label(cleaned, np.ones((3, 3)))[1] <= 2
    assert np.array_equal(clean_mask(cleaned), cleaned)


def test_two_lungs_are_good() -> None:
    quality = mask_quality(two_lungs())
    assert quality.area_share == pytest.approx(0.32, abs=0.01)
    assert (quality.components, quality.symmetry, quality.touches_border) == (2, 1.0, False)
    assert (quality.score, quality.verdict, quality.reasons) == (1.0, "good", ())


def test_no_lungs_are_poor() -> None:
    quality = mask_quality(np.zeros((20, 20), np.uint8))
    assert (quality.score, quality.verdict, quality.area_share, quality.components) == (0, "poor", 0, 0)
    assert quality.reasons == ("no lung pixel",)


def test_a_missing_lung_is_poor_and_says_so() -> None:
    mask = two_lungs()
    mask[:, 50:] = 0
    quality = mask_quality(mask)
    assert (quality.verdict, quality.symmetry, quality.components) == ("poor", 0, 1)
    assert any("half of the film" in reason for reason in quality.reasons)
    assert any(reason.startswith("1 part;") for reason in quality.reasons)


def test_a_whole_film_is_poor() -> None:
    quality = mask_quality(np.ones((50, 50), np.uint8))
    assert (quality.verdict, quality.touches_border, quality.area_share) == ("poor", True, 1)


def test_joined_lungs_are_doubtful() -> None:
    mask = two_lungs()
    mask[48:52, 40:60] = 1
    quality = mask_quality(mask)
    assert (quality.components, quality.verdict, len(quality.reasons)) == (1, "doubtful", 1)


def test_specks_below_one_percent_are_no_parts() -> None:
    mask = two_lungs()
    mask[0:2, 60:70] = 1  # 20 of 3220 px
    assert mask_quality(mask).components == 2
    mask[0:6, 60:70] = 1
    quality = mask_quality(mask)
    assert quality.components == 3 and quality.touches_border
    assert quality.verdict == "good" and len(quality.reasons) == 1


def test_symmetry_by_hand_with_a_middle_column() -> None:
    # Columns hold 2, 1, 1 px: left 2 + .5, right 1 + .5.
    mask = np.array([[1, 1, 1], [1, 0, 0]], np.uint8)
    assert mask_quality(mask).symmetry == pytest.approx(0.6)


def test_score_falls_in_a_straight_line_with_the_area() -> None:
    # Usual from .20, nothing at .05: .125 is half way. Two lungs of 25 x 25 px on 100 x 100.
    mask = np.zeros((100, 100), np.uint8)
    mask[30:55, 15:40] = mask[30:55, 60:85] = 1
    quality = mask_quality(mask)
    assert quality.area_share == 0.125
    assert quality.score == pytest.approx(0.5)
    assert quality.verdict == "doubtful"
    assert quality.reasons == ("area 12% of the film; usual 20% to 57%",)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_flipped_masks_are_as_good(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.random(random.integers(2, 40, 2)), 3)
    mask = (noise > np.median(noise)).astype(np.uint8)
    quality = mask_quality(mask)
    assert 0 <= quality.score <= 1
    for turned in (mask[:, ::-1], mask[::-1]):
        other = mask_quality(np.ascontiguousarray(turned))
        assert other.score == pytest.approx(quality.score)
        assert (other.verdict, other.components) == (quality.verdict, quality.components)


def test_goes_into_json_and_cannot_be_changed() -> None:
    quality = mask_quality(two_lungs())
    document = json.loads(json.dumps(quality.as_dict()))
    assert document["verdict"] == "good" and document["reasons"] == []
    assert set(document) == {field.name for field in dataclasses.fields(quality)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        quality.score = 1.0  # type: ignore[misc]


def test_expected_dice_by_hand() -> None:
    # Above 0.5: 0.9 and 0.6; all: 0.9 + 0.6 + 0.5 + 0.1 = 2.1; two pixels in the mask.
    shares = np.array([[0.9, 0.6], [0.5, 0.1]], np.float32)
    assert expected_dice(shares) == pytest.approx(2 * 1.5 / (2.1 + 2), rel=1e-6)
    assert expected_dice(np.full((3, 3), 0.5, np.float32)) == 0
    assert expected_dice(np.ones((3, 3), np.float32)) == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_expected_dice_is_what_drawing_from_the_probabilities_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.random((24, 24)).astype(np.float32) ** random.uniform(0.2, 3)
    inside = shares > 0.5
    drawn = random.random((400, 24, 24)) < shares
    overlap, areas = (drawn & inside).sum(axis=(1, 2)), drawn.sum(axis=(1, 2)) + inside.sum()
    assert expected_dice(shares) == pytest.approx(2 * overlap.mean() / areas.mean(), abs=0.02)


def test_an_uncertain_network_costs_marks_whatever_the_shape() -> None:
    mask = two_lungs()
    sure = mask_quality(mask, np.where(mask > 0, 0.99, 0.01).astype(np.float32))
    unsure = mask_quality(mask, np.where(mask > 0, 0.6, 0.4).astype(np.float32))
    assert sure.score == mask_quality(mask).score == 1
    assert unsure.score < 0.2
    assert unsure.verdict == "poor"
    assert "expects" in unsure.reasons[0]
    assert mask_quality(mask).expected_dice is None
