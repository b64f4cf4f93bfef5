"""Phased transfer: trainings in a row, each starting from the weights of the one before.

Source: Fricks 2021, figure 1. Every phase is a run folder of its own in ``phase_K/``; the top folder is the last
phase's result, which is what was asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from covidcxr_tf.config import Config, check_config, merge
from covidcxr_tf.data.held_out import hold_out_sources
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.splits import with_split
from covidcxr_tf.files import replacing, write_json
from covidcxr_tf.recipes.datasets import demo_manifest
from covidcxr_tf.recipes.launch import Launch
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.train.run_dir import RunDir
from covidcxr_tf.train.sameness import PLACES, write_same

#: What of the last phase's run also stands in the top folder.
RESULTS = (
    "model.keras", "lung_model.keras", "split.csv", "history.csv", "predictions_validation.csv", "predictions_test.csv",
    "card.json", "card.md",
)  # fmt: skip


def phase_configs(config: Config) -> dict[str, Config]:
    """Return phase -> its config: the whole config with the phase's table laid over it.

    Raises
    ------
    ConfigError
        For a table that breaks a rule; the message names the phase.
    """
    table = config.model_dump(mode="json") | {"phases": {}, "run_phases": ()}
    configs = {}
    for name in config.run_phases:
        over = config.phases[name]
        # Another phase's classes have another positive class; theirs is their own last one unless they name it.
        shared = table | {"positive": ""} if "classes" in over else table
        merged = merge(shared, over) | {"name": f"{config.name}_{name}"}
        configs[name] = check_config(merged, where=f"phases.{name}")
    return configs


def execute_phases(config: Config, out: str | Path, launch: Launch) -> Outcome:
    """Train the phases of a config and return the last one's judgement, with those of the others inside.

    One split by patient holds for all phases: a test patient of one is in no other's training films.

    Raises
    ------
    CovidcxrError
        As `execute`; SplitError where a phase would be tested on patients that an earlier one was trained on.
    """
    from covidcxr_tf.recipes.execute import execute_part  # which calls this function

    phases = phase_configs(config)
    run = launch.open(out, config)
    shared = _one_split(config, run.folder / "split_manifest.csv")
    weights, metrics, outcome = config.model.init, {}, None
    for name, phase in phases.items():
        data = {} if phase.data.manifest != config.data.manifest else shared
        table = merge(phase.model_dump(mode="json"), {"model": {"init": weights}, "data": data})
        part, folder = check_config(table), run.folder / name
        outcome = execute_part(part, folder, launch.of_part(PLACES))
        weights = str(outcome.run.model)
        metrics[name] = outcome.metrics
    assert outcome is not None
    _take_over(outcome.run, run)
    final = {**outcome.metrics, "phases": metrics}
    write_json(run.folder / "metrics.json", final)
    return Outcome(run, final)


def _one_split(config: Config, path: Path) -> dict[str, Any]:
    """Write the films of all phases with one split, and return the ``data`` table that names them."""
    manifest = load_manifest(config.data.manifest or demo_manifest(config), root=config.data.root or None)
    root = str(manifest.attrs["root"])
    if config.data.test_sources:
        manifest = hold_out_sources(manifest, config.data.test_sources, config.data.ratios, config.seed)
    manifest = with_split(manifest, config.data.ratios, config.seed)
    write_same(path, manifest)
    return {"manifest": str(path), "root": root, "test_sources": ()}


def _take_over(last: RunDir, run: RunDir) -> None:
    for name in RESULTS:
        if (last.folder / name).is_file():
            with replacing(run.folder / name) as aside:
                shutil.copyfile(last.folder / name, aside)
    shutil.copytree(last.figures, run.figures, dirs_exist_ok=True)
