"""Killed anywhere, a resumed training goes on step for step as if nothing had happened.

A kill is what the disk holds at that moment: the run folder is copied at every step and at every stage of every file
that is written, and a new training goes on from each copy.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import ConfigError, Stopped
from covidcxr_tf.models.files import load_model
from covidcxr_tf.train import checkpoints, keeping, loop
from covidcxr_tf.train.checkpoints import Checkpoints
from covidcxr_tf.train.job import Job
from covidcxr_tf.train.loop import fit

MakeJob = Callable[..., Job]
SAME = ["epoch", "loss", "val_loss", "val_accuracy", "learning_rate"]


class Losses(keras.callbacks.Callback):
    """Notes the loss of each step, by its number."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, float] = {}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        assert logs is not None
        self.found[int(self.model.optimizer.iterations)] = logs["loss"]


class At(keras.callbacks.Callback):
    """Does something after a number of steps, or while epochs end."""

    def __init__(self, step: int, action: Callable[[], Any]) -> None:
        super().__init__()
        self.step, self.action = step, action

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if int(self.model.optimizer.iterations) == self.step:
            self.action()


class Killed(BaseException):
    """A process that is gone: nothing catches it."""


def kill() -> None:
    raise Killed


class Whole:
    """A run that nothing happened to, with copies of its folder at every moment that counts."""

    def __init__(self, make: MakeJob, folder: Path) -> None:
        self.copies: list[Path] = []
        losses, copies = Losses(), At(-1, kill)
        self.job = make(folder / "run", (losses, copies))
        job = self.job

        def copy(stage: str) -> None:
            target = folder / f"copy_{len(self.copies):03d}_{stage}"
            shutil.copytree(job.run.folder, target, ignore_dangling_symlinks=True)
            self.copies.append(target)

        def watched(name: str, call: Callable) -> Callable:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                copy(f"before_{name}")
                result = call(*args, **kwargs)
                copy(f"after_{name}")
                return result

            return wrapper

        def half(path: Path, arrays: list, state: dict) -> None:
            write(path, arrays, state)
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            copy("half_written")
            path.write_bytes(whole)

        write = checkpoints._write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "_write", half)
            patch.setattr(os, "replace", watched("replace", os.replace))
            patch.setattr(keeping, "save_model", watched("save_model", keeping.save_model))
            copies.on_train_batch_end = lambda batch, logs=None: copy("step")  # type: ignore[method-assign]
            self.history = fit(job)
        self.losses = losses.found
        self.weights = job.model.get_weights()
        self.last = Checkpoints(job.run.checkpoints).latest()

    def is_continued_in(self, folder: Path, make: MakeJob) -> None:
        """Go on from a copy and compare everything."""
        losses = Losses()
        job = make(folder, (losses, At(-1, kill)))
        history = fit(job, resume=True)
        for step, loss in losses.found.items():
            assert loss == pytest.approx(self.losses[step], abs=1e-6)
        pd.testing.assert_frame_equal(history[SAME], self.history[SAME], atol=1e-6)
        pd.testing.assert_frame_equal(pd.read_csv(job.run.history)[SAME], self.history[SAME], atol=1e-6)
        for values, again in zip(self.weights, job.model.get_weights(), strict=True):
            np.testing.assert_array_equal(again, values)
        assert self.last is not None
        last = Checkpoints(job.run.checkpoints).latest()
        assert last is not None
        for values, again in zip(self.last.arrays, last.arrays, strict=True):  # optimiser and seeds too
            np.testing.assert_array_equal(again, values)
        assert load_model(job.run.model)[1] == load_model(self.job.run.model)[1]
        steps = Checkpoints(job.run.checkpoints)
        assert all(steps.read(step) is not None for step in steps.steps())
        assert not [path for path in job.run.folder.rglob(".*") if path.is_file()]


