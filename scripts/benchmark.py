"""Speed as ratios, measured in one run: python scripts/benchmark.py [NAME...] [--repeats N] [--json].

Each row compares ours with the least that could do the same work. The two are run in turn, ours first, after a
warm-up that is thrown away, so that whatever else the machine does meets both. A table of seconds would say more
about the machine than about the code. Films are synthetic. Not a test: the exit code is 0 whatever the figures.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from covidcxr_tf.config import AugmentConfig
    from covidcxr_tf.pipeline.dataset import Batches
    from covidcxr_tf.prepare import Prepared

Levels = npt.NDArray[np.uint8]

ENHANCED_SIDE = 1024
PIPELINE_SIDE, PIPELINE_FILMS, PIPELINE_BATCH = 320, 1024, 16
PIPELINE_ROUNDS = 3  # the shards are read so often in one pass, else the filling of the shuffle buffer would tell
STEP_SIDE, STEP_FILMS, STEP_BATCH = 96, 256, 8
DELONG_FILMS, DELONG_MODELS = 100_000, 6
BOOTSTRAP_FILMS, BOOTSTRAP_RESAMPLES = 10_000, 10_000
LIME_SIDE, LIME_SAMPLES, LIME_BATCH = 128, 1000, 25  # the batch is `lime`'s own default
RECOMPUTE_SIDE, RECOMPUTE_FULL, RECOMPUTE_STEPS = 256, 1500, 4
MASK_SIDE, MASK_BATCH, MASK_STEPS = 256, 2, 3  # the paper's
PATCH_FILM, PATCH_SIDE, PATCH_VOTES = 1024, 224, 100  # the paper's


@dataclasses.dataclass(frozen=True)
class Goal:
    """A bound on the ratio, or on our own median."""

    bound: float
    of: Literal["ratio", "ours"] = "ratio"
    at_least: bool = False
    unit: str = "s"  # of our own median

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{f' {self.unit}' if self.of == 'ours' else ''}"


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured in turn: `ours[i]` was followed by `reference[i]`."""

    name: str
    measured: str
    against: str
    unit: Literal["ms", "s", "films/s", "GB"]
    ours: tuple[float, ...]
    reference: tuple[float, ...]
    goal: Goal | None = None

    @property
    def ratio(self) -> float:
        """Median of ours over median of the reference."""
        return statistics.median(self.ours) / statistics.median(self.reference)

    @property
    def pairs(self) -> tuple[float, float]:
        """Lowest and highest ratio of a pair."""
        ratios = [mine / other for mine, other in zip(self.ours, self.reference, strict=True)]
        return min(ratios), max(ratios)

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing without a goal."""
        if self.goal is None:
            return ""
        figure = self.ratio if self.goal.of == "ratio" else statistics.median(self.ours)
        met = figure >= self.goal.bound if self.goal.at_least else figure <= self.goal.bound
        return "met" if met else "missed"

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        bounds = {"pairs_min": self.pairs[0], "pairs_max": self.pairs[1]}
        return {**dataclasses.asdict(self), "ratio": self.ratio, **bounds, "verdict": self.verdict}

    def cells(self) -> list[str]:
        """The row of the table."""
        scale, digits = {"ms": (1e3, 2), "s": (1, 3), "films/s": (1, 0), "GB": (1, 2)}[self.unit]
        medians = [
            f"{statistics.median(values) * scale:.{digits}f} {self.unit}" for values in (self.ours, self.reference)
        ]
        low, high = self.pairs
        spread = f"{low:.3f} to {high:.3f} ({len(self.ours)})"
        goal = "" if self.goal is None else str(self.goal)
        return [self.measured, self.against, *medians, f"{self.ratio:.3f}", spread, goal, self.verdict]


COLUMNS = ("measured", "compared with", "ours", "reference", "ratio", "pairs: lowest to highest (number)", "goal", "")


def markdown(rows: list[Row]) -> str:
    """Return the table."""
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_turn(
    ours: Callable[[], float], reference: Callable[[], float], repeats: int, warm_up: int = 1
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what both give, called A B A B ..., without the first `warm_up` pairs."""
    pairs = [(ours(), reference()) for _ in range(warm_up + repeats)][warm_up:]
    return tuple(mine for mine, _ in pairs), tuple(other for _, other in pairs)


def timed(call: Callable[[], object], calls: int = 1) -> Callable[[], float]:
    """Return a function that gives the mean seconds of `calls` calls."""

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - started) / calls

    return measure


