from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.imaging import graph, stack
from covidcxr_tf.imaging import levels as numpy_levels
from covidcxr_tf.imaging.resize import resize


def noisy_film(shape: tuple[int, int], seed: int, steps: int = 255) -> np.ndarray:
    """Waves and noise in `steps` levels, as an 8-bit (255) or 16-bit (65535) file gives them."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    wave = 0.5 + 0.3 * np.sin(rows / random.uniform(5, 60)) * np.cos(columns / random.uniform(5, 60))
    film = (wave + random.normal(0, random.uniform(0, 0.1), shape)).clip(0, 1)
    return (np.rint(film * steps) / steps).astype(np.float32)


def traced(
    function: Callable[..., tf.Tensor], *shapes: tuple[tuple[int | None, ...], tf.DType]
) -> tf.types.experimental.GenericFunction:
    """Compile as the export does: Grappler's rewrites must not change a bit either."""
    signature = [tf.TensorSpec(shape, dtype) for shape, dtype in shapes]
    return tf.function(function, input_signature=signature, jit_compile=False)


FILM = ((None, None), tf.float32)


def test_levels_equal_those_of_numpy() -> None:
    film = np.concatenate([(np.arange(1021) / 4 - 0.5) / 255, [-1, 2]]).astype(np.float32)
    assert np.array_equal(traced(graph.to_uint8, ((None,), tf.float32))(film), numpy_levels.to_uint8(film))
    assert np.array_equal(traced(graph.to_levels, ((None,), tf.float32))(film), stack.to_levels(film))


SIZES = [(100, 77), (640, 480), (333, 517), (32, 32), (64, 200), (1, 1), (1, 50), (50, 1), (96, 128)]


@pytest.fixture(scope="module")
def resizers() -> dict[tuple[tuple[int, int], str], Callable[[np.ndarray], tf.Tensor]]:
    return {
        (size, method): traced(lambda film, size=size, method=method: graph.resize(film, size, method), FILM)
        for size in ((64, 64), (160, 96))
        for method in ("bilinear", "cubic")
    }


@pytest.mark.parametrize("shape", SIZES)
def test_resize_equals_pil_to_the_last_bits(shape: tuple[int, int], resizers: dict) -> None:
    for steps in (255, 65535):
        film = noisy_film(shape, seed=shape[0], steps=steps)
        for (size, method), resizer in resizers.items():
            given, expected = resizer(film).numpy(), resize(film, size, method)
            assert given.shape == size
            # Bit-equal where the sums run in PIL's order; otherwise two roundings of float32.
            assert np.abs(given - expected).max() <= 2.5e-7
            assert np.abs(stack.to_levels(given).astype(int) - stack.to_levels(expected)).sum() <= 1


def test_resize_is_within_a_level_of_tensorflow_s_own(resizers: dict) -> None:
    film = noisy_film((200, 150), seed=5)
    own = tf.image.resize(film[..., np.newaxis], (64, 64), "bilinear", antialias=True)[..., 0].numpy()
    difference = stack.to_levels(own).astype(int) - graph.to_levels(resizers[(64, 64), "bilinear"](film)).numpy()
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("value", [0.0, 1 / 3, 0.7, 1.0])
def test_resized_constants_stay_exactly(value: float, resizers: dict) -> None:
    film = np.full((77, 130), value, np.float32)
    for (size, _), resizer in resizers.items():
        assert np.array_equal(resizer(film), np.full(size, value, np.float32))


CONFIGS = [
    ImageConfig(size=64, lungs="none"),
    ImageConfig(size=48, channels=("raw", "equalize"), lungs="crop"),
    ImageConfig(size=50, tiles=4, clip_limit=3.3, gamma=0.8, compat="authors", lungs="mask"),
    ImageConfig(size=72, channels=("clahe", "raw"), redistribution="even", lungs="crop", lung_edges="mass"),
    ImageConfig(size=60, channels=("clahe", "raw", "beasf"), redistribution="even", level_steps=16, lungs="none"),
    ImageConfig(size=56, channels=("universal", "raw", "universal"), universal_gamma=0.4, lungs="mask_whole"),
]


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: f"{cfg.lungs}-{cfg.lung_edges}-{cfg.level_steps}")
def test_model_input_equals_numpy_on_films_of_any_size(cfg: ImageConfig) -> None:
    twin = traced(lambda film: graph.model_input(film, cfg), FILM)
    for seed, shape in enumerate([(512, 512), (400, 333), (128, 128), (1, 1), (70, 91), (65, 640)]):
        for steps in (255, 65535):
            film = noisy_film(shape, seed, steps)
            given = twin(film).numpy()
            assert given.shape == (cfg.size, cfg.size, len(cfg.channels)) and given.dtype == np.uint8
            assert np.array_equal(given, stack.model_input(film, cfg))


def test_model_input_equals_numpy_where_films_shrink_by_whole_factors() -> None:
    # Every second and fourth pixel sum ends at half a grey level: the hardest case for two libraries.
    cfg = ImageConfig(size=64, channels=("raw",))
    twin = traced(lambda film: graph.model_input(film, cfg), FILM)
    for factor in (2, 4, 6):
        for seed in range(5):
            levels = np.random.default_rng(seed).integers(0, 256, (64 * factor, 64 * factor))
            film = levels.astype(np.float32) / np.float32(255)
            assert np.array_equal(twin(film), stack.model_input(film, cfg))


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: f"{cfg.lungs}-{cfg.lung_edges}-{cfg.level_steps}")
def test_model_input_with_box_region_and_reference(cfg: ImageConfig) -> None:
    reference = np.bincount(np.arange(3000) % 181, minlength=256)
    twin = traced(
        lambda film, box, region: graph.model_input(film, cfg, box, region, reference),
        FILM,
        ((4,), tf.float64),
        ((None, None), tf.uint8),
    )
    random = np.random.default_rng(0)
    for seed in range(6):
        film = noisy_film((150 + 31 * seed, 200 - 13 * seed), seed)
        region = np.zeros((48, 48), np.uint8)
        region[random.integers(0, 20) : random.integers(21, 48), random.integers(0, 20) : random.integers(21, 48)] = 1
        box = tuple(random.uniform((0, 0, 0.5, 0.5), (0.4, 0.4, 1, 1)).tolist())
        expected = stack.model_input(film, cfg, box, region, reference)
        assert np.array_equal(twin(film, box, region), expected)
    empty = np.zeros((48, 48), np.uint8)
    assert np.array_equal(twin(film, box, empty), stack.model_input(film, cfg, box, None, reference))


def test_works_inside_a_map_over_films_of_one_shape() -> None:
    cfg = ImageConfig(size=32, tiles=4)
    films = np.stack([noisy_film((60, 50), seed) for seed in range(3)])
    mapped = tf.map_fn(lambda film: graph.model_input(film, cfg), films, fn_output_signature=tf.uint8)
    for film, given in zip(films, mapped):
        assert np.array_equal(given, stack.model_input(film, cfg))
