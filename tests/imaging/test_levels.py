import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidcxr_tf.imaging.levels import from_uint8, to_uint8


def test_every_level_survives_both_ways():
    levels = np.arange(256, dtype=np.uint8)
    film = from_uint8(levels)
    assert film.dtype == np.float32
    assert film[0] == 0
    assert film[255] == 1
    np.testing.assert_array_equal(to_uint8(film), levels)


def test_halves_go_to_the_even_level():
    # 0.5 and 2.5 levels round down, 1.5 rounds up.
    film = np.array([0.5, 1.5, 2.5], dtype=np.float32) / np.float32(255)
    assert (film * np.float32(255)).tolist() == [0.5, 1.5, 2.5]
    assert to_uint8(film).tolist() == [0, 2, 2]


def test_overshoot_is_clipped_and_not_wrapped():
    assert to_uint8(np.array([-0.1, 1.1, 2.0])).tolist() == [0, 255, 255]


@given(st.floats(0, 1, width=32))
def test_no_level_is_off_by_more_than_half(value):
    assert abs(int(to_uint8(np.array([value]))[0]) - value * 255) <= 0.5 + 1e-4


@pytest.mark.parametrize("kind", [np.int32, np.uint16, np.float32])
def test_levels_of_another_type_are_refused(kind):
    with pytest.raises(TypeError, match=np.dtype(kind).name):
        from_uint8(np.zeros((2, 2), dtype=kind))
