"""The same losses on one and on two devices; device names are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.train.distribution import build_strategy


def curves_of(folder: Path, films: int, *devices: str) -> dict:
    script = Path(__file__).with_name("two_devices.py")
    words = [sys.executable, str(script), str(folder), str(films), *devices]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_mirrored_devices_give_the_losses_of_one(tmp_path: Path) -> None:
    # 21 films in batches of 8: the last batch has 5, three on one device and two on the other.
    curves = curves_of(tmp_path, 21, "1", "2")
    assert curves["1"]["replicas"] == 1
    assert curves["2"]["replicas"] == 2
    # float32 sums in another order: the bound is ten times what was seen over these nine steps.
    np.testing.assert_allclose(curves["2"]["loss"], curves["1"]["loss"], rtol=1e-5)
    np.testing.assert_allclose(curves["2"]["val_loss"], curves["1"]["val_loss"], rtol=1e-4)
    assert curves["1"]["loss"][-1] < curves["1"]["loss"][0]
    assert curves["1"]["steps"] == curves["2"]["steps"] == 9


def test_a_last_batch_that_leaves_a_device_without_films_is_left_out(tmp_path: Path) -> None:
    # 17 films in batches of 8: one is left over, and two devices. Two steps an epoch, not three.
    curve = curves_of(tmp_path, 17, "2")["2"]
    assert curve["steps"] == 6
    assert np.isfinite(curve["loss"]).all()


@pytest.mark.parametrize("words", ["none", "-1", "0", "1.5", ""])
def test_devices_that_are_no_devices(words: str) -> None:
    with pytest.raises(UsageError, match="all, cpu, or a number"):
        build_strategy(words)


def test_more_devices_than_there_are() -> None:
    with pytest.raises(UsageError, match="at most"):
        build_strategy("64")


def test_one_device_needs_no_mirror() -> None:
    assert build_strategy("cpu").num_replicas_in_sync == 1
    assert build_strategy("all").num_replicas_in_sync == 1
