from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.imaging.crop import box_within_pixels
from covidcxr_tf.imaging.resize import resize


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def loops(row: np.ndarray, wanted: int, start: float = 0, end: float | None = None) -> list[float]:
    """Triangle kernel, as wide as the reduction, one pixel at a time."""
    scale = ((len(row) if end is None else end) - start) / wanted
    reach = max(scale, 1.0)
    result = []
    for place in range(wanted):
        centre = start + (place + 0.5) * scale
        shares = [max(0.0, 1 - abs(source + 0.5 - centre) / reach) for source in range(len(row))]
        result.append(sum(s * float(v) for s, v in zip(shares, row)) / sum(shares))
    return result


def test_halved_by_hand() -> None:
    # Centre of the first pixel: 1.0; sources at .5, 1.5, 2.5 have shares .75, .75, .25 of 1.75.
    film = np.array([[0, 0, 1, 1]], np.float32)
    assert resize(film, (1, 2))[0] == pytest.approx([1 / 7, 6 / 7], abs=1e-7)
    assert resize(film, (1, 1))[0, 0] == pytest.approx(0.5, abs=1e-7)


def test_doubled_by_hand() -> None:
    # Centres at .25, .75, 1.25, 1.75 between sources at .5 and 1.5; the border pixel goes on outside.
    assert resize(np.array([[0, 1]], np.float32), (1, 4))[0] == pytest.approx([0, 0.25, 0.75, 1], abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 60), wanted=st.integers(1, 60), seed=st.integers(0, 99))
def test_rows_and_columns_equal_plain_loops(length: int, wanted: int, seed: int) -> None:
    row = noise((1, length), seed)
    assert resize(row, (1, wanted))[0] == pytest.approx(loops(row[0], wanted), abs=1e-6)
    assert np.array_equal(resize(row.T, (wanted, 1)), resize(row, (1, wanted)).T)


def test_part_of_a_film_by_hand() -> None:
    # From 0.5 to 2.5 of 4 px in 2: centres at 1 and 2, each half of the pixels on its two sides.
    film = np.array([[0, 0.2, 0.6, 1]], np.float32)
    assert resize(film, (1, 2), box=(0, 0.125, 1, 0.625))[0] == pytest.approx([0.1, 0.4], abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(
    length=st.integers(1, 60), wanted=st.integers(1, 60), edges=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
)
def test_a_part_equals_plain_loops(length: int, wanted: int, edges: list[float]) -> None:
    row = noise((1, length))
    box = (0.0, edges[0], 1.0, edges[1])
    start, end = box_within_pixels(box, row.shape)[1::2]
    assert resize(row, (1, wanted), box=box)[0] == pytest.approx(loops(row[0], wanted, start, end), abs=1e-6)


def test_a_part_between_whole_pixels_is_that_part() -> None:
    film = noise((12, 16))
    assert np.array_equal(resize(film, (6, 4), box=(0.25, 0.5, 0.75, 0.75)), film[3:9, 8:12])


@pytest.mark.parametrize("method", ["bilinear", "cubic"])
@pytest.mark.parametrize("value", [0.0, 1 / 3, 0.7, 1.0])
def test_constants_stay_exactly(method: str, value: float) -> None:
    film = np.full((37, 53), value, np.float32)
    for size in ((16, 16), (80, 120), (37, 20), (1, 1)):
        assert np.array_equal(resize(film, size, method), np.full(size, value, np.float32))  # type: ignore[arg-type]


def test_same_size_is_the_film_itself_and_does_not_alias_it() -> None:
    film = noise((9, 7))
    same = resize(film, (9, 7))
    assert np.array_equal(same, film)
    same[:] = 0
    assert film.any()


def test_nothing_aliases() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))  # every other column
    assert np.abs(resize(stripes, (16, 16)) - 0.5).max() < 0.05


def test_cubic_overshoot_is_clipped() -> None:
    edge = np.zeros((8, 8), np.float32)
    edge[:, 4:] = 1
    enlarged = resize(edge, (64, 64), "cubic")
    assert enlarged.min() == 0 and enlarged.max() == 1
    assert np.count_nonzero(enlarged[0] == 1) > 20


@pytest.mark.parametrize("size", [(20, 20), (50, 90)])
def test_flips_with_the_film(size: tuple[int, int]) -> None:
    film = noise((33, 41))
    assert np.allclose(resize(film[::-1, ::-1], size), resize(film, size)[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [((0, 5), (3, 3)), ((5, 5), (0, 3)), ((5, 5, 3), (3, 3))])
def test_what_has_no_pixels_is_refused(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 px"):
        resize(np.zeros(shape, np.float32), size)
