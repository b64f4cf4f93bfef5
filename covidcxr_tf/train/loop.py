"""The only training loop: one device or many, Keras callbacks, a run folder, and a way back after any stop.

Why not `Model.fit`: under MultiWorkerMirroredStrategy it fails in Keras 3.15, and it restarts an epoch's data
from anywhere. Keras callbacks that watch epochs (EarlyStopping, ReduceLROnPlateau, TensorBoard, CSVLogger) work
here as they do there.

A checkpoint is the one thing that counts: ``history.csv`` and ``model.keras`` follow from it, and are made to agree
with it when a run is resumed. The films of an epoch, their order and their random changes depend on (seed, epoch,
batch) alone, so that a number of batches is all there is to say about the place in the data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import pandas as pd

from covidcxr_tf.errors import RunFailed, WeightsError
from covidcxr_tf.files import write_text
from covidcxr_tf.models.files import load_model, read_facts, save_model
from covidcxr_tf.progress import Progress
from covidcxr_tf.train.checkpoints import Checkpoint, Checkpoints, sweep
from covidcxr_tf.train.disk import check_room, disk_faults
from covidcxr_tf.train.job import Job, monitor_mode
from covidcxr_tf.train.reading import bad_shard, damaged_shard, readable
from covidcxr_tf.train.state import (
    TrainState,
    arrays_of,
    assign,
    callback_states,
    check_identity,
    finite,
    identity_of,
    random_states,
    set_callback_states,
    set_random_states,
    variables_of,
)
from covidcxr_tf.train.step import build_train_step
from covidcxr_tf.train.stopping import StopSignals, stop_signals
from covidcxr_tf.train.validation import build_eval_step, validate

#: Seconds between two checkpoints where the config names no steps.
CHECKPOINT_SECONDS = 300.0
#: So often the learning rate is halved after a loss that is no number.
MOST_HALVINGS = 3
#: File names that an error shows; all of them stand in ``train.log``.
NAMES_SHOWN = 32


class NotFinite(Exception):
    """A loss, or weights, that are no numbers."""


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
        rate, or the disk is full, broken or read-only.
    ConfigError
        If the checkpoint is of another training.
    DataError
        If a shard of prepared films cannot be read.
    Stopped
        After SIGTERM, when the step under way is finished and saved.
    """
    with disk_faults(job.run.folder), stop_signals() as stop, stop.deferred():
        return _Training(job, stop).run(resume)