def synthetic_levels(side: int, number: int = 0) -> Levels:
    """Return a synthetic film as uint8 (side, side)."""
    from covidcxr_tf.data.synthetic import SOURCES, make_film
    from covidcxr_tf.imaging.levels import to_uint8
    from covidcxr_tf.imaging.resize import resize

    label = "covid19" if number % 2 else "normal"
    film = make_film(label, SOURCES[number % len(SOURCES)], seed=number, size=side).film
    return to_uint8(resize(film, (side, side)))


def enhance(repeats: int) -> list[Row]:
    """Three channels of a large film against the three cv2 calls that they cannot do without."""
    import cv2

    from covidcxr_tf.imaging.beasf import beasf
    from covidcxr_tf.imaging.stack import three_channel

    film = synthetic_levels(ENHANCED_SIDE)
    enhancer, table = cv2.createCLAHE(2.0, (8, 8)), np.arange(256, dtype=np.uint8)

    def least() -> None:
        enhancer.apply(film)
        cv2.calcHist([film], [0], None, [256], [0, 256])
        cv2.LUT(film, table)

    title = f"{film.shape[0]} x {film.shape[1]} film"
    three = in_turn(timed(lambda: three_channel(film), 5), timed(least, 5), repeats, warm_up=3)
    few = max(3, repeats // 8)
    loops = in_turn(timed(lambda: beasf(film)), timed(lambda: beasf_in_loops(film)), few)
    return [
        Row("enhance", f"three channels of a {title}", "cv2 CLAHE + histogram + LUT", "ms", *three, Goal(1.15)),
        Row("beasf", f"BEASF of a {title}", "BEASF, its table in plain Python loops", "ms", *loops),
    ]


def beasf_in_loops(image: Levels, gamma: float = 1.5) -> Levels:
    """Return BEASF with its table made level by level, as one would first write it; not for a mean of 0 or 255."""
    counts = np.bincount(image.ravel(), minlength=256).tolist()
    mean = sum(level * count for level, count in enumerate(counts)) // sum(counts)
    table = list(range(256))
    for first, last in ((0, mean), (mean, 255)):
        half, so_far, centre, span = sum(counts[first : last + 1]) / 2, 0, first, last - first
        for level in range(first, last + 1):
            so_far += counts[level]
            if so_far > half:
                centre = level
                break
        levels = range(first, last + 1)
        raised = [math.trunc(span / (1 + math.exp(-gamma * 5 * (level - centre) / span))) for level in levels]
        width = raised[-1] - raised[0]
        for level in levels if width else ():
            table[level] = first + span * (raised[level - first] - raised[0]) // width
    return np.array(table, np.uint8)[image]


def startup(repeats: int) -> list[Row]:
    """The whole process of ``covidcxr --help`` against one that only imports click."""
    script = Path(sys.executable).with_name("covidcxr")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "covidcxr_tf.cli.main"]

    def process(words: list[str]) -> Callable[[], float]:
        return timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL))

    both = in_turn(process([*command, "--help"]), process([sys.executable, "-c", "import click"]), repeats)
    against = '`python -c "import click"`'
    return [Row("help", "`covidcxr --help`, whole process", against, "s", *both, Goal(0.3, of="ours"))]


def shards(folder: Path, side: int, films: int) -> Prepared:
    """Return `films` records of a few synthetic films, prepared as for a training."""
    import cv2
    import pandas as pd

    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.prepare import prepare

    drawn = 8
    for number in range(drawn):
        cv2.imwrite(str(folder / f"{number}.png"), synthetic_levels(side, number))
    numbers = np.arange(films) % drawn
    labels = np.where(numbers % 2, "covid19", "normal")
    table = {"path": [f"{number}.png" for number in numbers], "label": labels, "patient_id": numbers.astype(str)}
    manifest = pd.DataFrame({**table, "split": "train"})
    manifest.attrs["root"] = str(folder)
    return prepare(manifest, ImageConfig(size=side, lungs="none"), out=folder / "shards")


def batches_of(prepared: Prepared, batch_size: int, augment: AugmentConfig | None = None) -> Batches:
    """Return the batches of a training: class numbers as targets, weights 1, the shuffle buffer of the configs."""
    from covidcxr_tf.pipeline.dataset import Batches

    targets = (prepared.manifest["label"] == "covid19").to_numpy(np.int32)
    weights = np.ones(len(targets), np.float32)
    return Batches(prepared, ("train",), targets, weights, batch_size=batch_size, augment=augment)


