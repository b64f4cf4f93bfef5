"""COVID-CXNet: base model, binary, flat multiclass and hierarchical.

Source: Haghanifar 2020, sections 4 and 5. Differs from paper: three sets by patient (the paper chose its
checkpoint on the test set), logits with softmax also for two classes unless ``compat = "paper"``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.config import Config, check_config, merge
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.evaluate.table import class_names, probabilities
from covidcxr_tf.predict import HierarchicalModel, combine_levels, load_any, predict_manifest, predictions_table
from covidcxr_tf.recipes.classifier import judge, model, write_judgement
from covidcxr_tf.recipes.datasets import model_facts, open_manifest
from covidcxr_tf.recipes.launch import Launch
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.train.distribution import connect
from covidcxr_tf.train.sameness import PLACES, write_same

__all__ = ["aggregate", "execute_levels", "judge", "level_configs", "model"]


def level_configs(config: Config) -> dict[str, Config]:
    """Return the config of each level: the whole config with the level's table laid over it."""
    table = config.model_dump(mode="json")
    levels = table.pop("levels")
    if set(levels) != {"level_1", "level_2"}:
        raise ConfigError(
            f"levels holds {', '.join(levels) or 'nothing'}", expected="[levels.level_1] and [levels.level_2]"
        )
    configs = {}
    for name, over in levels.items():
        merged = merge(table | {"task": "classification", "levels": {}, "positive": ""}, over)
        configs[name] = check_config(merged | {"name": f"{config.name}_{name}"}, where=f"levels.{name}")
    return configs


def execute_levels(config: Config, out: str | Path, launch: Launch) -> Outcome:
    """Train both levels on one patient split and return the run that combines them (Haghanifar 2020, Table 5)."""
    from covidcxr_tf.recipes.execute import execute_part  # which calls this function for hierarchical configs

    manifest = open_manifest(config)
    levels = level_configs(config)
    run = launch.open(out, config)
    run.write_split(manifest)
    split = run.folder / "split_manifest.csv"
    # Levels see the original labels, the same patients in the same splits.
    whole = manifest.assign(label=manifest["original_label"]).drop(columns="original_label")
    write_same(split, whole)
    root = config.data.root or str(manifest.attrs["root"])
    for name, level in levels.items():
        table = merge(level.model_dump(mode="json"), {"data": {"manifest": str(split), "root": root}})
        execute_part(check_config(table), run.folder / name, launch.of_part(PLACES))
    if not connect(launch.devices).is_chief:
        return Outcome(run, {})
    combined = load_any(run.folder)
    assert isinstance(combined, HierarchicalModel)
    tables = {}
    for part in ("validation", "test"):
        rows = manifest[manifest["split"] == part].reset_index(drop=True)
        rows.attrs = manifest.attrs
        if len(rows):
            tables[part], _ = predict_manifest(combined, rows, skip_bad=launch.skip_bad)
    facts = model_facts(config, manifest, combined.first.lungs) | {"arch": f"{config.arch}, two levels"}
    metrics = write_judgement(config, run, tables, facts)
    return Outcome(run, metrics)


def aggregate(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions table of the hierarchical model from those of its two levels, film by film.

    Both tables hold the same films in the same order; the first class of `first` ends the path there.
    """
    if first["path"].tolist() != second["path"].tolist():
        raise ConfigError("the two levels' tables hold different films", expected="the same films in the same order")
    classes = (class_names(first)[0], *class_names(second))
    parts = [probabilities(table, class_names(table)) for table in (first, second)]
    return predictions_table(first, combine_levels(*parts), classes)
