"""Checkpoint files: whole or not at all, the last two and the best, damage seen."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.train import checkpoints as module
from covidcxr_tf.train.checkpoints import Checkpoints, sweep

ARRAYS: list[np.ndarray] = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array(7, np.int64),
    np.array([True, False]),
]


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    (tmp_path / "checkpoints").mkdir()
    return Checkpoints(tmp_path / "checkpoints")


def test_what_is_read_is_what_was_written(store: Checkpoints) -> None:
    state = {"loss": 0.1 + 0.2, "best": -np.inf, "rows": [{"epoch": 1, "val_loss": 1e-300}]}
    store.save(3, ARRAYS, state)
    found = store.latest()
    assert found is not None and found.path.name == "step_000000003.zip"
    assert {key: found.state[key] for key in state} == state
    for values, again in zip(ARRAYS, found.arrays, strict=True):
        assert again.dtype == values.dtype and again.shape == values.shape
        np.testing.assert_array_equal(again, values)


def test_the_last_two_and_the_best_stay(store: Checkpoints) -> None:
    for step in range(0, 60, 10):
        store.save(step, ARRAYS, {}, best=10 if step >= 10 else None)
    assert store.steps() == [10, 40, 50]
    assert store.size() == sum(path.stat().st_size for path in store.folder.iterdir())
    store.clear()
    assert not list(store.folder.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "state"])
def test_a_damaged_one_is_passed_over_and_removed(
    store: Checkpoints, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.save(1, ARRAYS, {"n": 1})
    path = store.save(2, ARRAYS, {"n": 2})
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[content.index(ARRAYS[0].tobytes()) + 5] ^= 1
    if damage == "state":
        content[content.index(b"schema_version") + 3] ^= 1
    path.write_bytes(content[: {"cut": len(content) // 2, "emptied": 0}.get(damage, len(content))])
    found = store.latest()
    assert found is not None and found.state["n"] == 1
    assert "step_000000002.zip: damaged" in capsys.readouterr().err
    assert store.steps() == [1]


def test_there_may_be_none(store: Checkpoints, tmp_path: Path) -> None:
    assert store.latest() is None
    assert store.read(5) is None
    assert Checkpoints(tmp_path / "nowhere").latest() is None


@pytest.mark.parametrize("stage", ["write_array", "fsync", "compare", "replace"])
def test_a_full_disk_at_any_stage_leaves_the_one_before(
    store: Checkpoints, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(1, ARRAYS, {"n": 1})

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = {"write_array": (np.lib.format, "write_array"), "fsync": (os, "fsync"), "replace": (os, "replace")}
    monkeypatch.setattr(*place.get(stage, (module, "_compare")), full)
    with pytest.raises(OSError, match="No space left"):
        store.save(2, ARRAYS, {"n": 2})
    monkeypatch.undo()
    assert [path.name for path in store.folder.iterdir()] == ["step_000000001.zip"]
    found = store.latest()
    assert found is not None and found.state["n"] == 1


def test_a_disk_that_gives_back_other_bytes_is_seen(store: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(path: Path, arrays: list[np.ndarray], state: dict) -> None:
        write(path, [arrays[0] + 1, *arrays[1:]], state)

    write = module._write
    monkeypatch.setattr(module, "_write", other)
    with pytest.raises(OSError, match="does not read back"):
        store.save(1, ARRAYS, {})
    assert store.steps() == []


def test_another_layout_is_not_guessed_at(store: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(store.path(4), "w") as archive:
        archive.writestr("state.json", json.dumps({"schema_version": 99, "arrays": 0}))
    assert store.read(4) is None
    assert "layout 99" in capsys.readouterr().err


def test_what_killed_processes_leave_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left = [".step_000000004.ab3_x9zq.zip", ".history.a1b2c3d4.csv", ".covidcxr-a1b2c3d4"]
    kept = ["history.csv", ".gitignore", ".DS_Store", "run.lock"]
    for name in (*left, *kept):
        (tmp_path / name).mkdir() if name.startswith(".covid") else (tmp_path / name).touch()
    (tmp_path / left[-1] / "model.keras").touch()
    sweep(tmp_path, tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
