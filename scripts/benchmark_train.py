"""What training costs beside its arithmetic: input, devices, checkpoints, calls, and the preparing of films.

For scripts/benchmark.py, whose table it fills: each figure comes in pairs, ours and a reference, measured in turn.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE, BATCH, STEPS = 96, 8, 6
ARCH = "chexnet"
DEVICES = 2
AT_ONCE = 4
FILMS, FILM_SIDE = 48, 1024


class Pairs(NamedTuple):
    """A row: name, what is measured, against what, its unit, ours and the reference's values."""

    name: str
    measured: str
    against: str
    unit: str
    ours: tuple[float, ...]
    reference: tuple[float, ...]


@dataclass
class Training:
    """A network with its step, and random films in memory."""

    steps: Any
    job: Any
    batch: dict[str, Any]


def training(folder: Path, side: int, batch: int, devices: str, at_once: int = 1, **knobs: Any) -> Training:
    """Return what `covidcxr_tf.train.loop.fit` builds before its first step."""
    import keras

    from covidcxr_tf.config import TrainConfig
    from covidcxr_tf.models import build
    from covidcxr_tf.models.losses import build_loss
    from covidcxr_tf.train.distribution import build_strategy
    from covidcxr_tf.train.job import Job
    from covidcxr_tf.train.optimizers import build_optimizer
    from covidcxr_tf.train.run_dir import RunDir
    from covidcxr_tf.train.step import Steps

    config = TrainConfig(batch_size=batch, steps_per_execution=at_once)
    strategy = build_strategy(devices)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        several = strategy.num_replicas_in_sync > 1
        model = build(knobs.pop("arch", ARCH), input_shape=(side, side, 3), seed=0, synchronized=several, **knobs)
        optimizer = build_optimizer(config)
    loss = build_loss(config, 2)
    steps = Steps(model, loss, optimizer, strategy)
    nothing: Any = None  # no films are read from a disk here
    job = Job(model, loss, optimizer, config, nothing, nothing, RunDir(folder), {}, strategy)
    films = np.random.default_rng(0).random((batch, side, side, 3), dtype=np.float32)
    held = {"image": films, "target": np.zeros(batch, np.int32), "weight": np.ones(batch, np.float32)}
    return Training(steps, job, {**held, "row": np.arange(batch)})


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def calls(one: Training, count: int, at_once: int = 1) -> float:
    """Return the seconds of `count` steps, `at_once` of them in a call."""
    import tensorflow as tf

    from covidcxr_tf.train.feeding import portions
    from covidcxr_tf.train.step import NOTHING_SAID

    batch = {name: tf.constant(values) for name, values in one.batch.items()}
    size = one.job.config.batch_size

    def work() -> None:
        for portion in portions([batch] * count, size, at_once, one.job.strategy):
            if portion.stacked:
                one.steps.several(portion.values, NOTHING_SAID, len(portion.rows))[0].numpy()
            else:
                one.steps.one(portion.values, NOTHING_SAID)[0].numpy()

    return seconds(work)


