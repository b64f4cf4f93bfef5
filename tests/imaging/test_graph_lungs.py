from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.imaging import crop as numpy_crop
from covidcxr_tf.imaging import graph_lungs as twin

# The room above this one holds the NumPy side; a test may look up.
from covidcxr_tf.lungs import region as numpy_region

ANY_REGION = tf.TensorSpec([None, None], tf.uint8)


def fields(count: int) -> list[np.ndarray]:
    """Probabilities with blobs of many sizes, also at the borders, some at exactly a half."""
    found = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        field = random.random(random.integers(1, 70, 2)).astype(np.float32) ** random.uniform(0.1, 2)
        coarse = np.kron(random.random((8, 8)) > random.random(), np.ones((9, 9)))[: field.shape[0], : field.shape[1]]
        field = np.clip(0.3 * field + 0.6 * coarse, 0, 1).astype(np.float32)
        field[random.random(field.shape) < 0.05] = 0.5
        found.append(field)
    return found


def test_region_found_and_box() -> None:
    compiled = tf.function(
        lambda field: (twin.lung_region(field), *twin.lung_box(twin.lung_region(field), 0.05)),
        [tf.TensorSpec([None, None], tf.float32)],
    )
    seen = set()
    for field in fields(60):
        region, box, found = compiled(field)
        expected = numpy_region.lung_region(field)
        assert np.array_equal(region, expected)
        wanted = numpy_region.lung_box(expected, 0.05)
        assert bool(found) is (wanted is not None)
        assert tuple(box.numpy().tolist()) == (wanted or (0, 0, 1, 1))
        seen.add(bool(found))
    assert seen == {True, False}


@pytest.mark.parametrize("side", [256, 320, 321])
@pytest.mark.parametrize("margin", [0.0, 0.05, 1 / 3])
def test_box_of_a_known_size_is_the_same_to_the_last_bit(side: int, margin: float) -> None:
    # The export knows the network's size: a division by it must stay a division.
    compiled = tf.function(lambda region: twin.lung_box(region, margin), [tf.TensorSpec([side, side], tf.uint8)])
    random = np.random.default_rng(side)
    for _ in range(40):
        top, bottom = np.sort(random.choice(side, 2, replace=False))
        left, right = np.sort(random.choice(side, 2, replace=False))
        region = np.zeros((side, side), np.uint8)
        region[top : bottom + 1, left : right + 1] = 1
        box, _ = compiled(region)
        wanted = numpy_region.lung_box(region, margin)
        assert tuple(box.numpy().tolist()) == (wanted or (0, 0, 1, 1))


@pytest.mark.parametrize("margin", [0.0, 0.05, 1 / 3])
def test_box_by_mass_is_the_same_to_the_last_bit(margin: float) -> None:
    def boxes(field: tf.Tensor) -> tuple[tf.Tensor, ...]:
        region = twin.lung_region(field)
        return *twin.box_around(region, field, "mass", margin), *twin.box_around(region, field, "region", margin)

    compiled = tf.function(boxes, [tf.TensorSpec([None, None], tf.float32)])
    seen = set()
    for field in fields(60):
        box, found, by_region, _ = compiled(field)
        region = numpy_region.lung_region(field)
        wanted = numpy_region.mass_box(field, region, margin)
        assert bool(found) is (wanted is not None)
        assert tuple(box.numpy().tolist()) == (wanted or (0, 0, 1, 1))
        assert tuple(by_region.numpy().tolist()) == (numpy_region.lung_box(region, margin) or (0, 0, 1, 1))
        seen.add(bool(found))
    assert seen == {True, False}


@pytest.mark.parametrize("side", [256, 320, 321])
def test_box_by_mass_of_a_known_size_is_the_same(side: int) -> None:
    spec = [tf.TensorSpec([side, side], tf.float32)]
    compiled = tf.function(lambda field: twin.mass_box(field, twin.lung_region(field), 0.07)[0], spec)
    for seed in range(10):
        random = np.random.default_rng(seed)
        field = np.kron(random.random((8, 8)), np.ones((41, 41)))[:side, :side].astype(np.float32)
        wanted = numpy_region.mass_box(field, numpy_region.lung_region(field), 0.07)
        assert tuple(compiled(field).numpy().tolist()) == wanted


def test_box_within_pixels() -> None:
    compiled = tf.function(twin.box_within_pixels, [tf.TensorSpec([4], tf.float64), *[tf.TensorSpec([], tf.int32)] * 2])
    random = np.random.default_rng(0)
    for _ in range(80):
        height, width = random.integers(1, 4000, 2).tolist()
        top, bottom = np.sort(np.round(random.random(2), random.integers(0, 6))).tolist()
        left, right = np.sort(np.round(random.random(2), random.integers(0, 6))).tolist()
        wanted = numpy_crop.box_within_pixels((top, left, bottom, right), (height, width))
        assert tuple(float(edge) for edge in compiled((top, left, bottom, right), height, width)) == wanted


@pytest.mark.parametrize(("pixels", "found"), [(0, False), (1, False), (2, True)])
def test_found_from_two_percent_on(pixels: int, found: bool) -> None:
    region = np.zeros(100, np.uint8)
    region[:pixels] = 1
    assert bool(twin.lungs_found(tf.constant(region.reshape(10, 10)))) is found


def test_crop() -> None:
    compiled = tf.function(twin.crop, [tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([4], tf.float64)])
    random = np.random.default_rng(0)
    for _ in range(60):
        film = random.random(random.integers(1, 90, 2), dtype=np.float32)
        box = tuple(np.round(random.random(4), random.integers(0, 6)).tolist())
        assert np.array_equal(compiled(film, box), numpy_crop.crop(film, box))


def test_a_box_found_on_the_region_cuts_the_same_pixels_of_the_film() -> None:
    compiled = tf.function(
        lambda film, region: twin.crop(film, twin.lung_box(region, 0.05)[0]),
        [tf.TensorSpec([None, None], tf.float32), ANY_REGION],
    )
    for seed in range(40):
        random = np.random.default_rng(seed)
        side = int(random.integers(20, 60))
        region = np.zeros((side, side), np.uint8)
        region[random.integers(0, 9) : random.integers(10, side), random.integers(0, 9) : random.integers(10, side)] = 1
        film = random.random((side * int(random.integers(1, 8)), int(random.integers(1, 300))), dtype=np.float32)
        box = numpy_region.lung_box(region, 0.05) or (0, 0, 1, 1)
        assert np.array_equal(compiled(film, region), numpy_crop.crop(film, box))


def test_mask() -> None:
    compiled = tf.function(twin.mask_film, [tf.TensorSpec([None, None], tf.float32), ANY_REGION])
    random = np.random.default_rng(0)
    for _ in range(40):
        film = random.random(random.integers(1, 90, 2), dtype=np.float32)
        region = random.integers(0, 2, random.integers(1, 60, 2)).astype(np.uint8)
        assert np.array_equal(compiled(film, region), numpy_crop.mask_film(film, region))
