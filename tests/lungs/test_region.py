from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.lungs.region import box_around, lung_box, lung_region, mass_box


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


def test_box_by_mass_by_hand() -> None:
    # 40 of 64 rows and 20 of 64 columns, each with the same weight: a thousandth of it is 0.04 rows or 0.02 columns.
    field = probabilities((64, 64), (10, 20, 50, 40))
    region = lung_region(field)
    assert mass_box(field, region, 0) == pytest.approx((10.04 / 64, 20.02 / 64, 49.96 / 64, 39.98 / 64), abs=0.5 / 4096)
    # 5 % of 39.92 rows and 19.96 columns.
    grown = (10.04 - 1.996, 20.02 - 0.998, 49.96 + 1.996, 39.98 + 0.998)
    assert mass_box(field, region, 0.05) == pytest.approx([edge / 64 for edge in grown], abs=0.5 / 4096)
    assert all((4096 * edge).is_integer() for edge in mass_box(field, region, 1 / 3) or ())


def test_a_pixel_weighs_as_much_as_it_is_above_a_half() -> None:
    # Rows 0 to 9 weigh 1024 * 0.2 a pixel, rows 10 to 19 all of 1024: 1/1000 of 12 rows' worth is .06 light rows.
    field = np.vstack([np.full((10, 8), 0.6, np.float32), np.ones((10, 8), np.float32)])
    top, _, bottom, _ = mass_box(field, lung_region(field), 0) or (0, 0, 0, 0)
    assert top == pytest.approx(0.06 / 20, abs=1 / 4096)
    assert bottom == pytest.approx(1 - 0.012 / 20, abs=1 / 4096)


def test_a_speck_far_out_moves_the_outermost_pixel_and_hardly_the_mass() -> None:
    lungs = probabilities((256, 256), (60, 40, 200, 110), (60, 140, 200, 210))
    speck = lungs.copy()
    speck[2:5, 120:123] = 0.51  # opened it stays: 3 x 3
    edges = [(lung_box(lung_region(f), 0.05), mass_box(f, lung_region(f), 0.05)) for f in (lungs, speck)]
    apart = 256 * np.abs(np.array(edges[0]) - np.array(edges[1])).max(axis=1)
    assert apart[0] > 50 and apart[1] < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_a_box_by_mass_mirrors_and_lies_on_the_film(seed: int) -> None:
    field = (np.random.default_rng(seed).random((40, 30)) ** 0.4).astype(np.float32)
    top, left, bottom, right = mass_box(field, lung_region(field), 0.02) or (9, 9, 9, 9)
    assert 0 <= top < bottom <= 1 and 0 <= left < right <= 1
    turned = field[::-1, ::-1]
    assert mass_box(turned, lung_region(turned), 0.02) == pytest.approx((1 - bottom, 1 - right, 1 - top, 1 - left))


def test_no_box_by_mass_where_there_are_no_lungs_and_one_where_they_are_faint() -> None:
    assert mass_box(np.full((20, 20), 0.5, np.float32), np.zeros((20, 20), np.uint8)) is None
    faint = np.full((20, 20), np.nextafter(np.float32(0.5), np.float32(1)))
    assert mass_box(faint, lung_region(faint), 0.05) == (0, 0, 1, 1)


def test_the_config_says_which_box() -> None:
    field = (np.random.default_rng(1).random((40, 40)) ** 0.4).astype(np.float32)
    field[:10] = 0
    region = lung_region(field)
    assert box_around(region, field, "region", 0.1) == lung_box(region, 0.1)
    assert box_around(region, field, "mass", 0.1) == mass_box(field, region, 0.1)
    assert lung_box(region, 0.1) != mass_box(field, region, 0.1)
