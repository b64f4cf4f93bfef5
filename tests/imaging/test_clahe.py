from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from covidcxr_tf.imaging.clahe import Redistribution, clahe


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
    with pytest.raises(ValueError, match="clip_limit"):
        clahe(textured((16, 16)), clip_limit, tiles, "even")


def test_an_unknown_redistribution_is_refused() -> None:
    with pytest.raises(ValueError, match="redistribution 'all': expected one of opencv, even"):
        clahe(textured((16, 16)), redistribution="all")  # type: ignore[arg-type]


def two_pixels_apart() -> tuple[np.ndarray, np.ndarray]:
    """Return films of 256 px: 129 or 131 px at level 100, all others at a level of their own."""
    return tuple(np.array([100] * many + list(range(120, 376 - many)), np.uint8).reshape(16, 16) for many in (129, 131))


def test_of_two_pixels_opencv_makes_fifty_levels_and_even_shares_make_one() -> None:
    # The limit is 2 px. 127 over: one each for the bins 0, 2, ..., 252, 51 of them up to level 100, and 2 kept: 53.
    # 129 over: one each for the bins 0 to 128, 101 of them up to level 100, and 2 kept: 103. Times 255 / 256.
    one, other = two_pixels_apart()
    assert [clahe(film, 2.0, 1)[0, 0] for film in (one, other)] == [53, 103]
    # 101 * 127 / 256 + 2 = 52.1 and 101 * 129 / 256 + 2 = 52.9, times 255 / 256.
    assert [clahe(film, 2.0, 1, "even")[0, 0] for film in (one, other)] == [52, 53]