def in_turn(
    ours: Callable[[], float], reference: Callable[[], float], repeats: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what both give, A B A B ..., after a first pair that is thrown away."""
    found = [(ours(), reference()) for _ in range(1 + repeats)][1:]
    return tuple(mine for mine, _ in found), tuple(other for _, other in found)


def waiting(repeats: int, batches: Any, **sizes: Any) -> Pairs:
    """How long a step waits for its batch, against the whole step: the share that is bound by the input."""
    side, batch = sizes.get("side", SIDE), sizes.get("batch", BATCH)
    waits, wholes = [], []
    with tempfile.TemporaryDirectory() as folder:
        one = training(Path(folder), side, batch, "all", **sizes.get("knobs", {}))
        feed = itertools.chain.from_iterable(batches.training(epoch) for epoch in itertools.count())
        for _ in range(3 + repeats):
            held: list[Any] = []
            waits.append(seconds(lambda held=held: held.append(next(feed))))  # type: ignore[misc]
            one.batch = {name: values.numpy() for name, values in held[0].items()}
            wholes.append(waits[-1] + calls(one, 1))
    title = f"waiting for a batch of {batch}, {side} px"
    return Pairs("input_share", title, "the whole step", "ms", tuple(waits[3:]), tuple(wholes[3:]))


def by_devices(repeats: int, **sizes: Any) -> Pairs:
    """Films a second on two logical devices against one, in a process of their own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        several, one = pool.submit(_by_devices, repeats, sizes).result()
    title = f"{sizes.get('batch', BATCH)} films a step on {DEVICES} logical devices of this processor"
    return Pairs("devices", title, "one device", "films/s", several, one)


def _by_devices(repeats: int, sizes: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    side, batch, steps = sizes.get("side", SIDE), sizes.get("batch", BATCH), sizes.get("steps", STEPS)
    with tempfile.TemporaryDirectory() as folder:
        knobs = sizes.get("knobs", {})
        both = [training(Path(folder), side, batch, str(count), **knobs) for count in (DEVICES, 1)]
        films = steps * batch
        return in_turn(lambda: films / calls(both[0], steps), lambda: films / calls(both[1], steps), repeats)


def at_once(repeats: int, **sizes: Any) -> Pairs:
    """Several steps in one call against as many calls."""
    side, batch = sizes.get("side", SIDE), sizes.get("batch", BATCH)
    with tempfile.TemporaryDirectory() as folder:
        one = training(Path(folder), side, batch, "all", AT_ONCE, **sizes.get("knobs", {}))
        both = in_turn(lambda: calls(one, AT_ONCE, AT_ONCE), lambda: calls(one, AT_ONCE), repeats)
    return Pairs("at_once", f"{AT_ONCE} steps in one call, {side} px", "as many calls", "ms", *both)


def checkpoint(repeats: int, **sizes: Any) -> Pairs:
    """A checkpoint, written, read back, compared and flushed, against a step."""
    from covidcxr_tf.train.crew import Crew
    from covidcxr_tf.train.keeping import Keeper
    from covidcxr_tf.train.state import TrainState

    side, batch = sizes.get("side", SIDE), sizes.get("batch", BATCH)
    with tempfile.TemporaryDirectory() as folder:
        one = training(Path(folder), side, batch, "all", **sizes.get("knobs", {}))
        keeper = Keeper(one.job, Crew(), [])
        count = itertools.count(1)
        both = in_turn(
            lambda: seconds(lambda: keeper.save(TrainState(step=next(count)))), lambda: calls(one, 1), repeats
        )
        size = keeper.checkpoints.size() / max(len(keeper.checkpoints.steps()), 1) / 1e6
    title = f"a checkpoint of {size:.0f} MB"
    return Pairs("checkpoint", title, f"a training step, {side} px, batch {batch}", "ms", *both)


def prepared(repeats: int, draw: Callable[[int, int], np.ndarray], **sizes: Any) -> Pairs:
    """Films prepared a second, as a training does on first use, against the same files only decoded."""
    import cv2
    import pandas as pd

    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.prepare import prepare

    films, side = sizes.get("films", FILMS), sizes.get("film_side", FILM_SIDE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.png" for number in range(films)]
        for number, path in enumerate(paths):
            cv2.imwrite(str(path), draw(side, number % 4))
        table = {"path": [path.name for path in paths], "label": "normal", "patient_id": [path.stem for path in paths]}
        manifest = pd.DataFrame({**table, "split": "train"})
        manifest.attrs["root"] = str(folder)
        image, count = ImageConfig(size=min(320, side), lungs="none"), itertools.count()

        def ours() -> float:
            return films / seconds(lambda: prepare(manifest, image, out=folder / f"shards_{next(count)}"))

        def bare() -> float:
            return films / seconds(lambda: [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths])

        both = in_turn(ours, bare, repeats)
    title = f"films prepared: PNG of {side} px to three channels of {image.size} px"
    return Pairs("prepare", title, "the same files decoded by cv2, one after the other", "films/s", *both)
