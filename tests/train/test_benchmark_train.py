"""The rows on training: what is measured is what it says; no figure is judged."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    for name in ("benchmark", "benchmark_train"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import benchmark

    return benchmark


def test_each_part_has_its_row(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "STEP_FILMS", 8)
    sizes = {"side": 32, "batch": 4, "steps": 2, "films": 3, "film_side": 64}
    rows = benchmark.train(3, **sizes, knobs={"blocks": (1, 1, 1, 1), "growth": 4})
    assert [row.name for row in rows] == [
        "train_input_share", "train_at_once", "train_devices", "train_checkpoint", "train_prepare",
    ]  # fmt: skip
    share, at_once, devices, checkpoint, prepared = rows
    assert all(0 < wait < whole for wait, whole in zip(share.ours, share.reference, strict=True))
    for row in (at_once, devices, checkpoint, prepared):
        assert len(row.ours) == len(row.reference) == 1
        assert row.ours[0] > 0 and row.reference[0] > 0
        assert len(row.cells()) == len(benchmark.COLUMNS)
    assert (devices.unit, prepared.unit) == ("films/s", "films/s")


def test_all_of_training_has_the_step_and_the_memory_too(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("step", "train", "recompute"):
        monkeypatch.setattr(benchmark, name, lambda repeats, name=name: [(name, repeats)])
    assert benchmark.whole_training(4) == [("step", 4), ("train", 4), ("recompute", 1)]
    assert set(benchmark.WITHIN_TRAIN) < set(benchmark.BENCHMARKS)
