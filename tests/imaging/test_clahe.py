from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.imaging.clahe import clahe


def textured(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    wave = 110 + 60 * np.sin(rows / 11) + 40 * np.cos(columns / 17)
    return (wave + np.random.default_rng(seed).normal(0, 6, shape)).clip(0, 255).astype(np.uint8)


def test_one_tile_without_a_limit_is_plain_equalisation() -> None:
    image = textured((40, 30))
    sums = np.cumsum(np.bincount(image.ravel(), minlength=256))
    expected = np.rint(sums.astype(np.float32) * np.float32(255 / image.size)).astype(np.uint8)
    assert np.array_equal(clahe(image, clip_limit=256, tiles=1), expected[image])


def test_one_tile_clipped_by_hand() -> None:
    # 256 px, half at 10 and half at 20; limit 2.0 * 256 / 256 = 2, so 252 px are over. 252 // 256 = 0 for all bins and
    # one each for the bins 0, 1, ..., 251 (256 // 252 = 1 apart). Up to level 10: 11 + 2; up to 20: 21 + 4.
    image = np.repeat(np.array([10, 20], np.uint8), 128).reshape(16, 16)
    assert sorted(set(clahe(image, clip_limit=2.0, tiles=1).ravel().tolist())) == [13, 25]


def test_raises_local_contrast_and_a_higher_limit_raises_it_more() -> None:
    image = (textured((128, 128)) // 4 + 90).astype(np.uint8)

    def local_contrast(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())

    assert local_contrast(image) < local_contrast(clahe(image, 1.5)) < local_contrast(clahe(image, 4.0))


def test_turns_with_the_film_up_to_rounding() -> None:
    # Transposed, not flipped: OpenCV blends by pixel corners, which is half a pixel to one side.
    image = textured((128, 64))
    assert np.abs(clahe(image.T).T.astype(int) - clahe(image)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (65, 64)])
def test_any_size(shape: tuple[int, int]) -> None:
    image = textured(shape)
    before = image.copy()
    assert clahe(image).shape == shape
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("clip_limit", "tiles"), [(0, 8), (-1, 8), (float("nan"), 8), (2.0, 0)])
def test_settings_that_cv2_takes_silently_are_refused(clip_limit: float, tiles: int) -> None:
    with pytest.raises(ValueError, match="clip_limit"):
        clahe(textured((16, 16)), clip_limit, tiles)
