"""Two workers over the loopback: one process's losses, signals and deaths that all hear of, and ways back.

Every worker is a real process with a ``TF_CONFIG`` of its own.
"""

from __future__ import annotations

import importlib.util
import logging
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.train.crew import Crew
from covidcxr_tf.train.task import Task


def _crews() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crews", Path(__file__).with_name("crews.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


crews = _crews()
CONFIG = {"train": {"checkpoint_steps": 3, "reduce_lr_patience": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crew")


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[Any]:
    """Return how two workers ended that nothing happened to: 20 steps, the last of each epoch of 5 films."""
    return crews.together(folder, {"name": "whole", **CONFIG})


def test_two_workers_give_the_losses_of_one_process(folder: Path, whole: list[Any]) -> None:
    assert [ended.code for ended in whole] == [0, 0], [ended.told[-2000:] for ended in whole]
    chief, other = (ended.found["whole"] for ended in whole)
    one = crews.alone(folder, {"name": "one", **CONFIG})["one"]
    assert (chief["replicas"], one["replicas"], chief["steps"], len(one["losses"])) == (2, 1, 20, 20)
    for step, loss in one["losses"].items():
        assert chief["losses"][step] == pytest.approx(loss, abs=1e-5)
    np.testing.assert_allclose(chief["val_loss"], one["val_loss"], atol=1e-4)
    assert chief["rate"] == one["rate"]
    # Both came to the same, and the chief's folder holds one process's files.
    assert {name: chief[name] for name in chief} == {name: other[name] for name in other}
    names = sorted(path.name for path in (folder / "whole").iterdir())
    assert names == ["checkpoints", "history.csv", "model.keras", "tensorboard", "train.log"]
    assert (folder / "whole" / "train.log").read_text().count("epoch 4:") == 1
    assert len(list((folder / "whole" / "tensorboard").rglob("events.out*"))) == len(
        list((folder / "one" / "tensorboard").rglob("events.out*"))
    )
    assert "worker 1 (127.0.0.1:" in whole[1].told and "epoch 4:" in whole[1].told


@pytest.mark.slow
def test_a_signal_and_a_death_are_heard_by_all_and_nothing_is_lost(folder: Path, whole: list[Any]) -> None:
    told = {"name": "stopped", **CONFIG, "kill": {"rank": 1, "step": 4, "signal": int(signal.SIGTERM)}}
    ended = crews.together(folder, told)
    assert [one.code for one in ended] == [75, 75], [one.told[-2000:] for one in ended]
    for one in ended:  # after the same step: the one that comes after the signal
        assert "stopped by SIGTERM in epoch 1 after batch 5, saved" in one.told
    killed = {**told, "resume": True, "kill": {"rank": 1, "step": 12, "signal": int(signal.SIGKILL)}}
    chief, other = crews.together(folder, killed)
    assert other.code == -signal.SIGKILL
    assert chief.code == 5, chief.told[-2000:]
    assert "error: worker 1 (127.0.0.1:" in chief.told and "is gone" in chief.told and "--resume" in chief.told
    headless = {**killed, "kill": {"rank": 0, "step": 16, "signal": int(signal.SIGKILL)}}
    chief, other = crews.together(folder, headless)
    assert (chief.code, other.code) == (-signal.SIGKILL, 5), other.told[-2000:]
    assert "worker 0 (127.0.0.1:" in other.told
    last = crews.together(folder, {"name": "stopped", **CONFIG, "resume": True})
    assert [one.code for one in last] == [0, 0], [one.told[-2000:] for one in last]
    for one, unbroken in zip(last, whole, strict=True):
        found, expected = one.found["stopped"], unbroken.found["whole"]
        np.testing.assert_allclose(found["weights"], expected["weights"], atol=1e-6)
        np.testing.assert_allclose(found["loss"], expected["loss"], atol=1e-6)
        assert found["rate"] == expected["rate"]


def test_who_is_alone_hears_itself(tmp_path: Path) -> None:
    crew = Crew()
    values = [np.arange(3.0), np.array(7)]
    assert crew.alone and crew.is_chief
    assert crew.arrays(values)[1] == 7 and crew.document({"a": [None]}) == {"a": [None]}
    assert crew.bytes(b"abc") == b"abc"
    calls: list[str] = []
    crew.chief_first(lambda: calls.append("once"))
    assert calls == ["once"]
    with crew.folder(tmp_path / "run") as own:
        assert own == tmp_path / "run"


def test_a_worker_has_a_folder_of_its_own_that_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crew = Crew(Task("worker", 1, {"worker": ("a:1", "b:2")}))
    with crew.folder(tmp_path / "run") as own:
        own.mkdir()
        assert not own.is_relative_to(tmp_path)
        with crew.folder(own / "phase_1") as part:
            assert part == own / "phase_1"
    assert not own.exists() and not (tmp_path / "run").exists()
    logger = logging.getLogger("a worker's")
    crew.tell(logger)
    logger.warning("here")
    assert capsys.readouterr().err == "worker 1 (b:2): here\n"
