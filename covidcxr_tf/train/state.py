"""What moves while a training runs: as JSON and arrays into a checkpoint, and back."""

from __future__ import annotations

import math
import numbers
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from covidcxr_tf.errors import ConfigError
from covidcxr_tf.train.job import Job

#: Keras turns its sign when it first sees a score: the value of a running callback is not the one it was built with.
_NOT_KEPT = ("min_delta",)
_COUNTER = re.compile(r"_\d+(?=[_/]|$)")


@dataclass
class TrainState:
    """How far a training has come.

    Attributes
    ----------
    epoch : int
        The one under way, or the next one; from 1.
    batch, seen, total, seconds
        Of that epoch: batches and films done, sum of their losses, seconds that it took so far.
    step : int
        Batches done in all epochs.
    rows : list of dict
        History of the epochs that are done.
    best_value, best_epoch, best_step
        Monitored value (larger is better) of the best epoch, its number (0: none yet) and the step at its end.
    halvings : int
        How often the learning rate was halved because of a loss that was no number.
    ended : bool
        Whether the last epoch is done.
    """

    epoch: int = 1
    batch: int = 0
    seen: int = 0
    total: float = 0.0
    seconds: float = 0.0
    step: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best_value: float = -math.inf
    best_epoch: int = 0
    best_step: int = 0
    halvings: int = 0
    ended: bool = False

    def next_epoch(self) -> None:
        """Stand at the beginning of the next epoch."""
        self.epoch, self.batch, self.seen, self.total, self.seconds = self.epoch + 1, 0, 0, 0.0, 0.0


def variables_of(job: Job) -> list[Any]:
    """Return all variables that training changes: weights, statistics, seeds of layers, then the optimiser's."""
    return [*job.model.variables, *job.optimizer.variables]


def arrays_of(variables: Iterable[Any]) -> list[np.ndarray]:
    """Return the values of variables."""
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Iterable[Any], arrays: Iterable[np.ndarray]) -> None:
    """Set variables, on every device that holds them."""
    for variable, values in zip(variables, arrays, strict=True):
        variable.assign(values)


def finite(arrays: Iterable[np.ndarray]) -> bool:
    """Return whether all numbers are numbers."""
    return all(np.isfinite(values).all() for values in arrays if np.issubdtype(values.dtype, np.floating))


def identity_of(job: Job) -> dict[str, Any]:
    """Return what a checkpoint must have in common with a job to be its own, as JSON."""
    # Without Keras's counters: the second model of a process has other numbers in its names than the first.
    shapes = [f"{_COUNTER.sub('', variable.path)} {tuple(variable.shape)}" for variable in variables_of(job)]
    # A job's own names first: "split" says more than a list of shapes that follows from the classes.
    return {**job.identity, "classes": list(job.facts.get("classes", [])), "variables": shapes}


def check_identity(stored: Mapping[str, Any], own: Mapping[str, Any], where: object) -> None:
    """Raise where a checkpoint is of another training; the message names the first difference, old and new.

    Raises
    ------
    ConfigError
    """
    for key, value in own.items():
        before = stored.get(key)
        if before == value:
            continue
        if isinstance(value, list) and isinstance(before, list) and len(before) == len(value):
            before, value = next((old, new) for old, new in zip(before, value, strict=True) if old != new)
        raise ConfigError(
            f"the checkpoint is of another training: its {key} was {_short(before)} and is {_short(value)}",
            where=where,
            remedy="resume with what the run began with, or begin a new one with another --out",
        )


def _short(value: Any) -> str:
    text = f"{len(value)} entries" if isinstance(value, list) and len(value) > 20 else str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def callback_states(callbacks: Iterable[keras.callbacks.Callback]) -> list[dict[str, Any]]:
    """Return the numbers that callbacks hold: counters, best values.

    TensorBoard's are left out: they are of the files and traces of one process.
    """
    return [
        {"class": type(callback).__name__, "numbers": {} if _of_process(callback) else _numbers(callback)}
        for callback in callbacks
    ]


def set_callback_states(callbacks: Iterable[keras.callbacks.Callback], states: Iterable[Mapping[str, Any]]) -> None:
    """Give callbacks what `callback_states` returned of the same ones."""
    for callback, state in zip(callbacks, states, strict=False):
        if type(callback).__name__ == state["class"]:
            for name, value in state["numbers"].items():
                setattr(callback, name, value)


def _of_process(callback: keras.callbacks.Callback) -> bool:
    return isinstance(callback, keras.callbacks.TensorBoard)


def _numbers(callback: keras.callbacks.Callback) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name in _NOT_KEPT:
            continue
        if value is None and name.startswith("best"):
            found[name] = None
        elif isinstance(value, (bool, np.bool_)):
            found[name] = bool(value)
        elif isinstance(value, numbers.Real):
            found[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
    return found


def random_states() -> dict[str, Any]:
    """Return the states of Python's and NumPy's own generators: callbacks may draw from them."""
    kind, keys, place, has_gauss, cached = np.random.get_state()  # type: ignore[misc]  # noqa: NPY002
    return {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), place, has_gauss, cached]}


def set_random_states(states: Mapping[str, Any]) -> None:
    """Give the generators what `random_states` returned."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, place, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), place, has_gauss, cached))  # noqa: NPY002