def decode_only(prepared: Prepared, batch_size: int, floats: bool = True) -> Any:
    """Return a dataset that reads the shards in order and decodes them to image batches, and does nothing else.

    Dicts with ``image`` alone: float32 (N, S, S, C) in [0, 1], or the uint8 levels as they lie in the record.
    """
    import tensorflow as tf

    from covidcxr_tf.pipeline.dataset import THREADS, untuned

    files = [str(path) for path in prepared.files["train"]]
    shape = [-1, prepared.size, prepared.size, prepared.channels]
    features = {"image": tf.io.FixedLenFeature([], tf.string)}

    def decode(records: Any) -> dict[str, Any]:
        levels = tf.reshape(tf.io.decode_raw(tf.io.parse_example(records, features)["image"], tf.uint8), shape)
        return {"image": tf.cast(levels, tf.float32) / 255.0 if floats else levels}

    records = tf.data.TFRecordDataset(files, buffer_size=1 << 18).batch(batch_size)
    return untuned(records.map(decode, num_parallel_calls=THREADS))


def films_per_second(make: Callable[[], Any]) -> Callable[[], float]:
    """Return a function that gives the throughput of one whole pass, from the first film asked for."""

    def measure() -> float:
        dataset = make()  # tracing the graph is once an epoch, whatever its length: not counted on either side
        films, started = 0, time.perf_counter()
        for batch in dataset:
            films += batch["image"].shape[0]
        return films / (time.perf_counter() - started)

    return measure


def pipeline(repeats: int) -> list[Row]:
    """Training batches of prepared shards against the same shards only decoded."""
    from covidcxr_tf.config import load_config

    few = max(1, repeats // 3)
    with tempfile.TemporaryDirectory() as folder:
        once = shards(Path(folder), PIPELINE_SIDE, PIPELINE_FILMS)
        long = dataclasses.replace(once, files={"train": once.files["train"] * PIPELINE_ROUNDS})
        floats = _throughputs(long, repeats)
        levels = _throughputs(long, few, floats=False)
        changed = _throughputs(once, few, augment=load_config("chexnet").augment)
    title = f"training batches from shards, {PIPELINE_SIDE} px"
    decoded = "same shards decoded and batched, unshuffled"
    goal = Goal(0.9, at_least=True)
    return [
        Row("pipeline", title, f"{decoded}: float32 in [0, 1]", "films/s", *floats, goal),
        Row("pipeline_uint8", title, f"{decoded}: uint8", "films/s", *levels),
        Row("pipeline_augmented", f"{title}, augmented", f"{decoded}: float32 in [0, 1]", "films/s", *changed),
    ]


def _throughputs(
    prepared: Prepared, repeats: int, augment: AugmentConfig | None = None, floats: bool = True
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    epochs = itertools.count()
    batches = batches_of(prepared, PIPELINE_BATCH, augment)
    return in_turn(
        films_per_second(lambda: batches.training(next(epochs))),
        films_per_second(lambda: decode_only(prepared, PIPELINE_BATCH, floats)),
        repeats,
    )


def step(repeats: int) -> list[Row]:
    """A training step with its batch taken from the pipeline against `train_on_batch` of the batch held in memory."""
    import keras

    from covidcxr_tf.config import TrainConfig
    from covidcxr_tf.models import build
    from covidcxr_tf.models.losses import build_loss
    from covidcxr_tf.train.distribution import build_strategy
    from covidcxr_tf.train.loop import build_train_step

    strategy = build_strategy("all")
    with strategy.scope():
        model = build("chexnet", input_shape=(STEP_SIDE, STEP_SIDE, 3), seed=0)
        optimizer = keras.optimizers.Adam(1e-4)
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-4), entropy, jit_compile=False)
    own_step = build_train_step(model, build_loss(TrainConfig(), num_classes=2), optimizer, strategy)
    with tempfile.TemporaryDirectory() as folder:
        batches = batches_of(shards(Path(folder), STEP_SIDE, STEP_FILMS), STEP_BATCH)
        feed = _endless(batches)
        held: dict[str, Any] = {}

        def ours() -> None:
            # What the pipeline reads ahead it reads while this step runs: the place is free only now.
            held.update(next(feed))
            float(own_step(held))

        def bare() -> None:
            model.train_on_batch(held["image"], held["target"])

        both = in_turn(timed(ours), timed(bare), repeats, warm_up=3)
    title = f"training step, chexnet at {STEP_SIDE} px, batch {STEP_BATCH}, with its feeding"
    return [Row("step", title, "`train_on_batch`, same model and batch", "ms", *both, Goal(1.03))]


