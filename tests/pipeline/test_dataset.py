"""Batches: every film once, in an order that seed and epoch alone decide."""

from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.config import AugmentConfig
from covidcxr_tf.errors import DataError
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.prepare import Prepared

TARGETS = np.arange(30, dtype=np.int32) % 3
WEIGHTS = np.linspace(1, 2, 30, dtype=np.float32)


def rows_of(dataset: object) -> list[int]:
    return [int(row) for batch in dataset for row in batch["row"]]  # type: ignore[attr-defined]


def test_plain_batches_hold_each_film_in_the_manifests_order(prepared: Prepared) -> None:
    batches = Batches(prepared, ("validation",), TARGETS, WEIGHTS, batch_size=4)
    assert rows_of(batches.plain()) == list(range(23, 30))
    assert batches.rows == 7
    first = next(iter(batches.plain()))
    # A film's grey level is its number: pixels, target and weight belong to one film.
    np.testing.assert_array_equal(first["image"][:, 0, 0, 0], np.arange(23, 27, dtype=np.float32) / np.float32(255))
    np.testing.assert_array_equal(first["target"], TARGETS[23:27])
    np.testing.assert_array_equal(first["weight"], WEIGHTS[23:27])


def test_an_epoch_holds_each_film_once_and_depends_on_seed_and_epoch_only(prepared: Prepared) -> None:
    batches = Batches(prepared, ("train",), TARGETS, None, batch_size=4, seed=5, shuffle_buffer=64)
    first = rows_of(batches.training(1))
    assert sorted(first) == list(range(23))
    assert rows_of(batches.training(1)) == first
    assert rows_of(batches.training(2)) != first
    other = Batches(prepared, ("train",), TARGETS, None, batch_size=4, seed=6, shuffle_buffer=64)
    assert rows_of(other.training(1)) != first


def test_the_rest_of_an_epoch_is_what_the_whole_epoch_holds(prepared: Prepared) -> None:
    augment = AugmentConfig(rotation_degrees=30, noise=0.1)
    batches = Batches(prepared, ("train",), TARGETS, None, 4, seed=5, shuffle_buffer=8, augment=augment)
    whole = list(batches.training(2))
    assert len(whole) == 6
    for skip in (0, 1, 4, 5):
        rest = list(batches.training(2, skip))
        assert len(rest) == 6 - skip
        for again, batch in zip(rest, whole[skip:], strict=True):
            for name, values in batch.items():
                np.testing.assert_array_equal(again[name], values)
    assert not list(batches.training(2, 6))


def test_groups_can_be_joined(prepared: Prepared) -> None:
    both = Batches(prepared, ("train", "validation"), TARGETS, None, batch_size=8)
    assert sorted(rows_of(both.training(0))) == list(range(30))


def test_masks_are_the_target_where_there_are_no_targets(prepared: Prepared) -> None:
    batch = next(iter(Batches(prepared, ("train",), None, None, batch_size=4).plain()))
    half = batch["target"].shape[2] // 2
    assert batch["target"].numpy()[:, :, :half].min() == 1
    assert batch["target"].numpy()[:, :, half:].max() == 0


def test_augmented_epochs_repeat_and_move_masks_with_films(prepared: Prepared) -> None:
    augment = AugmentConfig(horizontal_flip=True)
    batches = Batches(prepared, ("train",), None, None, batch_size=23, seed=1, augment=augment)
    once, again = next(iter(batches.training(3))), next(iter(batches.training(3)))
    np.testing.assert_array_equal(once["target"], again["target"])
    left = once["target"].numpy()[:, 0, 0, 0]
    # Flipped masks are right halves; some of 23 are flipped, some are not.
    assert set(left) == {0.0, 1.0}
    other = next(iter(batches.training(4)))
    assert not np.array_equal(other["target"].numpy()[:, 0, 0, 0], left)


def test_an_empty_group_is_named(prepared: Prepared) -> None:
    with pytest.raises(DataError, match="no film in test"):
        Batches(prepared, ("test",), TARGETS, None, batch_size=4).plain()