def by_fractions(image: np.ndarray, clip_limit: Fraction, tiles: int, steps: int = 1) -> np.ndarray:
    """Return CLAHE of even shares, a pixel at a time in exact fractions; sides are whole tiles.

    A pixel counts for a level by its nearness to it, and so it reads the table.
    """
    height, width = (side // tiles for side in image.shape)
    area = height * width
    limit = max(Fraction(floor(clip_limit * area), 256), Fraction(1))

    def levels_near(value: int) -> list[tuple[int, Fraction]]:
        level = int(value) // steps
        above = Fraction(int(value) % steps, steps)
        return [(level, 1 - above)] + ([(level + 1, above)] if above else [])

    def table(down: int, across: int) -> list[Fraction]:
        part = image[down * height : (down + 1) * height, across * width : (across + 1) * width]
        counts = [Fraction(0)] * 256
        for value in part.ravel():
            for level, share in levels_near(value):
                counts[level] += share
        share = sum((count - limit for count in counts if count > limit), Fraction(0)) / 256
        below, found = Fraction(0), []
        for count in counts:
            below += min(count, limit) + share
            found.append(Fraction(floor(below * 255 * 16 / area + Fraction(1, 2)), 16))
        return found

    tables = [[table(down, across) for across in range(tiles)] for down in range(tiles)]

    def near(place: int, side: int) -> list[tuple[int, Fraction]]:
        centre = Fraction(2 * place + 1, 2 * side) - Fraction(1, 2)
        first = floor(centre)
        return [(min(max(first + more, 0), tiles - 1), abs(1 - more - (centre - first))) for more in (0, 1)]

    out = np.empty(image.shape, np.uint8)
    for row, column in np.ndindex(*image.shape):
        value = sum(
            tables[down][across][level] * share * tall * wide
            for down, tall in near(row, height)
            for across, wide in near(column, width)
            for level, share in levels_near(image[row, column])
        )
        out[row, column] = floor(value + Fraction(1, 2))
    return out


@pytest.mark.parametrize(("clip_limit", "tiles", "shape"), [(2.0, 4, (24, 20)), (0.75, 3, (21, 30)), (40.0, 1, (9, 5))])
def test_even_shares_are_those_of_exact_fractions(clip_limit: float, tiles: int, shape: tuple[int, int]) -> None:
    image = textured(shape, seed=3)
    assert np.array_equal(clahe(image, clip_limit, tiles, "even"), by_fractions(image, Fraction(clip_limit), tiles))


@pytest.mark.parametrize(("clip_limit", "tiles", "shape"), [(2.0, 4, (24, 20)), (0.75, 3, (21, 30)), (40.0, 1, (9, 5))])
def test_parts_of_levels_are_read_as_exact_fractions_are(clip_limit: float, tiles: int, shape: tuple[int, int]) -> None:
    film = textured(shape, seed=3) * np.uint16(16)
    film += np.random.default_rng(4).integers(0, 16, shape, np.uint16)
    film[:2, :3] = 255 * 16  # the end of the range has no level above it
    found = clahe(film.clip(0, 255 * 16), clip_limit, tiles, "even", 16)
    assert found.dtype == np.uint8
    assert np.array_equal(found, by_fractions(film.clip(0, 255 * 16), Fraction(clip_limit), tiles, 16))


def test_steps_change_nothing_in_a_film_of_whole_levels() -> None:
    for shape in [(1, 1), (1, 9), (7, 3), (65, 64), (3, 200)]:
        image = textured(shape)
        assert np.array_equal(clahe(image * np.uint16(16), redistribution="even", steps=16), even(image))


def test_a_pixel_between_two_levels_by_hand() -> None:
    # 16 px in one tile, without a limit: half of them at 10, half at 12.5, which is half a pixel each for 12 and 13.
    # Up to 10: 8 px; up to 12: 12; up to 13: 16. So 12.5 becomes what lies between 12 / 16 and 16 / 16 of 255.
    film = np.repeat(np.array([10 * 16, 200], np.uint16), 8).reshape(4, 4)
    found = clahe(film, clip_limit=256, tiles=1, redistribution="even", steps=16)
    assert sorted(set(found.ravel().tolist())) == [128, 223]  # 127.5 and 223.125


def test_opencv_cannot_take_steps() -> None:
    with pytest.raises(ValueError, match="steps 16 with redistribution 'opencv'"):
        clahe(textured((16, 16)), steps=16)
    with pytest.raises(ValueError, match="a value is 4095: expected at most 4080"):
        clahe(np.full((16, 16), 4095, np.uint16), redistribution="even", steps=16)
    with pytest.raises(ValueError, match="steps 0"):
        clahe(textured((16, 16)), redistribution="even", steps=0)


@pytest.mark.parametrize("steps", [1, 16])
def test_a_limit_above_every_bin_clips_nothing(steps: int) -> None:
    film = textured((40, 30)) * (np.uint16(steps) if steps > 1 else np.uint8(1))
    unclipped = clahe(film, 256, 2, "even", steps)
    for limit in (1e3, 1e18, 1e300, float("inf")):
        assert np.array_equal(clahe(film, limit, 2, "even", steps), unclipped)


def even(image: np.ndarray) -> np.ndarray:
    return clahe(image, redistribution="even")


def test_even_shares_turn_and_mirror_with_the_film() -> None:
    image = textured((128, 64))
    enhanced = clahe(image, redistribution="even")
    assert np.array_equal(clahe(image.T, redistribution="even").T, enhanced)
    assert np.array_equal(clahe(image[::-1, ::-1], redistribution="even")[::-1, ::-1], enhanced)


def test_half_a_level_of_noise_moves_even_shares_less() -> None:
    random = np.random.default_rng(0)
    film = 110 + 60 * np.sin(np.mgrid[:160, :160].sum(axis=0) / 90)
    one, other = (np.rint(film + random.uniform(-0.5, 0.5, film.shape)).astype(np.uint8) for _ in range(2))

    def moved(redistribution: Redistribution) -> float:
        apart = clahe(one, redistribution=redistribution).astype(float) - clahe(other, redistribution=redistribution)
        # Means of 5 x 5 px: the pixels' own noise goes, and what moves a whole region stays.
        return float(np.sqrt(np.mean(apart.reshape(32, 5, 32, 5).mean(axis=(1, 3)) ** 2)))

    assert 3 * moved("even") < moved("opencv")


def test_a_film_read_in_steps_is_not_moved_by_how_it_was_rounded() -> None:
    """Noise of a quarter of a level: rounded to levels first, it is a level for some pixels and none for others."""
    random = np.random.default_rng(0)
    film = 110 + 60 * np.sin(np.mgrid[:160, :160].sum(axis=0) / 90)
    one, other = (film + random.uniform(-0.25, 0.25, film.shape) for _ in range(2))

    def moved(steps: int) -> float:
        kind = np.uint16 if steps > 1 else np.uint8
        first, second = (
            clahe(np.rint(seen * steps).astype(kind), redistribution="even", steps=steps).astype(float)
            for seen in (one, other)
        )
        return float(np.sqrt(np.mean((first - second) ** 2)))

    assert 1.5 * moved(16) < moved(1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (65, 64), (3, 200)])
def test_even_shares_take_any_size(shape: tuple[int, int]) -> None:
    image = textured(shape)
    before = image.copy()
    assert clahe(image, redistribution="even").shape == shape
    assert np.array_equal(image, before)