def _endless(batches: Batches) -> Iterator[dict[str, Any]]:
    for epoch in itertools.count():
        yield from batches.training(epoch)


def lime(repeats: int) -> list[Row]:
    """LIME against as many forward passes of the same compiled function, in batches of the same size."""
    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.explain import lime as explainer
    from covidcxr_tf.models import build
    from covidcxr_tf.predict import LoadedModel

    image = ImageConfig(size=LIME_SIDE, lungs="none")
    facts = {"classes": ["normal", "covid19"], "task": "classification", "image": image.model_dump(mode="json")}
    model = build("chexnet", input_shape=(LIME_SIDE, LIME_SIDE, 3), seed=0)
    loaded = LoadedModel(model, facts, Path("chexnet.keras"), lungs=None)
    levels = loaded.film_input(synthetic_levels(512).astype(np.float32) / np.float32(255)).array
    film = levels.astype(np.float32) / np.float32(255)
    sizes = [min(LIME_BATCH, LIME_SAMPLES - start) for start in range(0, LIME_SAMPLES, LIME_BATCH)]
    batch = np.repeat(film[None], LIME_BATCH, axis=0)

    def explain() -> None:
        explainer.lime(
            loaded.probabilities, film, 1, LIME_SAMPLES, guide=image.channels.index("raw"), batch_size=LIME_BATCH
        )

    def bare() -> None:
        for size in sizes:
            loaded.probabilities(batch[:size])

    # The warm-up is a small one: two of the whole size would be half of the run.
    loaded.probabilities(batch)
    explainer.lime(loaded.probabilities, film, 1, 2 * LIME_BATCH, batch_size=LIME_BATCH)
    both = in_turn(timed(explain), timed(bare), repeats, warm_up=0)
    title = f"LIME, {LIME_SAMPLES} samples, chexnet at {LIME_SIDE} px"
    return [Row("lime", title, f"{LIME_SAMPLES} forward passes, batch {LIME_BATCH}", "s", *both, Goal(1.15))]


def patch_heat(repeats: int) -> list[Row]:
    """The probabilistic Grad-CAM of a film against the forward passes of its patches alone, in the same batches."""
    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.data.synthetic import SOURCES, make_film
    from covidcxr_tf.explain.patch_gradcam import patch_gradcam
    from covidcxr_tf.imaging.levels import to_uint8
    from covidcxr_tf.models import build, cam_layer
    from covidcxr_tf.predict import PatchModel
    from covidcxr_tf.voting import patch_batches

    image = ImageConfig(size=PATCH_FILM, lungs="none").model_dump(mode="json")
    classes = ["normal", "bacterial", "tuberculosis", "viral_or_covid19"]
    facts = {"classes": classes, "task": "classification", "image": image}
    facts["patches"] = {"size": PATCH_SIDE, "votes": PATCH_VOTES, "seed": 0}
    model = build("patch-resnet18", len(classes), input_shape=(PATCH_SIDE, PATCH_SIDE, 3), seed=0)
    loaded = PatchModel(model, facts, Path("patches.keras"), lungs=None)
    drawn = make_film("covid19", SOURCES[0], seed=0, size=PATCH_FILM)
    film = np.repeat((to_uint8(drawn.film) * drawn.lung_mask)[..., None], 3, axis=-1)
    batches = list(patch_batches(film, loaded.places(film)))
    layer = cam_layer("patch-resnet18")

    def ours() -> None:
        patch_gradcam(model, film, 3, layer, size=PATCH_SIDE, count=PATCH_VOTES)

    def bare() -> None:
        for batch in batches:
            loaded.patch_probabilities(batch)

    both = in_turn(timed(ours), timed(bare), repeats)
    title = f"patch Grad-CAM, {PATCH_VOTES} patches of {PATCH_SIDE} px, patch-resnet18"
    against = f"{PATCH_VOTES} forward passes, batch {len(batches[0])}"
    return [Row("patch_gradcam", title, against, "s", *both, Goal(1.35))]


