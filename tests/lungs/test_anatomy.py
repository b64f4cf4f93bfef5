"""Left and right, heart over lung, and the cardiothoracic ratio, on drawings whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import DataError
from covidcxr_tf.lungs.anatomy import (
    BACKGROUND,
    CLASSES,
    HEART,
    LEFT_LUNG,
    RIGHT_LUNG,
    anatomy_mask,
    cardiothoracic_ratio,
    lung_side_masks,
)

SHAPE = (40, 60)


def boxes(*places: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask of boxes: first row, first column, one past the last row and column."""
    mask = np.zeros(SHAPE, np.uint8)
    for top, left, bottom, right in places:
        mask[top:bottom, left:right] = 1
    return mask


RIGHT, LEFT = boxes((5, 5, 35, 25)), boxes((5, 35, 35, 55))
HEARTS = boxes((18, 26, 34, 42))


def sides(lung: np.ndarray, heart: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    left, right = lung_side_masks(lung, heart)
    assert left.dtype == right.dtype == np.uint8
    np.testing.assert_array_equal(left + right, lung != 0)  # all of it, no pixel twice
    return left, right


def test_the_patients_right_lung_stands_on_the_left_of_the_picture() -> None:
    left, right = sides((LEFT | RIGHT) * np.uint8(255))
    np.testing.assert_array_equal(left, LEFT)
    np.testing.assert_array_equal(right, RIGHT)


def test_classes_by_number_and_the_heart_over_the_lung() -> None:
    assert [CLASSES[number] for number in (BACKGROUND, HEART, LEFT_LUNG, RIGHT_LUNG)] == list(CLASSES)
    found = anatomy_mask(LEFT | RIGHT, HEARTS * 255)
    assert found.dtype == np.uint8
    assert (found[20, 38], found[20, 45], found[20, 10], found[20, 30], found[0, 0]) == (1, 2, 3, 1, 0)
    np.testing.assert_array_equal(found == HEART, HEARTS == 1)
    np.testing.assert_array_equal(found == LEFT_LUNG, (LEFT == 1) & (HEARTS == 0))


@pytest.mark.parametrize("heart", [None, HEARTS, np.zeros(SHAPE, np.uint8)], ids=["none", "drawn", "empty"])
def test_lungs_that_touch_are_split_where_they_are_thinnest(heart: np.ndarray | None) -> None:
    left, right = sides(LEFT | RIGHT | boxes((8, 25, 12, 35)), heart)
    # The bridge is four pixels high in columns 25 to 34; of equal columns the one nearest to the midline is cut:
    # 34 beside the heart's middle column, 34; 30 beside the film's, 30.
    cut = 34 if heart is not None and heart.any() else 30
    assert (int(np.flatnonzero(left.any(axis=0))[0]), int(np.flatnonzero(right.any(axis=0))[-1])) == (cut, cut - 1)
    np.testing.assert_array_equal(left[:, 35:], LEFT[:, 35:])
    np.testing.assert_array_equal(right[:, :25], RIGHT[:, :25])


def test_the_thinnest_column_wins_over_the_nearest() -> None:
    bridge = boxes((8, 25, 16, 35))
    bridge[10:, 28] = 0
    left, right = sides(LEFT | RIGHT | bridge)
    assert np.flatnonzero(left.any(axis=0))[0] == 28
    assert np.flatnonzero(right.any(axis=0))[-1] == 27


@pytest.mark.parametrize("heart", [None, HEARTS], ids=["none", "drawn"])
@pytest.mark.parametrize("lung", [LEFT, RIGHT], ids=["left", "right"])
def test_one_lung_alone_is_not_cut(lung: np.ndarray, heart: np.ndarray | None) -> None:
    left, right = sides(lung, heart)
    full, empty = (left, right) if lung is LEFT else (right, left)
    np.testing.assert_array_equal(full, lung)
    assert not empty.any()


def test_a_lung_in_two_pieces_is_one_lung() -> None:
    pieces = boxes((2, 36, 16, 54), (20, 34, 38, 55))
    left, right = sides(pieces)
    assert not right.any()
    left, right = sides(pieces | RIGHT)
    np.testing.assert_array_equal(left, pieces)
    np.testing.assert_array_equal(right, RIGHT)


def test_specks_go_with_the_nearer_lung() -> None:
    near_left, near_right = boxes((1, 50, 3, 52)), boxes((37, 22, 39, 24))
    left, right = sides(LEFT | RIGHT | near_left | near_right)
    np.testing.assert_array_equal(left, LEFT | near_left)
    np.testing.assert_array_equal(right, RIGHT | near_right)


def test_a_speck_of_a_lost_lung_stays_on_its_side() -> None:
    speck = boxes((6, 40, 9, 43))
    left, right = sides(RIGHT | speck)
    np.testing.assert_array_equal(left, speck)
    np.testing.assert_array_equal(right, RIGHT)


def test_no_lung_no_side() -> None:
    empty = np.zeros(SHAPE, np.uint8)
    left, right = sides(empty, HEARTS)
    assert not left.any() and not right.any()
    np.testing.assert_array_equal(anatomy_mask(empty, HEARTS), HEARTS * HEART)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_any_mask_is_shared_out_whole(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lung, heart = (generator.random((2, 12, 15)) < generator.random((2, 1, 1))).astype(np.uint8)
    sides(lung, heart)
    sides(lung)
    found = anatomy_mask(lung, heart)
    np.testing.assert_array_equal(found == HEART, heart == 1)
    np.testing.assert_array_equal(found >= LEFT_LUNG, (lung == 1) & (heart == 0))


def test_mirrored_lungs_change_sides() -> None:
    generator = np.random.default_rng(2)
    lung = LEFT | RIGHT
    lung[generator.random(SHAPE) < 0.02] = 0
    left, right = sides(lung)
    other_left, other_right = sides(np.ascontiguousarray(lung[:, ::-1]))
    np.testing.assert_array_equal(other_left, right[:, ::-1])
    np.testing.assert_array_equal(other_right, left[:, ::-1])


def test_cardiothoracic_ratio_by_hand() -> None:
    # Heart 16 columns; lungs from column 5 to 54: 50.
    assert cardiothoracic_ratio(LEFT | RIGHT, HEARTS) == 16 / 50
    # The widest row counts, not the widest columns of different rows: right lung from 5 above, left lung to 54 below.
    slanted = boxes((5, 5, 20, 25), (5, 35, 20, 50), (20, 10, 35, 25), (20, 35, 35, 55))
    assert cardiothoracic_ratio(slanted, HEARTS) == 16 / 45
    # The heart's width is over all rows: its largest distances to both sides.
    assert cardiothoracic_ratio(LEFT | RIGHT, boxes((18, 26, 22, 32), (22, 30, 34, 46))) == 20 / 50


@pytest.mark.parametrize(
    ("lung", "heart"),
    [(LEFT | RIGHT, 0 * HEARTS), (0 * LEFT, HEARTS), (LEFT, HEARTS), (RIGHT, HEARTS)],
    ids=["no heart", "no lung", "left alone", "right alone"],
)
def test_no_ratio_without_heart_and_both_lungs(lung: np.ndarray, heart: np.ndarray) -> None:
    assert cardiothoracic_ratio(lung, heart) is None


def test_masks_of_two_films_are_refused() -> None:
    for function in (anatomy_mask, cardiothoracic_ratio):
        with pytest.raises(DataError, match=r"\(40, 60\) and a heart mask of \(40, 59\)"):
            function(LEFT, HEARTS[:, :-1])
