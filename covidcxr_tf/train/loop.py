"""The only training loop: one device, many, or many machines; Keras callbacks, a run folder, a way back after any stop.

Why not `Model.fit`: under MultiWorkerMirroredStrategy it fails in Keras 3.15, and it restarts an epoch's data
from anywhere. Keras callbacks that watch epochs (EarlyStopping, ReduceLROnPlateau, TensorBoard, CSVLogger) work
here as they do there.

The films of an epoch, their order and their random changes depend on (seed, epoch, batch) alone, so that a number of
batches is all there is to say about the place in the data. Where several processes train, all take the same steps and
come to the same decisions: what only one of them knows (a signal, the clock, the validation films' scores) is told to
the others before anything follows from it.
"""

from __future__ import annotations

import math
import signal
import time
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.progress import Progress
from covidcxr_tf.train.callbacks import Profiler, Unshown, callback_list
from covidcxr_tf.train.disk import disk_faults
from covidcxr_tf.train.distribution import crew_of
from covidcxr_tf.train.feeding import Portion, epoch_batches, portions
from covidcxr_tf.train.job import Job, monitor_mode
from covidcxr_tf.train.keeping import Keeper, NotFinite, check_weights
from covidcxr_tf.train.optimizers import told_rate
from covidcxr_tf.train.reading import bad_shard, damaged_shard
from covidcxr_tf.train.state import TrainState, arrays_of
from covidcxr_tf.train.step import Steps, build_train_step
from covidcxr_tf.train.stopping import StopSignals, stop_signals
from covidcxr_tf.train.validation import build_eval_step, validate

__all__ = ["Job", "build_train_step", "fit", "monitor_mode"]

#: So often the learning rate is halved after a loss that is no number.
MOST_HALVINGS = 3
#: File names that an error shows; all of them stand in ``train.log``.
NAMES_SHOWN = 32


def fit(job: Job, *, resume: bool = False) -> pd.DataFrame:
    """Train, keep the best epoch as ``model.keras``, and return the history, one row an epoch.

    Columns: epoch (from 1), loss, val_loss, the task's ``val_`` scores, learning_rate, seconds, films_per_second.
    On return `job.model` holds the best epoch's weights.

    Parameters
    ----------
    job : Job
    resume : bool
        Go on from the newest checkpoint in the run folder, where there is one: with the same batches, losses and
        weights as if nothing had happened.

    Raises
    ------
    RunFailed
        If the loss is still not a number after `MOST_HALVINGS` returns to the last checkpoint with half the learning
        rate, the disk is full, broken or read-only, or another of the processes that train together is gone.
    ConfigError
        If the checkpoint is of another training.
    DataError
        If a shard of prepared films cannot be read.
    Stopped
        After SIGTERM to any of these processes, when the step under way is finished and saved.
    """
    crew = crew_of(job.strategy)
    with disk_faults(job.run.folder), crew.faults(), stop_signals() as stop, stop.deferred():
        return _Training(job, stop).run(resume)


