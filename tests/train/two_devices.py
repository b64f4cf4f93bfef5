"""Run by test_distribution.py in a process of its own: logical devices must be made before TensorFlow starts.

    python two_devices.py FOLDER FILMS DEVICES...

Trains the same small network on FILMS films for each number of logical CPU devices and prints the loss curves as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from covidcxr_tf.config import TrainConfig
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.models.unet import build
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.prepare import Prepared, _write_shards
from covidcxr_tf.train.distribution import build_strategy
from covidcxr_tf.train.loop import Job, fit
from covidcxr_tf.train.optimizers import build_optimizer
from covidcxr_tf.train.run_dir import RunDir

SIDE = 16


def prepared_films(folder: Path, films: int) -> Prepared:
    """Return so many training films and six validation films with masks."""
    generator = np.random.default_rng(0)

    def film(number: int) -> tuple[int, bytes, bytes]:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[4:12, 4 : 8 + number % 4] = 1
        noisy = mask * 120 + generator.integers(0, 100, (SIDE, SIDE), dtype=np.uint8)
        return number, noisy[..., None].astype(np.uint8).tobytes(), mask.tobytes()

    folder.mkdir()
    groups = {"train": range(films), "validation": range(films, films + 6)}
    names = {group: _write_shards(folder, group, map(film, rows)) for group, rows in groups.items()}
    shards = {group: [folder / name for name in written] for group, written in names.items()}
    split = ["train"] * films + ["validation"] * 6
    manifest = pd.DataFrame({"path": [f"{n}.png" for n in range(films + 6)], "split": split})
    return Prepared(folder, manifest, shards, SIDE, 1, True)


def train(folder: Path, films: int, devices: str) -> dict[str, object]:
    prepared = prepared_films(folder, films)
    config = TrainConfig(epochs=3, batch_size=8, loss="bce_dice", class_weights="none")
    weights = np.linspace(0.5, 1.5, films + 6, dtype=np.float32)
    keras.utils.set_random_seed(0)
    strategy = build_strategy(devices)
    with strategy.scope():
        model = build((SIDE, SIDE, 1), 1, filters=(4, 8), synchronized=True, seed=0)
        optimizer = build_optimizer(config)
    run = RunDir(folder / "run")
    run.folder.mkdir()
    training = Batches(prepared, ("train",), None, weights, 8, seed=0)
    validation = Batches(prepared, ("validation",), None, None, 8)
    loss = build_loss(config, 1, "segmentation")
    history = fit(Job(model, loss, optimizer, config, training, validation, run, {}, strategy))
    losses = {"loss": history["loss"].tolist(), "val_loss": history["val_loss"].tolist()}
    return {"replicas": strategy.num_replicas_in_sync, "steps": int(optimizer.iterations.numpy()), **losses}


def main(folder: Path, films: int, devices: list[str]) -> None:
    print(json.dumps({number: train(folder / f"{films}_{number}", films, number) for number in devices}))


main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
