"""The same losses on one, two and four devices, whole or in parts, step by step or several at once; device names."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.train.distribution import build_strategy, connect


def _crews() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crews", Path(__file__).with_name("crews.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


crews = _crews()
PARTS = {"accumulate_steps": 3}
AT_ONCE = {"steps_per_execution": 3, "checkpoint_steps": 4}
TRAININGS: tuple[dict[str, Any], ...] = (
    # 37 films in batches of 8: five batches an epoch, the last of 5 films; four epochs are 20 steps.
    {"name": "one"},
    {"name": "two", "devices": "2"},
    {"name": "four", "devices": "4"},
    {"name": "left out", "devices": "4", "films": 35},  # the last batch has 3 films, and there are four devices
    {"name": "at once on two", "devices": "2", "train": AT_ONCE},
    {"name": "plain", "normalised": False},
    {"name": "parts at once on two", "normalised": False, "devices": "2", "train": {**PARTS, **AT_ONCE}},
    {"name": "normalised parts on two", "devices": "2", "train": PARTS},
    {"name": "half parts on two", "normalised": False, "policy": "mixed_float16", "devices": "2", "train": PARTS},
    {"name": "heavy", "policy": "mixed_float16", "heavy": 2000},
    {"name": "heavy on two", "policy": "mixed_float16", "heavy": 2000, "devices": "2"},
)


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # A process has one group of devices.
    four = [one for one in TRAININGS if one.get("devices") == "4"]
    rest = [one for one in TRAININGS if one not in four]
    folder = tmp_path_factory.mktemp("devices")
    return {**crews.alone(folder, *four), **crews.alone(folder, *rest)}


@pytest.mark.parametrize(("name", "replicas"), [("two", 2), ("four", 4)])
def test_mirrored_devices_give_the_losses_of_one(curves: dict[str, Any], name: str, replicas: int) -> None:
    one, several = curves["one"], curves[name]
    assert (one["replicas"], several["replicas"]) == (1, replicas)
    assert one["steps"] == several["steps"] == len(one["losses"]) == 20
    for step, loss in one["losses"].items():
        assert several["losses"][step] == pytest.approx(loss, abs=1e-5)
    np.testing.assert_allclose(several["val_loss"], one["val_loss"], atol=1e-4)
    assert one["loss"][-1] < one["loss"][0]


def test_a_last_batch_that_leaves_a_device_without_films_is_left_out(curves: dict[str, Any]) -> None:
    assert curves["left out"]["steps"] == 4 * 4
    assert np.isfinite(curves["left out"]["loss"]).all()


def test_several_steps_in_one_call_lose_what_single_ones_lose(curves: dict[str, Any]) -> None:
    one, several = curves["one"], curves["at once on two"]
    assert several["steps"] == 20
    # Of five steps an epoch the first three are one call, whose last loss is told.
    assert [int(step) for step in several["losses"]] == [s for e in range(0, 20, 5) for s in (e + 3, e + 4, e + 5)]
    for step, loss in several["losses"].items():
        assert loss == pytest.approx(one["losses"][step], abs=1e-5)
    np.testing.assert_allclose(several["loss"], one["loss"], atol=1e-5)


def test_a_batch_in_parts_is_the_batch_in_one(curves: dict[str, Any]) -> None:
    plain, parts = curves["plain"], curves["parts at once on two"]
    assert parts["steps"] == plain["steps"] == 20
    for step, loss in parts["losses"].items():
        assert loss == pytest.approx(plain["losses"][step], abs=1e-5)
    np.testing.assert_allclose(parts["weights"], plain["weights"], atol=1e-4)
    assert curves["normalised parts on two"]["loss"] != curves["two"]["loss"]  # statistics are those of the parts
    assert np.isfinite(curves["normalised parts on two"]["loss"]).all()


def test_half_precision_learns_on_several_devices_in_parts(curves: dict[str, Any]) -> None:
    half, plain = curves["half parts on two"], curves["plain"]
    assert half["steps"] == 20
    np.testing.assert_allclose(half["loss"], plain["loss"], atol=0.02)


def test_an_overflow_on_one_device_leaves_the_step_out_on_all(curves: dict[str, Any]) -> None:
    # Film 3 weighs 2000 times as much: times the loss scale of 2^15 its gradient has no place in 16 bits.
    for name in ("heavy", "heavy on two"):
        assert 0 < curves[name]["steps"] < 20
        assert np.isfinite(curves[name]["weights"]).all()
    assert curves["heavy"]["steps"] == curves["heavy on two"]["steps"]


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
    assert connect().alone and connect().is_chief


def test_workers_that_are_named_too_late_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    build_strategy("cpu").run(lambda: None)
    both = '{"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", both)
    with pytest.raises(UsageError, match="TensorFlow has computed something before"):
        connect()