class _Training:
    """One training under way: what moves from batch to batch."""

    def __init__(self, job: Job, stop: StopSignals) -> None:
        self.job, self.stop, self.crew = job, stop, crew_of(job.strategy)
        self.state = TrainState()
        # Callbacks reach the learning rate through `model.optimizer`; the loop does not use what else compile made.
        with job.strategy.scope():
            job.model.compile(optimizer=job.optimizer, jit_compile=False)
        job.model.stop_training = False
        parts, l1 = job.config.accumulate_steps, job.config.l1
        self.steps = Steps(
            job.model, job.loss, job.optimizer, job.strategy, forward=job.forward, l1=l1, accumulate=parts
        )
        self.judge = build_eval_step(job.model, job.loss, dense=job.validation.targets is None)
        self.callbacks = callback_list(job)
        self.keeper = Keeper(job, self.crew, self.callbacks.callbacks)
        self.logger = job.run.logger()
        self.crew.tell(self.logger)
        self.heard = np.zeros(2, np.float32)  # how many processes were told to stop, and how many want to save
        self.begun = 0.0  # when the epoch under way would have begun without its stops
        self.films: Any = None  # rows of the last batch

    def run(self, resume: bool) -> pd.DataFrame:
        """Train to the end and return the history."""
        job = self.job
        found = self.keeper.begin(resume)
        self.callbacks.on_train_begin()
        if found is None:
            self.logger.info("%s", told_rate(job.config))
            self.begin()
        else:
            self.state = self.keeper.restore(found)
            self.keeper.mend(found, self.state)
            self.logger.info("resumed in epoch %d after batch %d", *self.place())
        left = (job.config.epochs - self.state.epoch + 1) * epoch_batches(job, self.state.epoch)[0] - self.state.batch
        self.profiler = Profiler(job.run.tensorboard if job.profile and self.crew.is_chief else None, left)
        try:
            while not self.state.ended:
                try:
                    self.epoch()
                except NotFinite as bad:
                    self.roll_back(bad)
        finally:
            self.profiler.close()
        self.callbacks.on_train_end()
        self.keeper.take_best(self.state)
        return pd.DataFrame(self.state.rows)

    def begin(self) -> None:
        """Save the initial weights: what a loss that is no number in the first steps goes back to."""
        try:
            self.save()
        except NotFinite as bad:
            raise RunFailed(f"{bad}: the initial weights", where=self.job.run.folder, remedy="see model.init") from bad

    def epoch(self) -> None:
        """Train one epoch, or the rest of it, judge it, and save."""
        state, job = self.state, self.job
        self.callbacks.on_epoch_begin(state.epoch - 1)
        self.begun = time.monotonic() - state.seconds
        shown = Progress if self.crew.is_chief else Unshown
        progress = shown(job.training.for_epoch(state.epoch).rows, f"epoch {state.epoch}/{job.config.epochs}")
        self.train_batches(progress)
        check_weights(arrays_of(job.model.variables), state)
        row = self.crew.document(self.measured(progress))
        state.rows.append(row)
        self.keeper.write_history(state)
        told = ", ".join(f"{name} {value:.6g}" for name, value in row.items() if name != "epoch")
        self.logger.info("epoch %d: %s", state.epoch, told)
        self.keeper.keep_best(row, state)
        logs = {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
        self.callbacks.on_epoch_end(state.epoch - 1, logs)
        if job.model.stop_training:
            self.logger.info("stopped after epoch %d: no better %s", state.epoch, job.config.monitor)
        state.ended = bool(job.model.stop_training) or state.epoch >= job.config.epochs
        state.next_epoch()
        self.save()
        self.stop_if_wanted(saved=True)

    def train_batches(self, progress: Progress) -> None:
        """Train the batches of the epoch that are not done yet."""
        state, config = self.state, self.job.config
        steps, batches = epoch_batches(self.job, state.epoch, state.batch)
        progress.advance(state.seen)
        for portion in portions(batches, config.batch_size, config.steps_per_execution, self.job.strategy):
            done = sum(len(rows) for rows in portion.rows)
            self.train(portion)
            progress.advance(done, f"loss {state.total / state.seen:.4f}")
            self.stop_if_wanted()
            if self.keeper.due(state.step) if self.crew.alone or config.checkpoint_steps else self.heard[1] > 0:
                self.save()
        if state.batch != steps:
            prepared = self.job.training.prepared
            found = damaged_shard(prepared, self.job.training.groups)
            raise bad_shard(prepared, *(found or (None, f"{state.batch} batches of {steps} came out of them")))

    def train(self, portion: Portion) -> None:
        """Take the steps of one portion."""
        state = self.state
        self.callbacks.on_train_batch_begin(state.batch)
        self.profiler.before_step()
        flags = np.array([self.stop.wanted is not None, self.keeper.due(state.step)], np.float32)
        if portion.stacked:
            found, heard = self.steps.several(portion.values, flags, len(portion.rows))
        else:
            found, heard = self.steps.one(portion.values, flags)
        losses, self.heard = np.atleast_1d(found.numpy()).tolist(), heard.numpy().copy()
        for rows, loss in zip(portion.rows, losses, strict=True):
            self.films = rows
            if not math.isfinite(loss):
                raise NotFinite(f"the loss is {loss} in epoch {state.epoch}, step {state.batch + 1}")
            state.step, state.batch = state.step + 1, state.batch + 1
            state.total, state.seen = state.total + loss * len(rows), state.seen + len(rows)
        self.profiler.after_steps(len(losses))
        self.callbacks.on_train_batch_end(state.batch - 1, {"loss": losses[-1]})

    def measured(self, progress: Progress) -> dict[str, float]:
        """Return the epoch's line of the history, of which the chief's counts."""
        job, state = self.job, self.state
        found = {}
        if self.crew.is_chief:
            found = validate(self.judge, job.validation.for_epoch(state.epoch), job.strategy, watch=self.watch)
        while not self.crew.alone and not self.watch(done=self.crew.is_chief) and not self.crew.is_chief:
            pass
        seconds = max(time.monotonic() - self.begun, 1e-9)
        row = {"epoch": state.epoch, "loss": state.total / max(state.seen, 1), **found}
        row |= {"learning_rate": float(np.asarray(job.optimizer.learning_rate)), "seconds": seconds}
        row["films_per_second"] = state.seen / seconds
        progress.close(
            ", ".join(f"{name} {value:.4f}" for name, value in row.items() if "loss" in name or "val" in name)
        )
        return row

    def watch(self, done: bool = False) -> bool:
        """Stop in the middle of the validation where it is wanted; return whether the chief is done with it.

        The others wait here for the chief, batch by batch, so that a signal to any of them is heard by all.
        """
        if not self.crew.alone:
            own = [self.stop.wanted is not None, done]
            self.heard = self.crew.sum(np.array(own, np.float32))
        self.stop_if_wanted()
        return bool(self.heard[1] > 0)

    def save(self) -> None:
        """Write a checkpoint."""
        if self.state.batch:
            self.state.seconds = time.monotonic() - self.begun
        self.keeper.save(self.state)

    def roll_back(self, bad: NotFinite) -> None:
        """Return to the last checkpoint with half the learning rate.

        Raises
        ------
        RunFailed
            After `MOST_HALVINGS` of that, or where there is no checkpoint.
        """
        tried, names = self.state.halvings, self.film_names()
        found = self.keeper.latest() if tried < MOST_HALVINGS else None
        if found is None:
            self.logger.error("%s; films: %s", bad, ", ".join(names))
            more = f" and {len(names) - NAMES_SHOWN} more (train.log)" if len(names) > NAMES_SHOWN else ""
            raise RunFailed(
                f"{bad}, also after the learning rate was halved {tried} times; "
                f"films of the batch: {', '.join(names[:NAMES_SHOWN])}{more}",
                where=self.job.run.folder,
                remedy="look at these films, or lower train.learning_rate; model.keras holds the best epoch before",
            )
        self.state = self.keeper.restore(found)
        self.state.halvings, since = tried + 1, tried + 1 - self.state.halvings
        rate = float(np.asarray(self.job.optimizer.learning_rate)) * 0.5**since
        self.job.optimizer.learning_rate = rate
        self.logger.warning("%s; films: %s", bad, ", ".join(names))
        self.logger.warning("back to %s with a learning rate of %.3g", found.path.name, rate)

    def film_names(self) -> list[str]:
        """Return the files of the last batch."""
        if self.films is None:
            return []
        return [str(path) for path in self.job.training.prepared.manifest["path"].iloc[np.unique(self.films)]]

    def stop_if_wanted(self, saved: bool = False) -> None:
        """Save and leave where a signal asked for it; where several processes train, all leave after the same step."""
        if not self.crew.alone:
            told, self.heard[0] = self.heard[0] > 0, 0
            if told and self.stop.wanted is None:
                self.stop.wanted = signal.SIGTERM
        else:
            told = self.stop.wanted is not None
        if not told or self.state.ended:
            return
        if not saved:
            self.save()
        assert self.stop.wanted is not None
        self.logger.info("stopped by %s in epoch %d after batch %d", self.stop.wanted.name, *self.place())
        raise self.stop.stop("in epoch {} after batch {}, saved".format(*self.place()))

    def place(self) -> tuple[int, int]:
        """Return epoch and batch."""
        return self.state.epoch, self.state.batch
