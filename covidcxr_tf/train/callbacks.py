"""What watches a training: the callbacks that a config asks for, and the profiler."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covidcxr_tf.progress import Progress
from covidcxr_tf.train.job import Job, monitor_mode

#: Steps that are profiled where there are as many: the first ones trace and fill buffers.
FIRST, LAST = 10, 20


def callback_list(job: Job) -> keras.callbacks.CallbackList:
    """Return the callbacks of a config and then those of the job."""
    config = job.config
    mode = monitor_mode(config.monitor)
    wanted: list[keras.callbacks.Callback] = [
        keras.callbacks.TensorBoard(str(job.run.tensorboard), write_graph=False, update_freq="epoch")
    ]
    if config.decay == "cosine":
        wanted.append(CosineDecay(config.epochs))
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


class CosineDecay(keras.callbacks.Callback):
    """Lets the rate fall along half a cosine: in epoch e of E (from 0) it is (1 + cos(pi e / E)) / 2 of the first.

    As a factor between two epochs, so that a rate halved after a loss that was no number stays halved. It has no state:
    the rate itself is in each checkpoint. Source: Loshchilov 2017, equation 5, without restarts.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate of the next epoch."""
        if epoch + 1 < self.epochs:
            rate = float(np.asarray(self.model.optimizer.learning_rate))
            self.model.optimizer.learning_rate = rate * self.share(epoch + 1) / self.share(epoch)

    def share(self, epoch: int) -> float:
        """Return which share of the first rate an epoch (from 0) has."""
        return (1 + math.cos(math.pi * epoch / self.epochs)) / 2


class Profiler:
    """Writes a TensorBoard profile of the steps after `FIRST`, up to `LAST`, of this process.

    Parameters
    ----------
    folder : Path or None
        None: nothing is profiled.
    steps : int
        That this process will take; where they are fewer than `LAST`, the second half of them is profiled.
    """

    def __init__(self, folder: Path | None, steps: int) -> None:
        self.folder, self.done, self.running = folder, 0, False
        self.first, self.last = (FIRST, LAST) if steps >= LAST else (steps // 2, steps)

    def before_step(self) -> None:
        """Begin where it is time to."""
        if self.folder is not None and not self.running and self.done >= self.first:
            tf.profiler.experimental.start(str(self.folder))
            self.running = True

    def after_steps(self, count: int) -> None:
        """Count steps, and end where it is time to."""
        self.done += count
        if self.done >= self.last:
            self.close()

    def close(self) -> None:
        """Write what was profiled, if anything was, and profile no more."""
        if self.running:
            with contextlib.suppress(tf.errors.UnavailableError):  # another profiler ended it
                tf.profiler.experimental.stop()
            self.folder, self.running = None, False


class Unshown(Progress):
    """Progress of a process beside the one that shows it."""

    def _show(self, now: float, note: str, last: bool = False) -> None:
        pass