class StepCost(NamedTuple):
    """What training steps of one film took in a process of their own."""

    peak: float  # GB, of the whole process
    seconds: float  # a step, median, without the first
    losses: list[float]


def step_cost(side: int, steps: int, again: bool, **knobs: Any) -> StepCost:
    """Return the cost of steps of ResNet-101, with the activations kept or, `again`, computed again."""
    import keras

    from covidcxr_tf.config import TrainConfig
    from covidcxr_tf.models import build
    from covidcxr_tf.models.losses import build_loss
    from covidcxr_tf.train.distribution import build_strategy
    from covidcxr_tf.train.loop import build_train_step
    from covidcxr_tf.train.recompute import recomputed

    strategy = build_strategy("all")
    with strategy.scope():
        model = build("resnet101", input_shape=(side, side, 1), seed=0, **knobs)
        optimizer = keras.optimizers.Adam(1e-4)
    forward = recomputed(model) if again else None
    own_step = build_train_step(model, build_loss(TrainConfig(), 2), optimizer, strategy, forward=forward)
    # Noise, for drawing a film of this size takes memory of its own.
    film = np.random.default_rng(0).random((1, side, side, 1), dtype=np.float32)
    batch = {"image": film, "target": np.zeros(1, np.int32), "weight": np.ones(1, np.float32)}
    losses, taken = [], []
    for _ in range(steps):
        started = time.perf_counter()
        losses.append(float(own_step(batch)))
        taken.append(time.perf_counter() - started)
    return StepCost(peak_memory(), statistics.median(taken[1:]), losses)


def peak_memory() -> float:
    """Return the most memory that this process has held, in GB."""
    # Linux hands `ru_maxrss` down from the parent; the kernel's own line starts anew with each program.
    listed = Path("/proc/self/status")
    if listed.is_file():
        return next(int(line.split()[1]) for line in listed.read_text().splitlines() if "VmHWM" in line) * 1024 / 1e9
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def recompute(repeats: int, side: int = RECOMPUTE_SIDE) -> list[Row]:
    """A training step of ResNet-101 that computes activations again against one that keeps them: peak and time."""
    costs: dict[bool, list[StepCost]] = {True: [], False: []}
    for _, again in itertools.product(range(repeats), costs):
        # A process each: what has been held once is never given back.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            costs[again].append(pool.submit(step_cost, side, RECOMPUTE_STEPS, again).result())
    title = f"training step, resnet101 at {side} px, batch 1, recomputed"
    peaks = [tuple(cost.peak for cost in costs[again]) for again in (True, False)]
    seconds = [tuple(cost.seconds for cost in costs[again]) for again in (True, False)]
    goal = Goal(4, of="ours", unit="GB") if side == RECOMPUTE_FULL else None
    return [
        Row("recompute_memory", f"{title}: peak", "activations kept", "GB", peaks[0], peaks[1], goal),
        Row("recompute_time", f"{title}: time", "activations kept", "s", seconds[0], seconds[1]),
    ]


