"""What goes wrong in the middle: losses that are no numbers, full disks, shards that are gone."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.errors import DataError, RunFailed
from covidcxr_tf.models.files import load_model
from covidcxr_tf.train import disk
from covidcxr_tf.train.checkpoints import Checkpoints
from covidcxr_tf.train.disk import check_room, disk_faults
from covidcxr_tf.train.job import Job
from covidcxr_tf.train.loop import fit

MakeJob = Callable[..., Job]


class Poison(keras.callbacks.Callback):
    """Makes the weights no numbers before a step, so many times."""

    def __init__(self, step: int, times: int) -> None:
        super().__init__()
        self.step = step
        self.left = [True] * times  # no number: a return to a checkpoint does not bring it back
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if int(self.model.optimizer.iterations) != self.step:
            return
        self.rates.append(float(np.asarray(self.model.optimizer.learning_rate)))
        if self.left:
            self.left.pop()
            self.model.set_weights([np.full_like(value, np.nan) for value in self.model.get_weights()])


@pytest.mark.parametrize(("decay", "second", "third"), [("none", 1.0, 1.0), ("cosine", 0.75, 0.25)])
def test_a_loss_that_is_no_number_goes_back_with_half_the_rate(
    decay: str, second: float, third: float, make_hard_job: MakeJob, tmp_path: Path
) -> None:
    """Halved twice in the second of three epochs, whatever share of the first rate that epoch has; it stays halved."""
    poison = Poison(step=5, times=2)
    job = make_hard_job(tmp_path / "run", callbacks=(poison,), reduce_lr_patience=0, decay=decay)
    history = fit(job)
    assert poison.rates == pytest.approx([0.01 * second, 0.005 * second, 0.0025 * second])
    assert history["learning_rate"].tolist() == pytest.approx([0.01, 0.0025 * second, 0.0025 * third])
    assert np.isfinite(history["loss"]).all()
    log = (job.run.folder / "train.log").read_text()
    assert "the loss is nan in epoch 2, step 2" in log and f"learning rate of {0.0025 * second:.3g}" in log


def test_after_three_halvings_it_ends_with_the_films_of_the_batch(make_hard_job: MakeJob, tmp_path: Path) -> None:
    poison = Poison(step=5, times=99)
    job = make_hard_job(tmp_path / "run", callbacks=(poison,), decay="none")
    with pytest.raises(RunFailed, match=r"loss is nan in epoch 2, step 2, .* halved 3 times") as failed:
        fit(job)
    assert failed.value.exit_code == 5
    assert poison.rates == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    batch = list(job.training.training(2))[1]
    assert all(f"{row}.png" in str(failed.value) for row in batch["row"].numpy())
    assert str(failed.value).count(".png") == 8
    assert load_model(job.run.model)[1]["epoch"] == 1


def test_weights_that_are_no_numbers_are_never_saved(make_hard_job: MakeJob, tmp_path: Path) -> None:
    class Late(Poison):
        """Spoils the weights after the last step of an epoch: no loss shows it."""

        def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
            pass

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            super().on_train_batch_begin(batch)

    job = make_hard_job(tmp_path / "run", callbacks=(Late(step=4, times=1),))
    history = fit(job)
    assert np.isfinite(history[["loss", "val_loss"]].to_numpy()).all()
    store = Checkpoints(job.run.checkpoints)
    for step in store.steps():
        found = store.read(step)
        assert found is not None and all(np.isfinite(values).all() for values in found.arrays)
    assert "weights are no numbers in epoch 1, after step 4" in (job.run.folder / "train.log").read_text()


def test_initial_weights_that_are_no_numbers(make_hard_job: MakeJob, tmp_path: Path) -> None:
    job = make_hard_job(tmp_path / "run")
    job.model.set_weights([np.full_like(value, np.inf) for value in job.model.get_weights()])
    with pytest.raises(RunFailed, match="the weights are no numbers in epoch 1"):
        fit(job)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_told_before_the_first_step(
    make_hard_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
    job = make_hard_job(tmp_path / "run")
    with pytest.raises(RunFailed, match=r"1 MB are free on its disk; expected 32 MB") as failed:
        fit(job)
    assert failed.value.exit_code == 5
    assert not list(job.run.checkpoints.iterdir())


def test_the_estimate_grows_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = 4 * 300_000_000 + 3 * 100_000_000 + disk.ROOM_FOR_RESULTS
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, need))
    check_room(tmp_path, 300_000_000, 100_000_000, 0)
    with pytest.raises(RunFailed, match="expected 1532 MB"):
        check_room(tmp_path, 300_000_001, 100_000_000, 0)
    check_room(tmp_path, 400_000_000, 100_000_000, 400_000_000)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_may_not_grow_ends_the_run_and_keeps_the_checkpoint_before(
    make_hard_job: MakeJob, tmp_path: Path
) -> None:
    class Shrink(keras.callbacks.Callback):
        """From step 4 on no file may hold more than 2 kB; a checkpoint has 12."""

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if int(self.model.optimizer.iterations) == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    job = make_hard_job(tmp_path / "run", callbacks=(Shrink(),))
    with files_of_at_most(resource.RLIM_INFINITY), pytest.raises(RunFailed) as failed:
        fit(job)
    assert "File too large; the checkpoint step_000000004.zip is kept" in str(failed.value)
    assert "--resume" in str(failed.value)
    assert failed.value.exit_code == 5
    unbroken = fit(make_hard_job(job.run.folder.with_name("whole")))
    again = fit(make_hard_job(tmp_path / "run"), resume=True)
    np.testing.assert_array_equal(again["loss"], unbroken["loss"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device; there is no checkpoint yet"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "Read-only file system.*mend the disk"),
        (OSError("Unable to write (file write failed: errno = 28)"), "errno = 28"),
        (RuntimeError("Can't flush: errno = 28, error message = 'No space left on device'"), "free some room"),
        (tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"), "No space left on device"),
    ],
)
def test_what_a_disk_does_is_told_plainly(tmp_path: Path, fault: Exception, message: str) -> None:
    with pytest.raises(RunFailed, match=message), disk_faults(tmp_path):
        raise fault


@pytest.mark.parametrize("fault", [OSError(errno.ENOENT, "gone"), RuntimeError("else"), ValueError("No space left")])
def test_other_faults_are_left_alone(tmp_path: Path, fault: Exception) -> None:
    with pytest.raises(type(fault)) as raised, disk_faults(tmp_path):
        raise fault
    assert raised.value is fault


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "whole_records_gone", "other_size"])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_damaged_shard_is_named_with_its_remedy(
    make_hard_job: MakeJob, tmp_path: Path, damage: str, part: str
) -> None:
    job = make_hard_job(tmp_path / "run")
    shard = tmp_path / "damaged.tfrecord"
    before = job.training.prepared
    content = bytearray(before.files[part][0].read_bytes())
    each = len(content) // (32 if part == "train" else 8)
    if damage == "flipped":
        content[each + each // 2] ^= 1
    shard.write_bytes(content[: {"cut": 3 * each - 7, "whole_records_gone": 3 * each}.get(damage, len(content))])
    if damage == "gone":
        shard.unlink()
    if damage == "other_size":
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"12345"]))
        row = tf.train.Feature(int64_list=tf.train.Int64List(value=[0]))
        example = tf.train.Example(features=tf.train.Features(feature={"image": feature, "row": row}))
        with tf.io.TFRecordWriter(str(shard)) as writer:
            writer.write(example.SerializeToString())
    prepared = replace(before, files={**before.files, part: [shard]})
    batches: Any = replace(job.training if part == "train" else job.validation, prepared=prepared)
    setattr(job, "training" if part == "train" else "validation", batches)
    with pytest.raises(DataError, match="a shard of prepared films cannot be read") as failed:
        fit(job)
    assert failed.value.exit_code == 3
    assert f"remove the folder {before.folder}" in str(failed.value)
    if damage != "whole_records_gone":
        assert "damaged.tfrecord" in str(failed.value)
