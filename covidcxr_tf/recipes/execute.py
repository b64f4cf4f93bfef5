"""One config to one run folder: data, training, predictions, metrics, figures, card, report."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from covidcxr_tf.catalog import resolve
from covidcxr_tf.config import Config
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import replacing
from covidcxr_tf.models.imagenet import normalisation
from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.pipeline.normalisation import estimate_normalisation
from covidcxr_tf.recipes.datasets import Datasets, build_datasets, demo_manifest
from covidcxr_tf.recipes.folds import execute_folds
from covidcxr_tf.recipes.launch import Launch
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.phases import execute_phases
from covidcxr_tf.report.document import write_report
from covidcxr_tf.report.run_figures import draw_history
from covidcxr_tf.train.crew import Crew
from covidcxr_tf.train.distribution import build_strategy, connect
from covidcxr_tf.train.job import Job
from covidcxr_tf.train.lock import run_lock
from covidcxr_tf.train.loop import fit
from covidcxr_tf.train.optimizers import build_optimizer
from covidcxr_tf.train.recompute import recomputed
from covidcxr_tf.train.run_dir import RunDir, check_free
from covidcxr_tf.train.sameness import config_digest
from covidcxr_tf.train.stopping import stop_signals


def execute(
    config: Config,
    out: str | Path,
    *,
    devices: str = "all",
    skip_bad: int = 0,
    resume: bool = False,
    derived: Sequence[str] = (),
    profile: bool = False,
) -> Outcome:
    """Train as the config says and return the finished run.

    Where ``TF_CONFIG`` names several processes, each calls this with the same arguments; the chief alone writes `out`
    and judges, and the others return a run without metrics, whose folder goes.

    Parameters
    ----------
    config : Config
    out : str or path
        Run folder; new, unless `resume`.
    devices : str
        ``all``, ``cpu`` or a number.
    skip_bad : int
        So many unreadable films are set aside.
    resume : bool
        Go on with what an interrupted run left in `out`: finished parts are read again, the one that was interrupted
        continues from its last checkpoint. Where there is nothing yet, begin.
    derived : sequence of str
        Keys of the config that may have changed: those that a run of several parts sets in its parts.
    profile : bool
        Write a TensorBoard profile of steps 10 to 20 into the run folder.

    Raises
    ------
    CovidcxrError
        Of the kind that tells what stopped it: config, data, weights, or the run itself. UsageError where another
        process trains in `out`, ConfigError or SplitError where a resumed run began with another config or split,
        Stopped after SIGTERM.
    """
    return execute_part(config, out, Launch(devices, skip_bad, resume, derived, profile))


def execute_part(config: Config, out: str | Path, launch: Launch) -> Outcome:
    """Train as the config says and return the finished run; as `execute`, for parts of a run too."""
    if launch.profile and (config.run_phases or config.data.folds or config.task == "hierarchical"):
        raise UsageError("--profile of a run of several trainings", expected="one training, such as one of its phases")
    crew = connect(launch.devices)  # before TensorFlow computes anything
    with stop_signals(), crew.faults(), crew.folder(out) as folder, run_lock(folder):
        if not launch.resume:
            check_free(folder)  # before the films are prepared, which may take hours
        run = RunDir(folder)
        done = _all_finished_before(crew, config, run, launch)
        if done is not None:
            return done
        if not config.data.manifest:  # films are prepared by one process at a time, and drawn by any
            crew.chief_first(lambda: demo_manifest(config))
        outcome = _train(config, folder, launch)
        if crew.is_chief:
            run.finish()
            write_report(run.folder)
        return outcome


def _train(config: Config, out: Path, launch: Launch) -> Outcome:
    """Train the network of a config, or those of its levels, phases or folds."""
    recipe = resolve("recipes", config.recipe)
    if config.task == "hierarchical":
        return recipe.execute_levels(config, out, launch)
    if hasattr(recipe, "check"):
        recipe.check(config)
    if config.run_phases:
        return execute_phases(config, out, launch)
    if config.data.folds:
        return execute_folds(config, out, launch)
    if launch.resume:  # a config that has changed is told before hours of preparing its films
        RunDir(out).check_config(config, launch.derived)
    return train_and_judge(config, build_datasets(config, skip_bad=launch.skip_bad), out, launch)


def finished_before(config: Config, run: RunDir, derived: Sequence[str] = ()) -> Outcome | None:
    """Return what a finished run found; None where it is not finished.

    Raises
    ------
    ConfigError
        If the run is of another config.
    """
    metrics = run.metrics()
    if metrics is None:
        return None
    run.check_config(config, derived)
    print(f"{run.folder}: finished before, not trained again", file=sys.stderr)
    return Outcome(run, metrics)


def _all_finished_before(crew: Crew, config: Config, run: RunDir, launch: Launch) -> Outcome | None:
    """Return what the chief's resumed run found before, on all; the others get its model: a phase may begin with it."""
    if not launch.resume:
        return None
    done = finished_before(config, run, launch.derived) if crew.is_chief else None
    metrics = crew.document(None if done is None else done.metrics)
    if metrics is None:
        return None
    crew.file(run.model)
    return Outcome(run, metrics)