def mask_step_cost(arch: str, side: int, steps: int, **knobs: Any) -> StepCost:
    """Return the cost of training steps of a network for heart and lungs, in batches of two films."""
    import keras

    from covidcxr_tf.config import TrainConfig
    from covidcxr_tf.models import build
    from covidcxr_tf.models.losses import build_loss
    from covidcxr_tf.train.distribution import build_strategy
    from covidcxr_tf.train.loop import build_train_step

    strategy = build_strategy("all")
    with strategy.scope():
        model = build(arch, num_classes=4, input_shape=(side, side, 1), seed=0, **knobs)
        optimizer = keras.optimizers.Adam(1e-4)
    own_step = build_train_step(model, build_loss(TrainConfig(), 4, "segmentation"), optimizer, strategy)
    levels = np.stack([synthetic_levels(side, number) for number in range(MASK_BATCH)])[..., None]
    classes = (levels // 64).astype(np.float32)  # four, by grey level
    batch = {"image": levels.astype(np.float32) / np.float32(255), "target": classes}
    batch["weight"] = np.ones(MASK_BATCH, np.float32)
    losses, taken = [], []
    for _ in range(steps):
        started = time.perf_counter()
        losses.append(float(own_step(batch)))
        taken.append(time.perf_counter() - started)
    return StepCost(peak_memory(), statistics.median(taken[1:]), losses)


def fcdensenet(repeats: int, side: int = MASK_SIDE) -> list[Row]:
    """A training step of FC-DenseNet103 against one of the U-Net of 7.8 M parameters: peak and time."""
    costs: dict[str, list[StepCost]] = {"fcdensenet103": [], "unet": []}
    for _, arch in itertools.product(range(repeats), costs):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            costs[arch].append(pool.submit(mask_step_cost, arch, side, MASK_STEPS).result())
    title = f"training step, fcdensenet103 at {side} px, batch {MASK_BATCH}"
    peaks, seconds = (
        [tuple(getattr(cost, figure) for cost in costs[arch]) for arch in costs] for figure in ("peak", "seconds")
    )
    return [
        Row("fcdensenet_memory", f"{title}: peak", "unet, 32 to 512 filters", "GB", peaks[0], peaks[1]),
        Row("fcdensenet_time", f"{title}: time", "unet, 32 to 512 filters", "s", seconds[0], seconds[1]),
    ]


def delong(repeats: int) -> list[Row]:
    """Areas of several models with their covariance, against sorting the scores, which ranks cannot do without."""
    from covidcxr_tf.evaluate.delong import clustered_delong
    from covidcxr_tf.evaluate.delong import delong as areas

    generator = np.random.default_rng(0)
    sick = generator.random(DELONG_FILMS) < 0.1
    scores = generator.normal(size=(DELONG_MODELS, DELONG_FILMS)) + sick
    patients = [f"p{number}" for number in generator.integers(0, DELONG_FILMS // 3, DELONG_FILMS)]

    def least() -> None:
        np.argsort(scores, axis=1, kind="stable")

    few = max(1, repeats // 2)
    films = in_turn(timed(lambda: areas(scores, sick)), timed(least), repeats)
    grouped = in_turn(timed(lambda: clustered_delong(scores, sick, patients)), timed(least), few)
    title = f"of {DELONG_MODELS} models on {DELONG_FILMS} films"
    goal = Goal(2.0, of="ours")
    return [
        Row("delong", f"DeLong covariance {title}", "sorting the scores", "s", *films, goal),
        Row("delong_patients", f"Obuchowski covariance {title}", "sorting the scores", "s", *grouped),
    ]


def bootstrap(repeats: int, films: int = BOOTSTRAP_FILMS, resamples: int = BOOTSTRAP_RESAMPLES) -> list[Row]:
    """All metrics of two classes in all resamples, against the least that resampling takes: the draws themselves."""
    import pandas as pd

    from covidcxr_tf.evaluate.bootstrap import resample_counts
    from covidcxr_tf.evaluate.classification import evaluate_table

    generator = np.random.default_rng(0)
    sick = generator.random(films) < 0.4
    scores = 1 / (1 + np.exp(-generator.normal(np.where(sick, 0.8, -0.8), 1.0)))
    table = pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(films)],
            "patient_id": [f"p{number:06d}" for number in range(films)],
            "label": np.where(sick, "covid19", "normal"),
            "prob_normal": 1 - scores,
            "prob_covid19": scores,
        }
    )

    def draws() -> None:
        for _ in resample_counts(films, resamples, 0, 8):
            pass

    both = in_turn(timed(lambda: evaluate_table(table, resamples=resamples)), timed(draws), repeats)
    title = f"every metric of {films:,} films in {resamples:,} resamples of patients"
    return [Row("bootstrap", title, "drawing and counting the patients", "s", *both, Goal(10, of="ours"))]


def serve(repeats: int, **sizes: Any) -> list[Row]:
    """An exported DenseNet121 against other engines on the same weights, and a server against its bare graph."""
    from benchmark_serve import CLIENTS, FILM_SIDE, SIDE, measure

    engines, served = measure(repeats, **sizes)
    goals = {("Keras", 1): 1.0, ("Keras", 16): 1.0, ("ONNX Runtime", 1): 1.15, ("ONNX Runtime", 16): 1.0}
    rows = [
        Row(
            f"serve_{engine.lower().replace(' ', '_')}_{batch}",
            f"exported graph, DenseNet121 at {sizes.get('side', SIDE)} px, batch {batch}, 2 threads",
            {"Keras": "Keras call as a graph"}.get(engine, engine) + ", same weights",
            "ms",
            *pairs,
            Goal(goals[engine, batch]) if (engine, batch) in goals else None,
        )
        for (engine, batch), pairs in engines.items()
    ]
    films = f"PNG of {sizes.get('film_side', FILM_SIDE)} px over REST"
    share, added = Goal(0.85, at_least=True), Goal(0.01, of="ours")
    return [
        *rows,
        Row("serve_throughput", f"{CLIENTS} clients at once, {films}", f"bare graph, batch {CLIENTS}", "films/s",
            *served["throughput"], share),
        Row("serve_latency", f"added to a lone request, {films}: median", "bare graph, batch 1", "ms",
            *served["latency"], added),
    ]  # fmt: skip


def train(repeats: int, **sizes: Any) -> list[Row]:
    """What a training costs beside its arithmetic: feeding, devices, calls, checkpoints, memory, preparing of films."""
    import benchmark_train as parts

    few = max(1, repeats // 3)
    with tempfile.TemporaryDirectory() as folder:
        films = shards(Path(folder), sizes.get("side", STEP_SIDE), STEP_FILMS)
        waiting = parts.waiting(repeats, batches_of(films, sizes.get("batch", STEP_BATCH)), **sizes)
    found = [
        waiting,
        parts.at_once(few, **sizes),
        parts.by_devices(few, **sizes),
        parts.checkpoint(few, **sizes),
        parts.prepared(few, synthetic_levels, **sizes),
    ]
    return [Row(f"train_{one.name}", *one[1:]) for one in found]  # type: ignore[arg-type]


def whole_training(repeats: int) -> list[Row]:
    """All rows on training: the step and the recomputation too."""
    return [*step(repeats), *train(repeats), *recompute(1)]


def memory(repeats: int) -> list[Row]:
    """Peak memory of preparing and of beginning an epoch, by the length of the manifest; a process each."""
    from benchmark_data import SIZES, measure

    runs = [measure() for _ in range(repeats)]
    stages = {"peak": "datasets and an epoch's first batches", "prepare_peak": "prepare"}
    return [
        Row(
            f"memory_{stage}_{rows}",
            f"{words}, {rows:,} films: peak",
            f"{SIZES[0]:,} films",
            "GB",
            tuple(getattr(costs[number], stage) for costs in runs),
            tuple(getattr(costs[0], stage) for costs in runs),
        )
        for stage, words in stages.items()
        for number, rows in enumerate(SIZES)
        if number
    ]


#: Name -> what runs, and how many pairs without --repeats.
BENCHMARKS: dict[str, tuple[Callable[[int], list[Row]], int]] = {
    "enhance": (enhance, 60),
    "help": (startup, 15),
    "pipeline": (pipeline, 12),
    "step": (step, 24),
    "train": (whole_training, 12),
    "lime": (lime, 3),
    "delong": (delong, 10),
    "bootstrap": (bootstrap, 2),
    "patch_gradcam": (patch_heat, 5),
    "recompute": (recompute, 1),
    "fcdensenet": (fcdensenet, 1),
    "serve": (serve, 10),
    "memory": (memory, 1),
}
#: Benchmarks whose rows "train" has too.
WITHIN_TRAIN = ("step", "recompute")


def machine() -> dict[str, Any]:
    """Return what the figures hang on; the load is the mean of the last minute."""
    model = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy", "opencv-python-headless")}
    return {"cores": os.cpu_count(), "cpu": model, "load": load, "python": platform.python_version(), **packages}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--repeats", type=click.IntRange(min=1), help="Pairs a row; by default each benchmark has its own.")
@click.option("--full", is_flag=True, help=f"recompute at {RECOMPUTE_FULL} px: 8 GB of memory, minutes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document with every single figure.")
def main(names: tuple[str, ...], repeats: int | None, full: bool, as_json: bool) -> None:
    """Measure NAMES (all when none is given) and print one table of ratios."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    facts = machine()
    rows: list[Row] = []
    within = WITHIN_TRAIN if "train" in BENCHMARKS else ()
    for name in names or [name for name in BENCHMARKS if name not in within]:
        run, usual = BENCHMARKS[name]
        if full and name == "recompute":
            run = partial(recompute, side=RECOMPUTE_FULL)
        started = time.perf_counter()
        rows += run(repeats or usual)
        click.echo(f"{name}: {time.perf_counter() - started:.0f} s", err=True)
    if as_json:
        click.echo(
            json.dumps({"schema_version": 1, "machine": facts, "rows": [row.as_dict() for row in rows]}, indent=1)
        )
        return
    click.echo(markdown(rows))
    click.echo("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))


if __name__ == "__main__":
    main()
