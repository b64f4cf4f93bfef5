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


def test_two_mirrored_devices_give_the_losses_of_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    curves = json.loads(done.stdout.splitlines()[-1])
    assert curves["1"]["replicas"] == 1
    assert curves["2"]["replicas"] == 2
    # float32 sums in another order: the bound is ten times what was seen over these nine steps.
    np.testing.assert_allclose(curves["2"]["loss"], curves["1"]["loss"], rtol=1e-5)
    np.testing.assert_allclose(curves["2"]["val_loss"], curves["1"]["val_loss"], rtol=1e-4)
    assert curves["1"]["loss"][-1] < curves["1"]["loss"][0]


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