class _Training:
    """One training under way: what moves from batch to batch, its way to the disk and back."""

    def __init__(self, job: Job, stop: StopSignals) -> None:
        self.job, self.stop = job, stop
        self.state = TrainState()
        # Callbacks reach the learning rate through `model.optimizer`; the loop does not use what else compile made.
        with job.strategy.scope():
            job.model.compile(optimizer=job.optimizer, jit_compile=False)
        job.model.stop_training = False
        self.step = build_train_step(
            job.model, job.loss, job.optimizer, job.strategy, forward=job.forward, l1=job.config.l1
        )
        self.judge = build_eval_step(job.model, job.loss, dense=job.validation.targets is None)
        self.callbacks = _callback_list(job)
        self.checkpoints = Checkpoints(job.run.checkpoints)
        self.logger = job.run.logger()
        self.saved = (0, 0.0)  # step and time of the last checkpoint
        self.begun = 0.0  # when the epoch under way would have begun without its stops
        self.films: Any = None  # rows of the last batch

    def run(self, resume: bool) -> pd.DataFrame:
        """Train to the end and return the history."""
        job = self.job
        job.run.checkpoints.mkdir(exist_ok=True)
        if resume:
            sweep(job.run.folder, job.run.checkpoints, job.run.figures)
        found = self.checkpoints.latest() if resume else None
        if found is not None:
            check_identity(found.state["identity"], identity_of(job), found.path)
        self.callbacks.on_train_begin()
        self._check_room()
        if found is None:
            self.checkpoints.clear()
            self.begin()
        else:
            self.restore(found)
            self.mend(found)
            self.logger.info("resumed in epoch %d after batch %d", self.state.epoch, self.state.batch)
        while not self.state.ended:
            try:
                self.epoch()
            except NotFinite as bad:
                self.roll_back(bad)
        self.callbacks.on_train_end()
        best, _ = load_model(job.run.model)
        job.model.set_weights(best.get_weights())
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
        progress = Progress(job.training.for_epoch(state.epoch).rows, f"epoch {state.epoch}/{job.config.epochs}")
        self.train_batches(progress)
        self.check_weights(arrays_of(job.model.variables))
        row = self.measured(progress)
        state.rows.append(row)
        write_text(job.run.history, pd.DataFrame(state.rows).to_csv(index=False))
        shown = ", ".join(f"{name} {value:.6g}" for name, value in row.items() if name != "epoch")
        self.logger.info("epoch %d: %s", state.epoch, shown)
        self.keep_best(row)
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
        state, size = self.state, self.job.config.batch_size
        steps, films, batches = self.batches()
        progress.advance(state.seen)
        for batch in batches:
            self.films = batch["row"]
            self.callbacks.on_train_batch_begin(state.batch)
            count = min(size, films - state.seen)
            loss = float(self.step(batch))
            if not math.isfinite(loss):
                raise NotFinite(f"the loss is {loss} in epoch {state.epoch}, step {state.batch + 1}")
            state.step, state.batch = state.step + 1, state.batch + 1
            state.total, state.seen = state.total + loss * count, state.seen + count
            self.callbacks.on_train_batch_end(state.batch - 1, {"loss": loss})
            progress.advance(count, f"loss {state.total / state.seen:.4f}")
            self.stop_if_wanted()
            if self.due():
                self.save()
        if state.batch != steps:
            prepared = self.job.training.prepared
            found = damaged_shard(prepared, self.job.training.groups)
            raise bad_shard(prepared, *(found or (None, f"{state.batch} batches of {steps} came out of them")))

    def batches(self) -> tuple[int, int, Iterator[Any]]:
        """Return how many batches and films the epoch has, and the batches that are left of it."""
        job, skip = self.job, self.state.batch
        training = job.training.for_epoch(self.state.epoch)
        films, replicas = training.rows, job.strategy.num_replicas_in_sync
        whole, rest = divmod(films, job.config.batch_size)
        steps = whole + (rest > 0)
        if 0 < rest < replicas:
            # A device without a film has no batch statistics to give, and the others wait for them. The few films
            # left over are others in each epoch.
            steps, films = whole, whole * job.config.batch_size
        if skip >= steps:
            return steps, films, iter(())
        left = training.training(self.state.epoch, skip).take(steps - skip)
        if replicas > 1:
            left = job.strategy.experimental_distribute_dataset(left)
        return steps, films, readable(left, training.prepared, training.groups)

    def measured(self, progress: Progress) -> dict[str, float]:
        """Return the epoch's line of the history."""
        job, state = self.job, self.state
        found = validate(self.judge, job.validation.for_epoch(state.epoch), job.strategy, watch=self.stop_if_wanted)
        seconds = max(time.monotonic() - self.begun, 1e-9)
        row = {"epoch": state.epoch, "loss": state.total / max(state.seen, 1), **found}
        row |= {"learning_rate": float(np.asarray(job.optimizer.learning_rate)), "seconds": seconds}
        row["films_per_second"] = state.seen / seconds
        progress.close(
            ", ".join(f"{name} {value:.4f}" for name, value in row.items() if "loss" in name or "val" in name)
        )
        return row

    def keep_best(self, row: dict[str, float]) -> None:
        """Write ``model.keras`` if this epoch is the best so far."""
        state, monitor = self.state, self.job.config.monitor
        if monitor not in row:
            known = ", ".join(name for name in row if name.startswith("val_"))
            raise RunFailed(f"train.monitor is '{monitor}'", where=self.job.run.folder, expected=f"one of {known}")
        value = row[monitor] if monitor_mode(monitor) == "max" else -row[monitor]
        # The first epoch is kept whatever its value, so that there is a model even if the score is undefined.
        if value > state.best_value or not state.best_epoch:
            state.best_value = value if value == value else -math.inf
            state.best_epoch, state.best_step = state.epoch, state.step
            self.write_model()

    def write_model(self) -> None:
        """Write the model as it is to ``model.keras``, as the best epoch."""
        save_model(self.job.model, self.job.run.model, {**self.job.facts, "epoch": self.state.best_epoch})

    def due(self) -> bool:
        """Return whether it is time for a checkpoint within an epoch."""
        step, when = self.saved
        wanted = self.job.config.checkpoint_steps
        # The monotonic clock: the other one may be set back.
        return self.state.step - step >= wanted if wanted else time.monotonic() - when >= CHECKPOINT_SECONDS

    def save(self) -> None:
        """Write a checkpoint.

        Raises
        ------
        NotFinite
            If the weights are no numbers: that is nothing to go back to.
        """
        state, variables = self.state, variables_of(self.job)
        arrays = arrays_of(variables)
        self.check_weights(arrays[: len(self.job.model.variables)])
        if state.batch:
            state.seconds = time.monotonic() - self.begun
        document = {
            "identity": identity_of(self.job),
            "train": asdict(state),
            "callbacks": callback_states(self.callbacks.callbacks),
            "random": random_states(),
        }
        self.checkpoints.save(state.step, arrays, document, state.best_step if state.best_epoch else None)
        self.saved = (state.step, time.monotonic())

    def restore(self, found: Checkpoint) -> None:
        """Stand where a checkpoint stood."""
        assign(variables_of(self.job), found.arrays)
        self.state = TrainState(**found.state["train"])
        set_callback_states(self.callbacks.callbacks, found.state["callbacks"])
        set_random_states(found.state["random"])
        self.saved = (self.state.step, time.monotonic())

    def mend(self, found: Checkpoint) -> None:
        """Make ``history.csv`` and ``model.keras`` agree with a checkpoint: a kill may have come between them."""
        run, state = self.job.run, self.state
        if state.rows:
            write_text(run.history, pd.DataFrame(state.rows).to_csv(index=False))
        else:
            run.history.unlink(missing_ok=True)
        if not state.best_epoch:
            run.model.unlink(missing_ok=True)
        elif _epoch_of(run) != state.best_epoch:
            best = found if found.state["train"]["step"] == state.best_step else self.checkpoints.read(state.best_step)
            if best is None:
                raise RunFailed(
                    f"neither model.keras nor the checkpoint of the best epoch ({state.best_epoch}) can be read",
                    where=run.folder,
                    remedy="begin a new run",
                )
            assign(variables_of(self.job), best.arrays)
            self.write_model()
            assign(variables_of(self.job), found.arrays)

    def check_weights(self, arrays: list[np.ndarray]) -> None:
        """Raise `NotFinite` where the last step left weights that are no numbers."""
        if not finite(arrays):
            raise NotFinite(f"the weights are no numbers in epoch {self.state.epoch}, after step {self.state.batch}")

    def roll_back(self, bad: NotFinite) -> None:
        """Return to the last checkpoint with half the learning rate.

        Raises
        ------
        RunFailed
            After `MOST_HALVINGS` of that, or where there is no checkpoint.
        """
        tried, names = self.state.halvings, self.film_names()
        found = self.checkpoints.latest() if tried < MOST_HALVINGS else None
        if found is None:
            self.logger.error("%s; films: %s", bad, ", ".join(names))
            more = f" and {len(names) - NAMES_SHOWN} more (train.log)" if len(names) > NAMES_SHOWN else ""
            raise RunFailed(
                f"{bad}, also after the learning rate was halved {tried} times; "
                f"films of the batch: {', '.join(names[:NAMES_SHOWN])}{more}",
                where=self.job.run.folder,
                remedy="look at these films, or lower train.learning_rate; model.keras holds the best epoch before",
            )
        self.restore(found)
        self.state.halvings, since = tried + 1, tried + 1 - self.state.halvings
        rate = float(np.asarray(self.job.optimizer.learning_rate)) * 0.5**since
        self.job.optimizer.learning_rate = rate
        self.logger.warning("%s; films: %s", bad, ", ".join(names))
        self.logger.warning("back to %s with a learning rate of %.3g", found.path.name, rate)

    def film_names(self) -> list[str]:
        """Return the files of the last batch."""
        if self.films is None:
            return []
        parts = self.job.strategy.experimental_local_results(self.films)
        rows = np.unique(np.concatenate([np.asarray(part).ravel() for part in parts]))
        return [str(path) for path in self.job.training.prepared.manifest["path"].iloc[rows]]

    def stop_if_wanted(self, saved: bool = False) -> None:
        """Save and leave where a signal asked for it."""
        if self.stop.wanted is None or self.state.ended:
            return
        if not saved:
            self.save()
        self.logger.info("stopped by %s in epoch %d after batch %d", self.stop.wanted.name, *self.place())
        raise self.stop.stop("in epoch {} after batch {}, saved".format(*self.place()))

    def place(self) -> tuple[int, int]:
        """Return epoch and batch."""
        return self.state.epoch, self.state.batch

    def _check_room(self) -> None:
        job = self.job
        state = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables_of(job))
        weights = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in job.model.weights)
        held = self.checkpoints.size() + (job.run.model.stat().st_size if job.run.model.is_file() else 0)
        check_room(job.run.folder, state, weights, held)


def _epoch_of(run: Any) -> int | None:
    """Return the epoch that a run's ``model.keras`` is of, or None where it cannot be read."""
    try:
        return int(read_facts(run.model).get("epoch", 0))
    except WeightsError:
        return None


def _callback_list(job: Job) -> keras.callbacks.CallbackList:
    config = job.config
    mode = monitor_mode(config.monitor)
    wanted: list[keras.callbacks.Callback] = [
        keras.callbacks.TensorBoard(str(job.run.tensorboard), write_graph=False, update_freq="epoch")
    ]
    if config.reduce_lr_patience:
        wanted.append(
            keras.callbacks.ReduceLROnPlateau(
                config.monitor, factor=config.reduce_lr_factor, patience=config.reduce_lr_patience, mode=mode
            )
        )
    if config.early_stopping_patience:
        wanted.append(keras.callbacks.EarlyStopping(config.monitor, patience=config.early_stopping_patience, mode=mode))
    return keras.callbacks.CallbackList(
        [*wanted, *job.callbacks], add_history=False, model=job.model, epochs=config.epochs
    )