@pytest.fixture(scope="module")
def whole(make_hard_job: MakeJob, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(make_hard_job, tmp_path_factory.mktemp("whole"))


def test_a_run_killed_at_any_of_some_drawn_moments_goes_on(whole: Whole, make_hard_job: MakeJob) -> None:
    assert len(whole.losses) == 12 and len(whole.copies) > 40
    stages = {path.name.split("_", 2)[2] for path in whole.copies}
    assert stages == {
        "step", "half_written", "before_replace", "after_replace", "before_save_model", "after_save_model",
    }  # fmt: skip
    for copy in random.Random(4).sample(whole.copies, 5):
        whole.is_continued_in(copy, make_hard_job)


@pytest.mark.slow
def test_a_run_killed_at_every_moment_goes_on(whole: Whole, make_hard_job: MakeJob) -> None:
    assert len(set(whole.copies)) > 40  # each of them is held against the whole run: weights, losses, seeds
    for copy in whole.copies:
        whole.is_continued_in(copy, make_hard_job)


def test_sigterm_saves_and_says_so_and_nothing_is_lost(whole: Whole, make_hard_job: MakeJob, tmp_path: Path) -> None:
    folder, losses = tmp_path / "stopped", Losses()
    job = make_hard_job(folder, (losses, At(5, lambda: os.kill(os.getpid(), signal.SIGTERM))))
    with pytest.raises(Stopped, match=r"SIGTERM in epoch 2 after batch 1, saved.*--resume") as stopped:
        fit(job)
    assert stopped.value.exit_code == 75
    assert max(losses.found) == 5  # the step under way was the last
    assert Checkpoints(job.run.checkpoints).steps()[-1] == 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    whole.is_continued_in(folder, make_hard_job)


def test_sigterm_in_validation_is_not_waited_for(
    whole: Whole, make_hard_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"

    def judged(*args: Any, **kwargs: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return measured(*args, **kwargs)

    measured = loop.validate
    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", judged)
        with pytest.raises(Stopped, match="in epoch 1 after batch 4, saved"):
            fit(make_hard_job(folder))
    assert not (folder / "history.csv").exists()
    whole.is_continued_in(folder, make_hard_job)


def test_ctrl_c_saves_too(make_hard_job: MakeJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = make_hard_job(tmp_path / "run", callbacks=(At(2, lambda: os.kill(os.getpid(), signal.SIGINT)),))
    with pytest.raises(KeyboardInterrupt):
        fit(job)
    assert Checkpoints(job.run.checkpoints).steps() == [0, 2]
    assert "Ctrl-C again leaves at once" in capsys.readouterr().err


def test_ctrl_c_twice_leaves_at_once(make_hard_job: MakeJob, tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    job = make_hard_job(tmp_path / "run", callbacks=(At(2, twice),))
    with pytest.raises(KeyboardInterrupt):
        fit(job)
    assert Checkpoints(job.run.checkpoints).steps() == [0]


def test_a_damaged_newest_checkpoint_costs_some_steps_only(
    whole: Whole, make_hard_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        fit(make_hard_job(tmp_path / "killed", (At(7, kill),)))
    store = Checkpoints(tmp_path / "killed" / "checkpoints")
    newest = store.path(store.steps()[-1])
    newest.write_bytes(newest.read_bytes()[:-100])
    whole.is_continued_in(tmp_path / "killed", make_hard_job)


def test_a_model_from_after_the_checkpoint_gives_way_to_the_checkpoints_best(
    whole: Whole, make_hard_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        fit(make_hard_job(tmp_path / "killed", (At(7, kill),)))
    (tmp_path / "killed" / "model.keras").write_bytes(b"not a model")
    (tmp_path / "killed" / "history.csv").write_text("epoch,loss\n1,0\n2,0\n")
    whole.is_continued_in(tmp_path / "killed", make_hard_job)


def test_a_clock_that_goes_back_changes_nothing(
    whole: Whole, make_hard_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards() -> Iterator[int]:
        yield from range(10**9, 0, -1000)

    ticks = backwards()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: next(ticks))
        with pytest.raises(Killed):
            fit(make_hard_job(tmp_path / "killed", (At(7, kill),), checkpoint_steps=0))
    for number, path in enumerate(sorted((tmp_path / "killed" / "checkpoints").iterdir())):
        os.utime(path, (10**9 - number, 10**9 - number))  # the newest looks the oldest
    whole.is_continued_in(tmp_path / "killed", make_hard_job)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"identity": {"split": "b"}}, "its split was a and is b"),
        ({"classes": ["bright", "dark"]}, "its classes was dark and is bright"),
        ({"optimizer": "sgd"}, "its variables was .* and is "),
    ],
)
def test_another_training_is_refused(make_hard_job: MakeJob, tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(Killed):
        fit(make_hard_job(tmp_path / "run", callbacks=(At(2, kill),), identity={"split": "a"}))
    classes = changed.pop("classes", None)
    job = make_hard_job(tmp_path / "run", **{"identity": {"split": "a"}, **changed})
    if classes:
        job.facts["classes"] = classes
    with pytest.raises(ConfigError, match=message) as refused:
        fit(job, resume=True)
    assert refused.value.exit_code == 2


def test_resuming_what_has_not_begun_begins_and_what_has_ended_ends(make_hard_job: MakeJob, tmp_path: Path) -> None:
    first = fit(make_hard_job(tmp_path / "run"), resume=True)
    losses = Losses()
    again = fit(make_hard_job(tmp_path / "run", callbacks=(losses,)), resume=True)
    assert not losses.found
    pd.testing.assert_frame_equal(again, first)


def test_patience_counts_on_over_a_stop(make_hard_job: MakeJob, tmp_path: Path) -> None:
    # A rate this small changes no film's class: each epoch after the first is one without progress.
    still = {"learning_rate": 1e-12, "epochs": 9, "early_stopping_patience": 3, "monitor": "val_accuracy"}
    unbroken = fit(make_hard_job(tmp_path / "whole", **still))
    with pytest.raises(Killed):
        fit(make_hard_job(tmp_path / "killed", (At(10, kill),), **still))
    assert len(fit(make_hard_job(tmp_path / "killed", **still), resume=True)) == len(unbroken) == 4
