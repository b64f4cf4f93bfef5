from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.imaging.equalise import equalize, rank_equalize


def loops(image: np.ndarray) -> np.ndarray:
    """The documented rule, one level at a time, with Python's own half-to-even rounding."""
    flat = image.ravel().tolist()
    lowest = min(flat)
    rest = sum(level > lowest for level in flat)
    if rest == 0:
        return image
    factor = np.float32(255) / np.float32(rest)
    table = [round(float(np.float32(sum(lowest < other <= level for other in flat)) * factor)) for level in range(256)]
    return np.array(table, np.uint8)[image]


def test_by_hand() -> None:
    # 3 at the lowest level; 3 above it: f = 85. S(20) = 1, S(30) = 3.
    image = np.array([[10, 10, 10], [20, 30, 30]], np.uint8)
    assert equalize(image).tolist() == [[0, 0, 0], [85, 255, 255]]


def test_halves_go_to_the_even_level() -> None:
    # f = 255 / 2 = 127.5, and S(20) = 1.
    assert equalize(np.array([[10, 20, 30]], np.uint8)).tolist() == [[0, 128, 255]]
    # f = 255 / 102 = 2.5, S = 1: 2.5 goes to 2.
    assert equalize(np.arange(103, dtype=np.uint8)[np.newaxis])[0, 1] == 2


@pytest.mark.parametrize("seed", range(5))
def test_equals_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.normal(128, 10 + 20 * seed, random.integers(1, 20, 2)).clip(0, 255).astype(np.uint8)
    assert np.array_equal(equalize(image), loops(image))


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_constant_film_stays(level: int) -> None:
    image = np.full((5, 7), level, np.uint8)
    assert np.array_equal(equalize(image), image)


def test_flips_with_the_film_and_takes_views() -> None:
    image = np.random.default_rng(9).integers(0, 200, (12, 9)).astype(np.uint8)
    assert np.array_equal(equalize(image[:, ::-1]), equalize(image)[:, ::-1])


def test_rank_is_the_share_of_not_brighter_neighbours() -> None:
    # A disk of radius 1 is a plus. Centre 5 among {1, 5, 9, 9, 9}: two of five are not above it -> 255 * 2 / 5.
    image = np.array([[0, 9, 0], [1, 5, 9], [0, 9, 0]], np.uint8)
    assert rank_equalize(image, radius=1)[1, 1] == 102


def test_rank_does_not_see_brightness_or_slope() -> None:
    image = np.random.default_rng(4).integers(0, 80, (20, 20)).astype(np.uint8)
    assert np.array_equal(rank_equalize(image, radius=4), rank_equalize((3 * image + 10).astype(np.uint8), radius=4))
