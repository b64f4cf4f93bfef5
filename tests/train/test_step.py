"""Steps in parts and several at once, also after a kill; the learning rate for a batch; the profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr_tf.config import TrainConfig, load_config
from covidcxr_tf.train.callbacks import Profiler
from covidcxr_tf.train.job import Job
from covidcxr_tf.train.loop import fit
from covidcxr_tf.train.optimizers import scaled_rate, told_rate
from covidcxr_tf.train.sameness import config_digest
from covidcxr_tf.train.step import build_train_step

MakeJob = Callable[..., Job]


def batch_of(films: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    images = generator.random((films, 8, 8, 1), dtype=np.float32)
    weights = np.linspace(0.5, 2, films, dtype=np.float32)
    batch = {"image": images, "target": np.arange(films) % 2, "weight": weights}
    return {name: tf.constant(values) for name, values in batch.items()}


@pytest.mark.parametrize(("films", "parts"), [(8, 2), (7, 3), (2, 5), (1, 4)])
def test_the_parts_of_a_batch_move_the_weights_as_the_whole_does(make_job: MakeJob, films: int, parts: int) -> None:
    whole, parted = make_job(optimizer="sgd", learning_rate=0.5), make_job(optimizer="sgd", learning_rate=0.5)
    batch = batch_of(films)
    for job, count in ((whole, 1), (parted, parts)):
        job.model.trainable_variables[0].regularizer = keras.regularizers.L2(0.1)
        assert len(job.model.losses) == 1
        step = build_train_step(job.model, job.loss, job.optimizer, job.strategy, l1=0.01, accumulate=count)
        losses = [float(step(batch)) for _ in range(3)]  # what one step gathered must not stay for the next
        job.facts["losses"] = losses
    np.testing.assert_allclose(parted.facts["losses"], whole.facts["losses"], rtol=1e-5)
    assert len(set(np.round(whole.facts["losses"], 4))) == 3
    for values, again in zip(whole.model.get_weights(), parted.model.get_weights(), strict=True):
        np.testing.assert_allclose(again, values, atol=1e-6)


class Killed(BaseException):
    """A process that is gone: nothing catches it."""


class KillAfter(keras.callbacks.Callback):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if int(self.model.optimizer.iterations) >= self.step:
            raise Killed


def test_a_kill_between_calls_of_several_steps_in_parts_loses_nothing(make_hard_job: MakeJob, tmp_path: Path) -> None:
    settings = {"steps_per_execution": 3, "accumulate_steps": 2, "checkpoint_steps": 2}
    whole = make_hard_job(tmp_path / "whole", **settings)
    history = fit(whole)
    with pytest.raises(Killed):
        fit(make_hard_job(tmp_path / "run", (KillAfter(6),), **settings))
    again = make_hard_job(tmp_path / "run", **settings)
    columns = ["loss", "val_loss", "learning_rate"]
    pd.testing.assert_frame_equal(fit(again, resume=True)[columns], history[columns], atol=1e-6)
    for values, found in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("scaling", "base", "rate"),
    [("none", 8, 0.1), ("linear", 8, 0.4), ("sqrt", 8, 0.2), ("linear", 64, 0.05), ("linear", 0, 0.1)],
)
def test_the_rate_is_scaled_to_the_batch(scaling: str, base: int, rate: float) -> None:
    settings: dict[str, Any] = {"learning_rate": 0.1, "batch_size": 32, "lr_scaling": scaling, "base_batch_size": base}
    assert scaled_rate(TrainConfig(**settings)) == pytest.approx(rate)


def test_the_rate_used_stands_in_history_and_log(make_job: MakeJob) -> None:
    job = make_job(learning_rate=0.004, lr_scaling="sqrt", base_batch_size=2, epochs=1)
    assert fit(job)["learning_rate"].tolist() == pytest.approx([0.008])
    said = "learning rate 0.008: 0.004 for batches of 2, sqrt scaling to 8"
    assert told_rate(job.config) == said
    assert said in (job.run.folder / "train.log").read_text()


def test_what_changes_nothing_does_not_forbid_to_resume() -> None:
    changes = ([], ["train.steps_per_execution=4"], ["train.accumulate_steps=2"], ["train.lr_scaling=linear"])
    plain, at_once, parts, scaled = (config_digest(load_config("base", change)) for change in changes)
    assert plain == at_once
    assert len({plain, parts, scaled}) == 3


def test_a_profile_is_written_where_it_is_wanted(make_job: MakeJob) -> None:
    job, plain = make_job(epochs=2), make_job(epochs=2)
    job.profile = True
    for one in (job, plain):
        fit(one)
    assert list((job.run.tensorboard / "plugins" / "profile").rglob("*.xplane.pb"))
    assert not (plain.run.tensorboard / "plugins").exists()


@pytest.mark.parametrize(
    ("steps", "at_once", "calls"),
    [
        (100, 1, [("start", 10), ("stop", 20)]),
        (20, 1, [("start", 10), ("stop", 20)]),
        (100, 8, [("start", 16), ("stop", 24)]),  # only between calls
        (7, 1, [("start", 3), ("stop", 7)]),
        (1, 1, [("start", 0), ("stop", 1)]),
    ],
)
def test_which_steps_are_profiled(
    tmp_path: Path, steps: int, at_once: int, calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, seen = 0, []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: seen.append(("start", done)))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: seen.append(("stop", done)))
    profiler = Profiler(tmp_path, steps)
    for _ in range(0, steps, at_once):
        profiler.before_step()
        done += at_once
        profiler.after_steps(at_once)
    profiler.close()
    assert seen == calls
