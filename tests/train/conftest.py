"""A set that a small network learns in a few steps: bright films against dark ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr_tf.config import AugmentConfig, TrainConfig
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.prepare import Prepared, _write_shards
from covidcxr_tf.train.loop import Job
from covidcxr_tf.train.optimizers import build_optimizer
from covidcxr_tf.train.run_dir import RunDir

SIDE = 8
TARGETS = (np.arange(40) % 2).astype(np.int32)


@pytest.fixture(scope="session")
def bright_and_dark(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Return 32 training and 8 validation films; odd ones are brighter."""
    folder = tmp_path_factory.mktemp("bright")
    generator = np.random.default_rng(1)

    def film(number: int) -> tuple[int, bytes, bytes]:
        low = 120 if number % 2 else 20
        return number, generator.integers(low, low + 100, (SIDE, SIDE, 1), dtype=np.uint8).tobytes(), b""

    manifest = pd.DataFrame({"path": [f"{n}.png" for n in range(40)], "split": ["train"] * 32 + ["validation"] * 8})
    groups = {"train": range(32), "validation": range(32, 40)}
    files = {
        group: [folder / n for n in _write_shards(folder, group, map(film, rows))] for group, rows in groups.items()
    }
    return Prepared(folder, manifest, files, SIDE, 1, False)


@pytest.fixture(scope="session")
def make_hard_job(bright_and_dark: Prepared) -> Callable[..., Job]:
    """Return a function that builds a job with all that must survive a kill, in a folder that may hold a run.

    Dropout, batch statistics, random changes of the films, Adam, a learning rate that falls.
    """

    def make(folder: Path, callbacks: tuple = (), identity: dict | None = None, **train: object) -> Job:
        steps = {"epochs": 3, "batch_size": 8, "checkpoint_steps": 3}
        rate = {"learning_rate": 0.01, "reduce_lr_patience": 1, "decay": "cosine"}
        config = TrainConfig(**{**steps, **rate, **train})  # type: ignore[arg-type]
        keras.utils.set_random_seed(0)
        image = keras.Input((SIDE, SIDE, 1))
        seen = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(image))
        logits = keras.layers.Dense(2)(keras.layers.Dropout(0.5)(keras.layers.Flatten()(seen)))
        run = RunDir(folder)
        run.folder.mkdir(exist_ok=True)
        augment = AugmentConfig(rotation_degrees=20, noise=0.1)
        training = Batches(bright_and_dark, ("train",), TARGETS, None, config.batch_size, 5, 16, augment)
        validation = Batches(bright_and_dark, ("validation",), TARGETS, None, config.batch_size)
        model, optimizer = keras.Model(image, logits), build_optimizer(config)
        facts = {"task": "classification", "classes": ["dark", "bright"]}
        strategy, loss = tf.distribute.get_strategy(), build_loss(config, 2)
        job = Job(model, loss, optimizer, config, training, validation, run, facts, strategy, callbacks)
        job.identity = identity or {}
        return job

    return make


@pytest.fixture
def make_job(bright_and_dark: Prepared, tmp_path: Path) -> Callable[..., Job]:
    """Return a function that builds a job of one dense layer on the set."""

    def make(callbacks: tuple = (), weights: np.ndarray | None = None, seed: int = 0, **train: object) -> Job:
        config = TrainConfig(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.01, **train})  # type: ignore[arg-type]
        keras.utils.set_random_seed(seed)
        image = keras.Input((SIDE, SIDE, 1))
        logits = keras.layers.Dense(2)(keras.layers.Flatten()(image))
        run = RunDir(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        run.folder.mkdir()
        training = Batches(bright_and_dark, ("train",), TARGETS, weights, config.batch_size, seed=seed)
        validation = Batches(bright_and_dark, ("validation",), TARGETS, None, config.batch_size)
        model, optimizer = keras.Model(image, logits), build_optimizer(config)
        facts = {"task": "classification", "classes": ["dark", "bright"]}
        strategy = tf.distribute.get_strategy()
        return Job(
            model, build_loss(config, 2), optimizer, config, training, validation, run, facts, strategy, callbacks
        )

    return make
