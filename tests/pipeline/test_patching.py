"""Patches: centred in the lungs, inside the film, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.config import PatchConfig
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.pipeline.patching import cut_patches, draw_corners
from covidcxr_tf.prepare import Prepared

SIDE, SIZE = 64, 16


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    """Three films, black but for a lung: a block in a corner, a block in the middle, nothing at all."""
    films = np.zeros((3, SIDE, SIDE, 2), np.uint8)
    films[0, 2:10, 50:62, 1] = 7
    films[1, 24:40, 20:44] = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24, 1) // 2 + 1
    return films


def corners_of(films: np.ndarray, count: int, seed: int) -> np.ndarray:
    return draw_corners(tf.constant(films), SIZE, count, tf.constant([seed, 0])).numpy().reshape(len(films), count, 2)


def test_every_centre_lies_in_the_lungs(films: np.ndarray) -> None:
    middle = corners_of(films, 12, 1)[1] + SIZE // 2
    assert (middle >= [24, 20]).all() and (middle < [40, 44]).all()
    assert len(np.unique(middle, axis=0)) > 6


def test_a_patch_at_the_border_is_moved_inside(films: np.ndarray) -> None:
    corners = corners_of(films, 12, 1)
    assert corners.min() >= 0 and corners.max() <= SIDE - SIZE
    # Centres of the corner block lie in rows 2 to 9 and columns 50 to 61, half a patch is 8.
    assert corners[0, :, 0].max() <= 1
    assert (corners[0, :, 1] >= 42).all()


def test_centres_are_drawn_evenly_over_the_lung(films: np.ndarray) -> None:
    drawn = np.concatenate([corners_of(films, 12, seed)[1] + SIZE // 2 for seed in range(60)])
    # Means of a uniform draw over rows 24..39 and columns 20..43, within four standard errors.
    errors = np.array([16, 24]) / np.sqrt(12 * len(drawn))
    assert (np.abs(drawn.mean(0) - [31.5, 31.5]) < 4 * errors).all()


def test_patches_are_the_pixels_at_their_corners(films: np.ndarray) -> None:
    seed = tf.constant([3, 4])
    patches = cut_patches(tf.constant(films), SIZE, 2, seed).numpy()
    corners = draw_corners(tf.constant(films), SIZE, 2, seed).numpy()
    for number, (row, column) in enumerate(corners):
        np.testing.assert_array_equal(patches[number], films[number // 2, row : row + SIZE, column : column + SIZE])


def test_the_seed_decides(films: np.ndarray) -> None:
    np.testing.assert_array_equal(corners_of(films, 5, 1), corners_of(films, 5, 1))
    assert (corners_of(films, 5, 1)[1] != corners_of(films, 5, 2)[1]).any()


def test_batches_hold_a_patch_a_film_in_training_and_several_in_validation(prepared: Prepared) -> None:
    targets = np.arange(30, dtype=np.int32)
    batches = Batches(
        prepared, ("train",), targets, None, 8, patches=PatchConfig(size=4, validation_votes=3), shuffle_buffer=64
    )
    train = list(batches.training(1))
    assert {tuple(batch["image"].shape[1:]) for batch in train} == {(4, 4, 1)}
    rows = np.concatenate([batch["row"] for batch in train])
    assert sorted(rows) == list(range(23))
    plain = list(batches.plain())
    rows = np.concatenate([batch["row"] for batch in plain])
    np.testing.assert_array_equal(np.sort(rows), np.repeat(np.arange(23), 3))
    for batch in plain:  # film n is grey level n: pixels, row and target stay together
        np.testing.assert_array_equal(np.rint(batch["image"][:, 0, 0, 0] * 255), batch["row"])
        np.testing.assert_array_equal(batch["target"], batch["row"])


def test_many_patches_of_small_lungs_all_lie_inside() -> None:
    # 2 % of the film, the least that counts as lungs: of 2048 pixels some 41 fall inside, fewer than the patches.
    films = np.zeros((4, 100, 100, 1), np.uint8)
    films[:, 40:50, 40:60] = 1
    most = max(entry.le for entry in PatchConfig.model_fields["validation_votes"].metadata if hasattr(entry, "le"))
    centres = draw_corners(tf.constant(films), 2, most, tf.constant([0, 0])).numpy() + 1
    assert len(centres) == 4 * 64
    assert (centres >= [40, 40]).all() and (centres < [50, 60]).all()
