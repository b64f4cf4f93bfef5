"""Mean and deviation of the training films."""

from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.config import PatchConfig
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.pipeline.normalisation import LEAST_DEVIATION, estimate_normalisation
from covidcxr_tf.prepare import Prepared


def test_all_films_by_hand(prepared: Prepared) -> None:
    # Film n is grey level n all over, n = 0..22: mean 11, variance (23^2 - 1) / 12 = 44.
    mean, deviation = estimate_normalisation(Batches(prepared, ("train",), None, None, 5))
    assert mean == pytest.approx([11 / 255], rel=1e-7)  # pixels are float32
    assert deviation == pytest.approx([np.sqrt(44) / 255], abs=1e-7)


def test_only_so_many_films_are_read(prepared: Prepared) -> None:
    # The first seven of the shards: levels 0..6, mean 3, variance 4.
    mean, deviation = estimate_normalisation(Batches(prepared, ("train",), None, None, 5), films=7)
    assert mean == pytest.approx([3 / 255], rel=1e-7)  # pixels are float32
    assert deviation == pytest.approx([2 / 255], abs=1e-7)


def test_flat_films_are_not_blown_up(prepared: Prepared) -> None:
    assert estimate_normalisation(Batches(prepared, ("train",), None, None, 5), films=1)[1] == [LEAST_DEVIATION]


def test_films_count_where_patches_are_read(prepared: Prepared) -> None:
    # Three patches a film: the first seven films are 21 patches, in batches of 15.
    patches = PatchConfig(size=4, validation_votes=3)
    batches = Batches(prepared, ("train",), None, None, 5, patches=patches)
    mean, deviation = estimate_normalisation(batches, films=7)
    assert mean == pytest.approx([3 / 255], rel=1e-7)
    assert deviation == pytest.approx([2 / 255], abs=1e-7)