def train_and_judge(config: Config, sets: Datasets, out: str | Path, launch: Launch) -> Outcome:
    """Train one network on batches that are there, judge it, and return the finished run.

    Raises
    ------
    CovidcxrError
        As `execute`.
    """
    crew = connect(launch.devices)
    crew.meet()  # films are prepared on each machine; who waits here hears signals
    done = _all_finished_before(crew, config, RunDir(out), launch)
    if done is not None:
        done.run.write_split(sets.manifest)  # holds it against the split that the run was of
        return done
    keras.utils.set_random_seed(config.seed)
    recipe = resolve("recipes", config.recipe)
    with new_run(out, config, launch) as run:
        job = prepare_job(config, sets, run, recipe, launch.devices)
    job.profile = launch.profile
    draw = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: draw_history(run.history, run.figures))
    job.callbacks = (draw,) if crew.is_chief else ()
    fit(job, resume=launch.resume)
    if not crew.is_chief:
        return Outcome(run, {})
    metrics = recipe.judge(config, job, sets)
    run.finish()
    return Outcome(run, metrics)


@contextlib.contextmanager
def new_run(out: str | Path, config: Config, launch: Launch) -> Iterator[RunDir]:
    """Give a run folder; a new one goes again if what is done with it fails before the first step."""
    fresh = not (launch.resume and RunDir(out).config_file.is_file())
    run = launch.open(out, config)
    try:
        yield run
    except BaseException:
        if fresh:
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def prepare_job(config: Config, sets: Datasets, run: RunDir, recipe: ModuleType, devices: str) -> Job:
    """Return model, optimiser and data, ready to `fit`, with the run folder's first files written."""
    run.write_split(sets.manifest)
    if sets.lungs is not None:
        # The run carries its lung network: a newer shipped one would move every crop.
        with replacing(run.folder / "lung_model.keras") as aside:
            shutil.copyfile(sets.lungs.path, aside)
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
    job.identity = {"config": config_digest(config), "split": sets.facts["split_digest"]}
    job.identity |= {"lung network": (sets.facts["lung_model"] or {}).get("sha256"), "precision": precision}
    if config.train.recompute:
        job.forward = recomputed(model)
    return job


def _normalisation(config: Config, sets: Datasets) -> dict[str, Normalisation]:
    """Return the mean and deviation that the config asks for; nothing where they come with the initial weights."""
    channels = len(config.image.channels)
    if config.model.normalise == "estimate":
        return {"normalise": estimate_normalisation(sets.training, config.model.normalise_films)}
    if config.model.normalise == "imagenet":
        # Keras' ResNet-101 and VGG16 were trained on other levels than PyTorch's.
        known = normalisation(config.arch.replace("-", "_"))
        mean, std = (values if channels == 3 else [float(np.mean(values))] * channels for values in known)
        return {"normalise": (mean, std)}
    if config.model.normalise == "none":
        return {"normalise": ([0.0] * channels, [1.0] * channels)}
    return {}
