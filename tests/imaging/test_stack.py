from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.imaging.beasf import beasf
from covidcxr_tf.imaging.clahe import clahe
from covidcxr_tf.imaging.equalise import equalize
from covidcxr_tf.imaging.histogram import histogram, match_histogram
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.imaging.stack import FINE, channels, model_input, three_channel, to_levels
from covidcxr_tf.imaging.universal import universal


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(110, 45, (90, 70)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def film() -> np.ndarray:
    rows, columns = np.mgrid[:120, :100] / 100
    wave = 0.5 + 0.3 * np.sin(7 * rows) * np.cos(5 * columns)
    return (wave + np.random.default_rng(1).normal(0, 0.03, wave.shape)).clip(0, 1).astype(np.float32)


def test_three_channels_are_beasf_clahe_and_the_film(image: np.ndarray) -> None:
    stack = three_channel(image, gamma=0.7, clip_limit=3.0, tiles=4, compat="authors")
    expected = (beasf(image, 0.7, "authors"), clahe(image, 3.0, 4), image)
    for place, channel in enumerate(expected):
        assert np.array_equal(stack[..., place], channel)
    assert stack.shape == (90, 70, 3) and stack.flags.c_contiguous


def test_the_default_config_is_the_three_channel_stack(image: np.ndarray) -> None:
    assert np.array_equal(channels(image, ImageConfig()), three_channel(image))


@pytest.mark.parametrize("names", [("raw",), ("equalize", "raw"), ("raw", "clahe", "beasf", "equalize")])
def test_channels_follow_the_config(image: np.ndarray, names: tuple[str, ...]) -> None:
    stack = channels(image, ImageConfig(channels=names, tiles=4, gamma=2.0))  # type: ignore[arg-type]
    made = {"raw": image, "clahe": clahe(image, 2.0, 4), "beasf": beasf(image, 2.0), "equalize": equalize(image)}
    assert stack.shape == (*image.shape, len(names))
    for place, name in enumerate(names):
        assert np.array_equal(stack[..., place], made[name])


def test_matching_comes_before_every_channel(image: np.ndarray) -> None:
    reference = histogram((image // 2 + 30).astype(np.uint8))
    matched = match_histogram(image, reference)
    assert not np.array_equal(matched, image)
    assert np.array_equal(channels(image, ImageConfig(), reference), three_channel(matched))


def test_ties_go_to_the_even_level_whichever_way_the_sum_was_rounded() -> None:
    halves = (np.arange(255) + 0.5) / 255
    expected = [level + level % 2 for level in range(255)]
    for film in (halves, np.nextafter(halves.astype(np.float32), np.float32(0)), halves * (1 + 1e-7)):
        assert to_levels(film.astype(np.float32)).tolist() == expected


def test_away_from_ties_levels_are_those_of_to_uint8() -> None:
    film = np.random.default_rng(0).random((300, 300), dtype=np.float32)
    part = film.astype(np.float64) * 255 % 1
    clear = np.abs(part - 0.5) > 1 / FINE
    assert np.array_equal(to_levels(film)[clear], to_uint8(film)[clear])
    assert clear.mean() > 0.99
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    assert to_levels(levels).tolist() == list(range(256))


def test_raw_input_is_the_resized_film_in_8_bit(film: np.ndarray) -> None:
    cfg = ImageConfig(size=32, channels=("raw",), lungs="none")
    given = model_input(film, cfg)
    assert given.shape == (32, 32, 1) and given.dtype == np.uint8
    assert np.abs(given[..., 0] - 255 * resize(film, (32, 32))).max() <= 0.5 + 1 / FINE


def test_the_box_is_cut_out_before_anything_else(film: np.ndarray) -> None:
    cfg = ImageConfig(size=32, tiles=4)
    boxed = model_input(film, cfg, box=(0.25, 0.1, 0.75, 0.9))
    assert np.array_equal(boxed, model_input(film[30:90, 10:90], cfg))


def test_the_region_masks_only_where_the_config_says_so(film: np.ndarray) -> None:
    region = np.zeros((12, 10), np.uint8)
    region[3:9, 2:8] = 1
    cfg = ImageConfig(size=32, tiles=4, lungs="crop")
    assert np.array_equal(model_input(film, cfg, region=region), model_input(film, cfg))
    black = film.copy()
    black[:30] = black[90:] = 0
    black[:, :20] = black[:, 80:] = 0
    masked = model_input(film, ImageConfig(size=32, tiles=4, lungs="mask"), region=region)
    assert np.array_equal(masked, model_input(black, cfg))


def test_a_region_without_lungs_masks_nothing(film: np.ndarray) -> None:
    cfg = ImageConfig(size=32, tiles=4, lungs="mask")
    region = np.zeros((12, 10), np.uint8)
    region[0, 0] = 1
    assert np.array_equal(model_input(film, cfg, region=region), model_input(film, cfg))


def test_universal_takes_the_config_s_gamma_and_a_channel_may_repeat(image: np.ndarray) -> None:
    cfg = ImageConfig(channels=("universal", "raw", "universal"), universal_gamma=0.8)
    stack = channels(image, cfg)
    assert np.array_equal(stack[..., 0], universal(image, 0.8)) and not np.array_equal(stack[..., 0], universal(image))
    assert np.array_equal(stack[..., 2], stack[..., 0]) and np.array_equal(stack[..., 1], image)


def test_mask_whole_masks_last_and_keeps_the_frame(film: np.ndarray) -> None:
    region = np.zeros((12, 10), np.uint8)
    region[3:9, 2:8] = 1
    cfg = ImageConfig(size=48, tiles=4, channels=("universal", "clahe", "raw"), lungs="mask_whole")
    whole = model_input(film, cfg)
    masked = model_input(film, cfg, box=(0.3, 0.3, 0.6, 0.7), region=region)
    # 48 rows over 12, 48 columns over 10: centres (n + .5) * 10 / 48 fall into columns 2 to 7 for n = 10 to 37.
    inside = np.zeros((48, 48, 1), np.uint8)
    inside[12:36, 10:38] = 1
    assert np.array_equal(masked, whole * inside)
    assert np.array_equal(whole[..., 0], universal(to_levels(resize(film, (48, 48)))))


@pytest.mark.parametrize("region", [None, np.pad(np.ones((1, 1), np.uint8), ((0, 11), (0, 9)))])
def test_mask_whole_without_lungs_is_the_whole_film(film: np.ndarray, region: np.ndarray | None) -> None:
    cfg = ImageConfig(size=32, tiles=4, lungs="mask_whole")
    expected = model_input(film, ImageConfig(size=32, tiles=4, lungs="none"))
    assert np.array_equal(model_input(film, cfg, (0.25, 0.25, 0.75, 0.75), region), expected)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_constant_film_gives_constant_channels(value: float) -> None:
    given = model_input(np.full((20, 30), value, np.float32), ImageConfig(size=16, tiles=2))
    assert set(given[..., 0].ravel()) == set(given[..., 2].ravel()) == {round(255 * value)}
    assert len(set(given[..., 1].ravel())) == 1


def test_the_film_is_not_changed(film: np.ndarray) -> None:
    before = film.copy()
    model_input(film, ImageConfig(size=32, lungs="mask"), region=np.eye(8, dtype=np.uint8))
    assert np.array_equal(film, before)
