from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidcxr_tf.imaging.crop import (
    Box,
    box_pixels,
    box_within_pixels,
    crop,
    lungs_found,
    mask_film,
    region_at,
)


def test_rounded_outwards_by_hand() -> None:
    # Rows .26 * 10 = 2.6 down to 2, .71 * 10 = 7.1 up to 8; columns .5 * 7 = 3.5 to 3, .58 * 7 = 4.06 to 5.
    assert box_pixels((0.26, 0.5, 0.71, 0.58), (10, 7)) == (2, 3, 8, 5)
    film = np.arange(70).reshape(10, 7)
    assert crop(film, (0.26, 0.5, 0.71, 0.58)).tolist() == film[2:8, 3:5].tolist()


def test_the_whole_box_is_the_whole_film() -> None:
    film = np.arange(12).reshape(3, 4)
    assert np.array_equal(crop(film, (0, 0, 1, 1)), film)
    assert crop(np.zeros((3, 4, 2)), (0, 0, 1, 1)).shape == (3, 4, 2)


fractions = st.floats(0, 1)


@given(st.tuples(fractions, fractions, fractions, fractions), st.integers(1, 300), st.integers(1, 300))
def test_never_empty_and_never_outside(box: tuple[float, float, float, float], rows: int, columns: int) -> None:
    top, left, bottom, right = box_pixels(box, (rows, columns))
    assert 0 <= top < bottom <= rows
    assert 0 <= left < right <= columns
    assert top <= box[0] * rows and left <= box[1] * columns
    assert bottom >= min(box[2] * rows, rows) and right >= min(box[3] * columns, columns)


def test_outside_the_region_is_black() -> None:
    film = np.full((4, 4), 0.5, np.float32)
    masked = mask_film(film, np.array([[1, 0], [0, 1]], np.uint8))
    half = [0.5, 0.5, 0, 0]
    assert masked.tolist() == [half, half, half[::-1], half[::-1]]
    assert masked.dtype == np.float32 and film.min() == 0.5


def test_each_film_pixel_asks_the_region_pixel_under_its_centre() -> None:
    # Five film pixels over two region pixels: centres .2, .6, 1.0, 1.4, 1.8; 1.0 lies in the second.
    masked = mask_film(np.ones((1, 5), np.float32), np.array([[1, 0]], np.uint8))
    assert masked[0].tolist() == [1, 1, 0, 0, 0]
    # Two film pixels over five: centres 1.25 and 3.75.
    masked = mask_film(np.ones((1, 2), np.float32), np.array([[0, 1, 0, 0, 0]], np.uint8))
    assert masked[0].tolist() == [1, 0]


def test_a_region_at_another_resolution_by_hand() -> None:
    region = np.array([[1, 0], [0, 1]], np.uint8)
    assert region_at(region, (2, 2)).tolist() == region.tolist()
    assert region_at(region, (3, 4)).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert region_at(region, (3, 4)).dtype == np.uint8


def test_mask_flips_with_the_film() -> None:
    random = np.random.default_rng(0)
    film, region = random.random((40, 60), dtype=np.float32), random.integers(0, 2, (16, 12)).astype(np.uint8)
    flipped = mask_film(film[:, ::-1], region[:, ::-1])
    assert np.array_equal(flipped, mask_film(film, region)[:, ::-1])


@pytest.mark.parametrize(("pixels", "found"), [(0, False), (1, False), (2, True), (100, True)])
def test_found_from_two_percent_on(pixels: int, found: bool) -> None:
    region = np.zeros(100, np.uint8)
    region[:pixels] = 1
    assert lungs_found(region.reshape(10, 10)) is found


def test_a_box_within_pixels_by_hand() -> None:
    # 0.1 of 33 rows is 3.3, to an eighth 3.25; 0.5 of 20 columns is 10.
    assert box_within_pixels((0.1, 0.5, 0.9, 1.0), (33, 20)) == (3.25, 10, 29.75, 20)


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.999, 0.4999, 1.0, 0.5)])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300)])
def test_a_box_within_pixels_is_a_pixel_at_least_and_on_the_film(box: Box, shape: tuple[int, int]) -> None:
    top, left, bottom, right = box_within_pixels(box, shape)
    assert 0 <= top <= bottom - 1 <= shape[0] - 1
    assert 0 <= left <= right - 1 <= shape[1] - 1
