"""Small trainings in a process of their own: logical devices and other workers must be known before TensorFlow starts.

    python trainer.py FOLDER SETTINGS

FOLDER holds what all trainings share (films) and their run folders. SETTINGS is a JSON list of trainings, each a table:
name (of the run folder), devices, films, resume, train (of the config), policy (of Keras), heavy (how much more than
usual film 3 weighs), kill ({rank, step, signal}: what a worker does to itself at a step). Prints a JSON object: name ->
what came out. Where ``TF_CONFIG`` is set it trains together with the others. Ends as `covidcxr train` does: 5, 75 and
so on.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covidcxr_tf.config import AugmentConfig, TrainConfig
from covidcxr_tf.errors import CovidcxrError
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.prepare import Prepared, _write_shards
from covidcxr_tf.train.distribution import build_strategy, connect
from covidcxr_tf.train.job import Job
from covidcxr_tf.train.loop import fit
from covidcxr_tf.train.optimizers import build_optimizer
from covidcxr_tf.train.run_dir import RunDir

SIDE = 16
DEVICES = 4


def prepared_films(folder: Path, films: int) -> Prepared:
    """Return so many training films, of two classes by turns, and six validation films."""
    generator = np.random.default_rng(0)

    def film(number: int) -> tuple[int, bytes, bytes]:
        low = 90 if number % 2 else 20
        levels = generator.integers(low, low + 120, (SIDE, SIDE, 1), dtype=np.uint8)
        return number, levels.tobytes(), b""

    groups = {"train": range(films), "validation": range(films, films + 6)}
    shards = {}
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for group, rows in groups.items():
            _write_shards(folder, group, map(film, rows))
    for group in groups:
        shards[group] = sorted(folder.glob(f"{group}-*.tfrecord"))
    split = ["train"] * films + ["validation"] * 6
    manifest = pd.DataFrame({"path": [f"{n}.png" for n in range(films + 6)], "split": split})
    return Prepared(folder, manifest, shards, SIDE, 1, False)


def network(normalised: bool) -> keras.Model:
    """Return a small classifier, with synchronised batch normalisation where it is `normalised`."""
    image = keras.Input((SIDE, SIDE, 1))
    # Batch normalisation takes a bias out again: Adam would move it by the noise in a gradient that is none.
    seen = keras.layers.Conv2D(4, 3, use_bias=not normalised, name="first")(image)
    if normalised:
        seen = keras.layers.BatchNormalization(synchronized=True, momentum=0.9)(seen)
    seen = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="second")(seen)
    pooled = keras.layers.GlobalAveragePooling2D()(seen)
    return keras.Model(image, keras.layers.Dense(2, dtype="float32", name="logits")(pooled))


class Watch(keras.callbacks.Callback):
    """Notes losses by step, and kills its own process at one."""

    def __init__(self, kill: dict[str, int] | None) -> None:
        super().__init__()
        self.losses: dict[int, float] = {}
        self.kill = kill

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        assert logs is not None
        step = int(np.asarray(self.model.optimizer.iterations))
        self.losses[step] = logs["loss"]
        if self.kill and step == self.kill["step"]:
            os.kill(os.getpid(), self.kill["signal"])


def train(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return losses by step, losses by epoch, and the weights of one training."""
    crew = connect("cpu")
    films = wanted.get("films", 37)
    config = TrainConfig(**{"epochs": 4, "batch_size": 8, "learning_rate": 0.01, **wanted.get("train", {})})
    prepared = prepared_films(folder / f"films_{films}_{0 if crew.task is None else crew.task.rank}", films)
    strategy = build_strategy(wanted.get("devices", "cpu"))
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(wanted.get("policy", "float32"))
    with strategy.scope():
        model = network(wanted.get("normalised", True))
        precision = "float16" if "float16" in wanted.get("policy", "") else "none"
        optimizer = build_optimizer(config, mixed_precision=precision)
    keras.config.set_dtype_policy("float32")
    targets = (np.arange(films + 6) % 2).astype(np.int32)
    weights = np.linspace(0.5, 1.5, films + 6, dtype=np.float32)
    weights[3] *= wanted.get("heavy", 1)
    augment = AugmentConfig(rotation_degrees=20, noise=0.05)
    training = Batches(prepared, ("train",), targets, weights, config.batch_size, 5, 16, augment)
    validation = Batches(prepared, ("validation",), targets, None, config.batch_size)
    kill = wanted.get("kill")
    if kill and crew.task is not None and crew.task.rank != kill["rank"]:
        kill = None
    watch = Watch(kill)
    with crew.folder(folder / wanted["name"]) as own, crew.faults():
        own.mkdir(parents=True, exist_ok=True)
        job = Job(model, build_loss(config, 2), optimizer, config, training, validation, RunDir(own), {}, strategy)
        job.callbacks, job.identity = (watch,), {"of": "tests"}
        history = fit(job, resume=wanted.get("resume", False))
    return {
        "replicas": strategy.num_replicas_in_sync,
        "steps": int(optimizer.iterations.numpy()),
        "losses": watch.losses,
        "loss": history["loss"].tolist(),
        "val_loss": history["val_loss"].tolist(),
        "rate": history["learning_rate"].tolist(),
        "weights": [float(value) for array in model.get_weights() for value in np.ravel(array)],
    }


def main(folder: Path, trainings: list[dict[str, Any]]) -> int:
    """Train all and print what came out."""
    if "TF_CONFIG" not in os.environ:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    try:
        print(json.dumps({wanted["name"]: train(folder, wanted) for wanted in trainings}))
    except CovidcxrError as known:
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
