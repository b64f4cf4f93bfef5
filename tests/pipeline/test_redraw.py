"""Films drawn anew in each epoch: two parts that make up the pool, other ones each time."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.pipeline.redraw import Redraw
from covidcxr_tf.prepare import Prepared

CLASSES = np.array([0] * 20 + [1] * 10)
POOL = np.array([True] * 27 + [False] * 3)


def test_both_parts_make_up_the_pool_and_each_class_validates_its_tenth() -> None:
    train, validation = (Redraw(part, POOL, CLASSES, 3) for part in ("train", "validation"))  # type: ignore[arg-type]
    for epoch in (1, 2, 9):
        first, second = train.rows(epoch), validation.rows(epoch)
        np.testing.assert_array_equal(first ^ second, POOL)
        assert not (first & second).any()
        # A tenth of 20 films, and of 7 films at least one.
        assert np.bincount(CLASSES[second]).tolist() == [2, 1]


def test_epochs_differ_and_come_back() -> None:
    redraw = Redraw("validation", POOL, CLASSES, 3)
    assert (redraw.rows(1) != redraw.rows(2)).any()
    np.testing.assert_array_equal(redraw.rows(1), Redraw("validation", POOL, CLASSES, 3).rows(1))
    assert any((redraw.rows(e) != Redraw("validation", POOL, CLASSES, 4).rows(e)).any() for e in range(3))


def test_over_many_epochs_every_film_trains() -> None:
    redraw = Redraw("train", POOL, CLASSES, 0)
    assert (np.any([redraw.rows(epoch) for epoch in range(4)], axis=0) == POOL).all()


def test_a_class_of_one_film_trains() -> None:
    classes = np.array([0, 0, 0, 1])
    assert not Redraw("validation", np.ones(4, bool), classes).rows(1)[3]


def test_batches_read_the_epochs_films_from_both_groups(prepared: Prepared) -> None:
    pool, classes = np.ones(30, bool), np.arange(30) % 3
    groups = ("train", "validation")
    parts = {
        part: Batches(prepared, groups, classes.astype(np.int32), None, 8, redraw=Redraw(part, pool, classes, 1))
        for part in ("train", "validation")  # type: ignore[arg-type]
    }
    for epoch in (1, 2):
        seen = {part: batches.for_epoch(epoch) for part, batches in parts.items()}
        train = sorted(int(row) for batch in parts["train"].training(epoch) for row in batch["row"])
        held = sorted(int(row) for batch in seen["validation"].plain() for row in batch["row"])
        assert sorted(train + held) == list(range(30))
        assert (seen["train"].rows, seen["validation"].rows) == (len(train), len(held)) == (27, 3)
        np.testing.assert_array_equal(np.flatnonzero(parts["validation"].redraw.rows(epoch)), held)  # type: ignore[union-attr]
