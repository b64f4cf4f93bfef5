from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.lungs.patches import coverage, cut, lung_pixels, patch_corners, patch_counts


def two_lungs(side: int = 64) -> np.ndarray:
    lungs = np.zeros((side, side), bool)
    lungs[side // 4 : 3 * side // 4, side // 8 : 3 * side // 8] = True
    lungs[side // 4 : 3 * side // 4, 5 * side // 8 : 7 * side // 8] = True
    return lungs


def test_one_lung_pixel_is_the_centre_of_every_patch() -> None:
    lungs = np.zeros((20, 30), bool)
    lungs[9, 17] = True
    assert patch_corners(lungs, 5, 3, seed=0).tolist() == [[7, 15]] * 3
    assert patch_corners(lungs, 4, 2, seed=0).tolist() == [[7, 15]] * 2


@pytest.mark.parametrize(
    ("pixel", "corner"), [((0, 0), (0, 0)), ((19, 29), (15, 25)), ((1, 28), (0, 25)), ((18, 2), (15, 0))]
)
def test_patches_at_the_border_are_moved_inside(pixel: tuple[int, int], corner: tuple[int, int]) -> None:
    lungs = np.zeros((20, 30), bool)
    lungs[pixel] = True
    assert patch_corners(lungs, 5, 1, seed=3).tolist() == [list(corner)]


def test_centres_are_lung_pixels_where_the_border_is_far() -> None:
    # A cross: rows and columns drawn apart from each other would leave it most of the time.
    lungs = np.zeros((60, 60), bool)
    lungs[30, 15:45] = lungs[15:45, 30] = True
    centres = patch_corners(lungs, 9, 500, seed=1) + 4
    assert lungs[centres[:, 0], centres[:, 1]].all()


def test_every_lung_pixel_is_as_likely() -> None:
    lungs = np.zeros((12, 12), bool)
    lungs[3, 4] = lungs[5, 5:8] = True
    corners = patch_corners(lungs, 1, 8000, seed=2)
    _, counts = np.unique(corners, axis=0, return_counts=True)
    # Four pixels, 2000 each; six standard deviations are 232.
    assert len(counts) == 4 and np.abs(counts - 2000).max() < 232


def test_without_lungs_the_whole_frame_counts() -> None:
    corners = patch_corners(np.zeros((8, 8), bool), 1, 2000, seed=0)
    assert {tuple(corner) for corner in corners.tolist()} == {(row, column) for row in range(8) for column in range(8)}


def test_the_seed_decides() -> None:
    lungs = two_lungs()
    first = patch_corners(lungs, 16, 40, seed=5)
    assert first.dtype == np.int32 and first.shape == (40, 2)
    assert np.array_equal(first, patch_corners(lungs.copy(), 16, 40, seed=5))
    assert not np.array_equal(first, patch_corners(lungs, 16, 40, seed=6))
    assert patch_corners(lungs, 16, 0, seed=5).shape == (0, 2)


def test_a_patch_of_the_frame_s_size_is_the_frame() -> None:
    lungs = two_lungs(32)
    corners = patch_corners(lungs, 32, 4, seed=0)
    assert not corners.any()
    assert coverage(lungs, corners, 32) == 1


@pytest.mark.parametrize("size", [0, 33])
def test_sizes_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"patches of {size} px"):
        patch_corners(two_lungs(32), size, 1, seed=0)
    with pytest.raises(ValueError, match="-1 patches"):
        patch_corners(two_lungs(32), 8, -1, seed=0)


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (29, 0), (0, 29)])
def test_patches_that_stick_out_are_refused(corner: tuple[int, int]) -> None:
    corners = np.array([(0, 0), corner], np.int32)
    for call in (
        lambda: coverage(two_lungs(32), corners, 4),
        lambda: cut(np.zeros((32, 32, 1)), corners, 4),
        lambda: patch_counts((32, 32), corners, 4),
    ):
        with pytest.raises(ValueError, match="sticks out"):
            call()


def test_coverage_by_hand() -> None:
    lungs = np.zeros((6, 6), bool)
    lungs[0, :] = True
    corners = np.array([(0, 0), (0, 1), (3, 3)], np.int32)
    # Columns 0, 1, 2 of the six lung pixels.
    assert coverage(lungs, corners, 2) == 0.5
    assert patch_counts((6, 6), corners, 2)[:2, :4].tolist() == [[1, 2, 1, 0], [1, 2, 1, 0]]
    assert coverage(lungs, corners[:0], 2) == 0
    assert coverage(np.zeros((6, 6), bool), corners[2:], 3) == 0.25


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 24), st.integers(0, 12), st.integers(0, 1000), st.data())
def test_counts_equal_plain_additions(
    rows: int, columns: int, size: int, count: int, seed: int, data: st.DataObject
) -> None:
    size = min(size, rows, columns)
    lungs = np.random.default_rng(seed).random((rows, columns)) < data.draw(st.sampled_from([0.0, 0.1, 0.9]))
    corners = patch_corners(lungs, size, count, seed)
    expected = np.zeros((rows, columns), int)
    for row, column in corners:
        assert 0 <= row <= rows - size and 0 <= column <= columns - size
        expected[row : row + size, column : column + size] += 1
    assert np.array_equal(patch_counts((rows, columns), corners, size), expected)
    wanted = (expected[lungs] if lungs.any() else expected) > 0
    assert coverage(lungs, corners, size) == pytest.approx(wanted.mean())


def test_hundred_patches_of_the_paper_s_size_cover_nearly_all_of_the_lungs() -> None:
    # 224 px in 1024, K = 100: the paper's figures, on lungs of a quarter of the film.
    lungs = two_lungs(1024)
    assert coverage(lungs, patch_corners(lungs, 224, 100, seed=0), 224) > 0.99


def test_cut_takes_the_pixels_of_the_corner_on() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    corners = np.array([(0, 0), (15, 25), (3, 7)], np.int32)
    patches = cut(image, corners, 5)
    assert patches.shape == (3, 5, 5, 3) and patches.dtype == np.uint8
    assert np.array_equal(patches[2], image[3:8, 7:12])
    assert np.array_equal(patches[1], image[15:, 25:])
    patches[:] = 0
    assert image.any()
    assert cut(image, corners[:0], 5).shape == (0, 5, 5, 3)


def test_lung_pixels_have_any_channel_above_black() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 1, 2] = 1
    image[1, 0, 0] = 255
    assert lung_pixels(image).tolist() == [[False, True], [True, False]]
