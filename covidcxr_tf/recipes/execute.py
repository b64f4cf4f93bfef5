"""One config to one run folder: data, training, predictions, metrics, figures, card."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from covidcxr_tf.catalog import resolve
from covidcxr_tf.config import Config
from covidcxr_tf.models.layers import IMAGENET, Normalisation
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.pipeline.normalisation import estimate_normalisation
from covidcxr_tf.recipes.datasets import Datasets, build_datasets
from covidcxr_tf.recipes.folds import execute_folds
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.phases import execute_phases
from covidcxr_tf.report.run_figures import draw_history
from covidcxr_tf.train.distribution import build_strategy
from covidcxr_tf.train.loop import Job, fit
from covidcxr_tf.train.optimizers import build_optimizer
from covidcxr_tf.train.recompute import recomputed
from covidcxr_tf.train.run_dir import RunDir, check_free


def execute(config: Config, out: str | Path, *, devices: str = "all", skip_bad: int = 0) -> Outcome:
    """Train as the config says and return the finished run.

    Raises
    ------
    CovidcxrError
        Of the kind that tells what stopped it: config, data, weights, or the run itself.
    """
    check_free(out)  # before the films are prepared, which may take hours
    recipe = resolve("recipes", config.recipe)
    if config.task == "hierarchical":
        return recipe.execute_levels(config, out, devices=devices, skip_bad=skip_bad)
    if hasattr(recipe, "check"):
        recipe.check(config)
    if config.run_phases:
        return execute_phases(config, out, devices=devices, skip_bad=skip_bad)
    if config.data.folds:
        return execute_folds(config, out, devices=devices, skip_bad=skip_bad)
    return train_and_judge(config, build_datasets(config, skip_bad=skip_bad), out, devices=devices)


def train_and_judge(config: Config, sets: Datasets, out: str | Path, *, devices: str = "all") -> Outcome:
    """Train one network on batches that are there, judge it, and return the finished run."""
    keras.utils.set_random_seed(config.seed)
    recipe = resolve("recipes", config.recipe)
    with new_run(out, config) as run:
        job = prepare_job(config, sets, run, recipe, devices)
    draw = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: draw_history(run.history, run.figures))
    job.callbacks = (draw,)
    fit(job)
    metrics = recipe.judge(config, job, sets)
    return Outcome(run, metrics)


@contextlib.contextmanager
def new_run(out: str | Path, config: Config) -> Iterator[RunDir]:
    """Give a new run folder; it goes again if what is done with it fails before the first step."""
    run = RunDir.create(out, config)
    try:
        yield run
    except BaseException:
        shutil.rmtree(run.folder, ignore_errors=True)
        raise


def prepare_job(config: Config, sets: Datasets, run: RunDir, recipe: ModuleType, devices: str) -> Job:
    """Return model, optimiser and data, ready to `fit`, with the run folder's first files written."""
    run.write_split(sets.manifest)
    if sets.lungs is not None:
        # The run carries its lung network: a newer shipped one would move every crop.
        shutil.copyfile(sets.lungs.path, run.folder / "lung_model.keras")
    quarantine = sets.prepared.folder / "quarantine.csv"
    if quarantine.is_file():
        shutil.copyfile(quarantine, run.folder / "quarantine.csv")
    strategy = build_strategy(devices)
    precision = config.model.mixed_precision
    policy = keras.config.dtype_policy()
    try:
        if precision != "none":
            keras.config.set_dtype_policy(f"mixed_{precision}")
        with strategy.scope():
            model = recipe.model(config, synchronized=strategy.num_replicas_in_sync > 1, **_normalisation(config, sets))
            optimizer = build_optimizer(config.train, mixed_precision=precision)
    finally:
        keras.config.set_dtype_policy(policy)
    loss = build_loss(config.train, max(len(config.class_names), 1), config.task)
    job = Job(model, loss, optimizer, config.train, sets.training, sets.validation, run, sets.facts, strategy)
    if config.train.recompute:
        job.forward = recomputed(model)
    return job


def _normalisation(config: Config, sets: Datasets) -> dict[str, Normalisation]:
    """Return the mean and deviation that the config asks for; nothing where they come with the initial weights."""
    channels = len(config.image.channels)
    if config.model.normalise == "estimate":
        return {"normalise": estimate_normalisation(sets.training, config.model.normalise_films)}
    if config.model.normalise == "imagenet":
        mean, std = (values if channels == 3 else [float(np.mean(values))] * channels for values in IMAGENET)
        return {"normalise": (mean, std)}
    if config.model.normalise == "none":
        return {"normalise": ([0.0] * channels, [1.0] * channels)}
    return {}
