from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.lungs.region import lung_box, lung_region


def probabilities(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    field = np.zeros(shape, np.float32)
    for top, left, bottom, right in boxes:
        field[top:bottom, left:right] = 0.9
    return field


def loops_region(field: np.ndarray) -> np.ndarray:
    """Erode 3, dilate 3, dilate 5, one pixel at a time; beyond the border nobody votes."""

    def around(mask: np.ndarray, reach: int, vote: object) -> np.ndarray:
        result = np.zeros_like(mask)
        for row in range(mask.shape[0]):
            for column in range(mask.shape[1]):
                window = mask[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
                result[row, column] = vote(window.ravel().tolist())  # type: ignore[operator]
        return result

    return around(around(around(field > 0.5, 1, all), 1, any), 2, any).astype(np.uint8)


def test_a_three_by_three_patch_grows_by_two_on_each_side() -> None:
    region = lung_region(probabilities((20, 20), (8, 8, 11, 11)))
    expected = np.zeros((20, 20), np.uint8)
    expected[6:13, 6:13] = 1
    assert np.array_equal(region, expected)


def test_specks_and_lines_go() -> None:
    assert not lung_region(probabilities((20, 20), (3, 3, 5, 5), (10, 0, 12, 20))).any()


def test_a_half_is_outside() -> None:
    assert not lung_region(np.full((9, 9), 0.5, np.float32)).any()
    assert lung_region(np.full((9, 9), np.nextafter(np.float32(0.5), np.float32(1)))).all()


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops_at_borders_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    field = (random.random(random.integers(1, 24, 2)) ** 0.3).astype(np.float32)
    assert np.array_equal(lung_region(field), loops_region(field))
    assert np.array_equal(lung_region(field[:, ::-1]), lung_region(field)[:, ::-1])


def test_box_by_hand() -> None:
    region = np.zeros((10, 20), np.uint8)
    region[2:6, 5:15] = 1
    # 4 rows and 10 columns; 5 % of them are .2 and .5.
    assert lung_box(region, 0) == (0.2, 0.25, 0.6, 0.75)
    assert lung_box(region, 0.05) == pytest.approx((0.18, 0.225, 0.62, 0.775))
    assert lung_box(region, 0.5) == pytest.approx((0, 0, 0.8, 1))


def test_box_of_two_lungs_holds_both_and_stays_on_the_film() -> None:
    region = np.zeros((10, 10), np.uint8)
    region[0:3, 0:2] = region[6:10, 8:10] = 1
    assert lung_box(region, 0.05) == (0, 0, 1, 1)


def test_no_box_below_two_percent() -> None:
    region = np.zeros((10, 10), np.uint8)
    assert lung_box(region) is None
    region[4, 4] = 1
    assert lung_box(region) is None
    region[4, 5] = 1
    assert lung_box(region, 0) == (0.4, 0.4, 0.5, 0.6)
