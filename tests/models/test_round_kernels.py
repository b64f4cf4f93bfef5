"""scripts/round_kernels.py: kernels in whole steps, and nothing else touched."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from covidcxr_tf.models.files import load_model, save_model
from covidcxr_tf.models.unet import build

SCRIPT = Path(__file__).parents[2] / "scripts" / "round_kernels.py"


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_steps_are_powers_of_two_and_no_value_moves_by_more_than_half_of_one(script: dict) -> None:
    kernel = np.random.default_rng(0).normal(0, 0.1, (3, 3, 16, 64)).astype(np.float32)
    found = script["rounded"](kernel, 32)
    step = 2.0**-9  # 0.1 / 32 = 0.0031, between 2^-9 and 2^-8
    assert np.abs(found - kernel).max() <= step / 2
    assert np.array_equal(found / step, np.rint(found / step))
    assert np.array_equal(script["rounded"](found, 32), found)
    assert len(np.unique(found)) < 8 * 2 * 64


def test_small_kernels_vectors_and_flat_ones_stay(script: dict) -> None:
    random = np.random.default_rng(1)
    for values in (random.random((3, 3, 1, 32)), random.random(9000), np.full((100, 100), 0.3)):
        assert script["rounded"](values, 4) is values


def test_a_run_becomes_a_smaller_file(script: dict, tmp_path: Path) -> None:
    model = build(input_shape=(32, 32, 1), filters=(16, 32, 64))
    run, target = tmp_path / "run", tmp_path / "rounded.keras"
    run.mkdir()
    save_model(model, run / "model.keras", {"name": "a"})
    done = CliRunner().invoke(script["main"], [str(run), str(target), "--steps", "2"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["bytes_rounded"] < 0.8 * told["bytes"]
    found, facts = load_model(target)
    assert facts["name"] == "a"
    for before, after in zip(model.get_weights(), found.get_weights()):
        np.testing.assert_array_equal(after, script["rounded"](before, 2))
    again = CliRunner().invoke(script["main"], [str(run), str(target)])
    assert again.exit_code == 1 and "exists" in again.output
