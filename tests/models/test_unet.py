"""The U-Net: sizes of the paper, open sizes, what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from covidcxr_tf.models import unet


def convolutions(filters: tuple[int, ...]) -> int:
    """Return the parameters, counted by hand: kernels, four vectors a batch normalisation, 2x2 up, 1x1 out."""

    def double(wide_in: int, width: int) -> int:
        return 9 * wide_in * width + 9 * width * width + 2 * 4 * width

    down = sum(double(wide_in, width) for wide_in, width in zip((1, *filters), filters))
    up = sum(4 * below * width + width + double(2 * width, width) for width, below in itertools.pairwise(filters))
    return down + up + filters[0] + 1


@pytest.mark.parametrize(
    ("filters", "count"), [((16, 32, 64, 128, 256), 1_945_233), ((32, 64, 128, 256, 512), 7_768_353)]
)
def test_parameters_by_hand(filters: tuple[int, ...], count: int) -> None:
    assert unet.build(filters=filters).count_params() == convolutions(filters) == count


@pytest.mark.parametrize("size", [(8, 24), (16, 8)])
def test_an_open_size_takes_any_multiple(size: tuple[int, int]) -> None:
    model = unet.build((None, None, 1), filters=(2, 3, 4), seed=1)
    assert model(np.zeros((1, *size, 1), np.float32)).shape == (1, *size, 1)


def test_each_pixel_sees_its_surroundings_and_keeps_its_place() -> None:
    model = unet.build((32, 32, 1), filters=(4, 4, 4), seed=2)
    film = np.zeros((1, 32, 32, 1), np.float32)
    dotted = film.copy()
    dotted[0, 5, 26] = 1
    change = np.abs(np.asarray(model(dotted)) - np.asarray(model(film)))[0, ..., 0]
    rows, columns = np.nonzero(change > 0.5 * change.max())
    assert abs(rows.mean() - 5) < 3
    assert abs(columns.mean() - 26) < 3


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((60, 64, 1), r"60 rows; 5 levels need a multiple of 16 \(nearest: 64\)"),
        ((64, 8, 1), r"8 columns; 5 levels need a multiple of 16 \(nearest: 16\)"),
    ],
)
def test_sizes_that_cannot_be_halved(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unet.build(shape)


def test_one_level_is_no_unet() -> None:
    with pytest.raises(ValueError, match="at least two levels"):
        unet.build((16, 16, 1), filters=(8,))
