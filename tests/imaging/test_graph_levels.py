from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.imaging import beasf as numpy_beasf
from covidcxr_tf.imaging import graph_levels as twin
from covidcxr_tf.imaging.clahe import clahe
from covidcxr_tf.imaging.equalise import equalize
from covidcxr_tf.imaging.histogram import histogram, match_histogram
from covidcxr_tf.imaging.universal import universal

ANY_IMAGE = tf.TensorSpec([None, None], tf.uint8)


def image_of(seed: int, most: int = 150) -> np.ndarray:
    """Noise, waves, steps or few grey levels, of any size and parity."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, most, 2))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    kinds = (
        random.integers(0, 256, shape),
        120 + 90 * np.sin(rows / 9) * np.cos(columns / 14) + random.normal(0, 4, shape),
        np.where(rows + columns < sum(shape) / 2, random.integers(0, 256), random.integers(0, 256)),
        random.integers(100, 103, shape),
        random.normal(random.integers(0, 256), 12, shape),
        np.full(shape, random.integers(0, 256)),
    )
    return np.clip(kinds[seed % len(kinds)], 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("clip_limit", "tiles"), [(2.0, 8), (0.5, 8), (4.0, 3), (40.0, 1), (1.7, 16)])
def test_clahe_is_opencv_s_bit_for_bit(clip_limit: float, tiles: int) -> None:
    compiled = tf.function(lambda image: twin.clahe(image, clip_limit, tiles), [ANY_IMAGE], jit_compile=False)
    for seed in range(30):
        image = image_of(seed)
        assert np.array_equal(compiled(image), clahe(image, clip_limit, tiles)), (seed, image.shape)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 64), (64, 1), (8, 8), (9, 8), (8, 9), (15, 17), (320, 320), (321, 320), (257, 431)]
)
def test_clahe_at_sizes_that_need_padding_in_none_one_or_both_axes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(shape[0]).normal(128, 50, shape).clip(0, 255).astype(np.uint8)
    assert np.array_equal(twin.clahe(tf.constant(image)), clahe(image))


def test_clahe_of_a_known_size_is_the_same() -> None:
    # With the size known, Grappler folds constants: divisions by them would become multiplications.
    image = np.random.default_rng(1).normal(128, 50, (321, 203)).clip(0, 255).astype(np.uint8)
    compiled = tf.function(twin.clahe, [tf.TensorSpec(image.shape, tf.uint8)], jit_compile=False)
    assert np.array_equal(compiled(image), clahe(image))


@pytest.mark.parametrize(("clip_limit", "tiles"), [(2.0, 8), (0.5, 8), (4.0, 3), (40.0, 1), (1.7, 16)])
def test_clahe_of_even_shares_is_numpy_s_bit_for_bit(clip_limit: float, tiles: int) -> None:
    compiled = tf.function(lambda image: twin.clahe(image, clip_limit, tiles, "even"), [ANY_IMAGE], jit_compile=False)
    for seed in range(30):
        image = image_of(seed)
        assert np.array_equal(compiled(image), clahe(image, clip_limit, tiles, "even")), (seed, image.shape)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (9, 8), (8, 9), (15, 17), (320, 320), (257, 431)])
def test_clahe_of_even_shares_of_a_known_size(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(shape[0]).normal(128, 50, shape).clip(0, 255).astype(np.uint8)
    compiled = tf.function(lambda film: twin.clahe(film, redistribution="even"), [tf.TensorSpec(shape, tf.uint8)])
    assert np.array_equal(compiled(image), clahe(image, redistribution="even"))


def test_histogram_and_equalize() -> None:
    compiled = tf.function(lambda image: (twin.histogram(image), twin.equalize(image)), [ANY_IMAGE])
    for seed in range(60):
        image = image_of(seed, most=70)
        counts, equalized = compiled(image)
        assert np.array_equal(counts, histogram(image))
        assert np.array_equal(equalized, equalize(image))


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.2])
def test_universal(gamma: float) -> None:
    compiled = tf.function(lambda image: twin.universal(image, gamma), [ANY_IMAGE], jit_compile=False)
    for seed in range(30):
        image = image_of(seed, most=70)
        assert np.array_equal(compiled(image), universal(image, gamma))
    with pytest.raises(ValueError, match="gamma 0"):
        twin.universal(tf.constant(image), 0)


def test_match_histogram() -> None:
    compiled = tf.function(twin.match_histogram, [ANY_IMAGE, tf.TensorSpec([256], tf.int64)])
    for seed in range(60):
        image, reference = image_of(seed, most=70), histogram(image_of(seed + 1, most=90))
        assert np.array_equal(compiled(image, reference), match_histogram(image, reference))


@pytest.mark.parametrize("compat", ["ours", "authors"])
@pytest.mark.parametrize("gamma", [0.3, 1.5, 9.0, 1000.0])
def test_beasf_tables_of_random_histograms(gamma: float, compat: str) -> None:
    compiled = tf.function(
        lambda counts: twin.beasf_table(counts, gamma, compat),  # type: ignore[arg-type]
        [tf.TensorSpec([256], tf.int64)],
        jit_compile=False,
    )
    random = np.random.default_rng(round(gamma * 10))
    for _ in range(150):
        counts = np.zeros(256, np.int64)
        levels = random.choice(256, random.integers(1, 60), replace=False)
        counts[levels] = random.integers(1, 10 ** random.integers(1, 7), len(levels))
        expected = numpy_beasf.beasf_table(counts, gamma, compat)  # type: ignore[arg-type]
        assert np.array_equal(compiled(counts), expected), np.flatnonzero(counts)


@pytest.mark.parametrize("compat", ["ours", "authors"])
def test_beasf_of_extreme_images(compat: str) -> None:
    compiled = tf.function(lambda image: twin.beasf(image, 1.5, compat), [ANY_IMAGE])  # type: ignore[arg-type]
    pairs = [(0, 0), (255, 255), (0, 1), (254, 255), (0, 255), (1, 2), (253, 255), (7, 7)]
    for low, high in pairs:
        for highs in (1, 99, 199):
            image = np.repeat([low, high], [200 - highs, highs]).astype(np.uint8).reshape(20, 10)
            assert np.array_equal(compiled(image), numpy_beasf.beasf(image, 1.5, compat))  # type: ignore[arg-type]


def test_a_sigmoid_never_ends_so_near_a_whole_number_that_an_ulp_decides() -> None:
    """Why the twins may use two libraries' exp: the nearest miss is 1e-6, their difference 1e-14."""
    nearest = 1.0
    for span in range(1, 256):
        offsets = np.concatenate([np.arange(-span, 0), np.arange(1, span + 1)])
        values = span / (1 + np.exp(-1.5 * 5 * offsets / span))
        nearest = min(nearest, float(np.abs(values - np.rint(values)).min()))
    assert nearest > 1e-6


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma"):
        twin.beasf_table(tf.ones(256, tf.int64), gamma=0)
