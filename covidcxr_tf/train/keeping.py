"""What a training leaves on the disk, and its way back: checkpoints, ``history.csv``, ``model.keras``.

A checkpoint is the one thing that counts: ``history.csv`` and ``model.keras`` follow from it, and are made to agree
with it when a run is resumed. Where several processes train, the chief alone reads and writes, and tells the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.errors import RunFailed, WeightsError
from covidcxr_tf.files import write_text
from covidcxr_tf.models.files import load_model, read_facts, save_model
from covidcxr_tf.train.checkpoints import Checkpoint, Checkpoints, sweep
from covidcxr_tf.train.crew import Crew
from covidcxr_tf.train.disk import check_room
from covidcxr_tf.train.job import Job, monitor_mode
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

#: Seconds between two checkpoints where the config names no steps.
CHECKPOINT_SECONDS = 300.0


class NotFinite(Exception):
    """A loss, or weights, that are no numbers."""


class Keeper:
    """The run folder of one training under way.

    Parameters
    ----------
    job : Job
    crew : Crew
    callbacks : iterable
        Those whose counters a checkpoint holds.
    """

    def __init__(self, job: Job, crew: Crew, callbacks: Iterable[Any]) -> None:
        self.job, self.crew, self.callbacks = job, crew, list(callbacks)
        self.checkpoints = Checkpoints(job.run.checkpoints)
        self.saved = (0, 0.0)  # step and time of the last checkpoint

    def begin(self, resume: bool) -> Checkpoint | None:
        """Make room, and return what to go on from; None where a training begins, of which nothing is there yet.

        Raises
        ------
        ConfigError
            If the checkpoint is of another training.
        RunFailed
            If the disk has no room.
        """
        run = self.job.run
        run.checkpoints.mkdir(exist_ok=True)
        if resume:
            sweep(run.folder, run.checkpoints, run.figures)
        found = self.checkpoints.latest() if resume and self.crew.is_chief else None
        if found is not None:
            check_identity(found.state["identity"], identity_of(self.job), found.path)
        if self.crew.is_chief:
            self._check_room()
        found = self._told(found)
        if found is None:
            self.checkpoints.clear()
        return found

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole."""
        return self._told(self.checkpoints.latest() if self.crew.is_chief else None)

    def _told(self, found: Checkpoint | None) -> Checkpoint | None:
        """Return what the chief found."""
        if self.crew.alone:
            return found
        head = self.crew.document(None if found is None else [found.path.name, found.state])
        if head is None:
            return None
        arrays = self.crew.arrays(arrays_of(variables_of(self.job)) if found is None else found.arrays)
        return Checkpoint(Path(head[0]), head[1], arrays)

    def due(self, step: int) -> bool:
        """Return whether it is time for a checkpoint within an epoch; where others train too, the chief says so."""
        before, when = self.saved
        wanted = self.job.config.checkpoint_steps
        if wanted:
            return step - before >= wanted
        # The monotonic clock: the other one may be set back.
        return self.crew.is_chief and time.monotonic() - when >= CHECKPOINT_SECONDS

    def save(self, state: TrainState) -> None:
        """Write a checkpoint.

        Raises
        ------
        NotFinite
            If the weights are no numbers: that is nothing to go back to.
        """
        arrays = arrays_of(variables_of(self.job))
        check_weights(arrays[: len(self.job.model.variables)], state)
        if self.crew.is_chief:
            document = {
                "identity": identity_of(self.job),
                "train": asdict(state),
                "callbacks": callback_states(self.callbacks),
                "random": random_states(),
            }
            self.checkpoints.save(state.step, arrays, document, state.best_step if state.best_epoch else None)
        self.saved = (state.step, time.monotonic())

    def restore(self, found: Checkpoint) -> TrainState:
        """Stand where a checkpoint stood, and return how far that was."""
        assign(variables_of(self.job), found.arrays)
        state = TrainState(**found.state["train"])
        set_callback_states(self.callbacks, found.state["callbacks"])
        set_random_states(found.state["random"])
        self.saved = (state.step, time.monotonic())
        return state

    def write_history(self, state: TrainState) -> None:
        """Write ``history.csv``."""
        if self.crew.is_chief:
            write_text(self.job.run.history, pd.DataFrame(state.rows).to_csv(index=False))

    def keep_best(self, row: dict[str, float], state: TrainState) -> None:
        """Write ``model.keras`` if this epoch is the best so far."""
        monitor = self.job.config.monitor
        if monitor not in row:
            known = ", ".join(name for name in row if name.startswith("val_"))
            raise RunFailed(f"train.monitor is '{monitor}'", where=self.job.run.folder, expected=f"one of {known}")
        value = row[monitor] if monitor_mode(monitor) == "max" else -row[monitor]
        # The first epoch is kept whatever its value, so that there is a model even if the score is undefined.
        if value > state.best_value or not state.best_epoch:
            state.best_value = value if value == value else -math.inf
            state.best_epoch, state.best_step = state.epoch, state.step
            if self.crew.is_chief:
                self.write_model(state)

    def write_model(self, state: TrainState) -> None:
        """Write the model as it is to ``model.keras``, as the best epoch."""
        save_model(self.job.model, self.job.run.model, {**self.job.facts, "epoch": state.best_epoch})

    def take_best(self, state: TrainState) -> None:
        """Give the model the weights of the best epoch."""
        job = self.job
        weights = load_model(job.run.model)[0].get_weights() if self.crew.is_chief else job.model.get_weights()
        job.model.set_weights(self.crew.arrays(weights))
        if not self.crew.is_chief:  # into its own folder: the next phase begins with it
            self.write_model(state)

    def mend(self, found: Checkpoint, state: TrainState) -> None:
        """Make ``history.csv`` and ``model.keras`` agree with a checkpoint: a kill may have come between them."""
        if not self.crew.is_chief:
            return
        run = self.job.run
        if state.rows:
            self.write_history(state)
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
            self.write_model(state)
            assign(variables_of(self.job), found.arrays)

    def _check_room(self) -> None:
        job = self.job
        state = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables_of(job))
        weights = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in job.model.weights)
        held = self.checkpoints.size() + (job.run.model.stat().st_size if job.run.model.is_file() else 0)
        check_room(job.run.folder, state, weights, held)


def check_weights(arrays: list[np.ndarray], state: TrainState) -> None:
    """Raise `NotFinite` where the last step left weights that are no numbers."""
    if not finite(arrays):
        raise NotFinite(f"the weights are no numbers in epoch {state.epoch}, after step {state.batch}")


def _epoch_of(run: Any) -> int | None:
    """Return the epoch that a run's ``model.keras`` is of, or None where it cannot be read."""
    try:
        return int(read_facts(run.model).get("epoch", 0))
    except WeightsError:
        return None
