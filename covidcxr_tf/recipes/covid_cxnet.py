"""COVID-CXNet: base model, binary, flat multiclass and hierarchical.

Source: Haghanifar 2020, sections 4 and 5. Differs from paper: three sets by patient (the paper chose its
checkpoint on the test set), logits with softmax also for two classes unless ``compat = "paper"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pandas as pd

from covidcxr_tf.catalog import resolve
from covidcxr_tf.config import Config, check_config, merge
from covidcxr_tf.errors import ConfigError, ManifestError, SplitError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.table import class_names, probabilities, write_predictions
from covidcxr_tf.evaluate.thresholds import choose_threshold
from covidcxr_tf.files import write_json
from covidcxr_tf.models.files import model_digest, read_facts, save_model
from covidcxr_tf.predict import (
    HierarchicalModel,
    combine_levels,
    decide,
    load_any,
    predict_manifest,
    predictions_table,
    to_probabilities,
)
from covidcxr_tf.recipes.datasets import Datasets, model_facts, open_manifest
from covidcxr_tf.report.card import write_card
from covidcxr_tf.report.run_figures import draw_judgement
from covidcxr_tf.train.loop import Job
from covidcxr_tf.train.run_dir import RunDir
from covidcxr_tf.train.validation import build_eval_step, evaluate_batches


def model(config: Config, *, synchronized: bool = False) -> keras.Model:
    """Return the classifier that the config asks for, with its initial weights."""
    image, wanted = config.image, config.model
    extra: dict[str, Any] = {}
    if config.arch == "chexnet":
        # Mean and standard deviation are those of the initial weights; `build` finds them.
        extra = {"dropout": wanted.dropout, "head_units": wanted.head_units}
    built = resolve("archs", config.arch)(
        (image.size, image.size, len(image.channels)),
        len(config.class_names),
        weights=wanted.init,
        compat=config.compat,
        synchronized=synchronized,
        seed=config.seed,
        **extra,
    )
    for layer in built.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras's 0.99 follows weights that move little. From scratch, with some fifty steps an epoch, it lags so
            # far behind that validation looks like chance for ten epochs; 0.9 does not.
            layer.momentum = wanted.batch_norm_momentum
    return built


def judge(config: Config, job: Job, sets: Datasets) -> dict[str, Any]:
    """Write predictions, metrics, figures and card of a trained classifier, and return the metrics.

    The cut-off between two classes is chosen on validation films, by Youden's index, stored with the model, and used
    unchanged on the test films.
    """
    step = build_eval_step(job.model, job.loss, dense=False)
    tables: dict[str, pd.DataFrame] = {}
    for split, batches in (("validation", sets.validation), ("test", sets.test)):
        if batches is None:
            continue
        rows, _, logits, _ = evaluate_batches(step, batches, job.strategy)
        films = sets.prepared.manifest.iloc[rows]
        tables[split] = predictions_table(films, to_probabilities(logits, config.task), config.class_names)
    facts = read_facts(job.run.model)
    if len(config.class_names) == 2:
        facts |= _cut_off(tables["validation"], config.positive_class)
        save_model(job.model, job.run.model, facts)
    return write_judgement(config, job.run, tables, facts | {"sha256": model_digest(job.run.model)})


def _cut_off(table: pd.DataFrame, positive: str) -> dict[str, Any]:
    try:
        cut = choose_threshold(table, positive)
    except (SplitError, ManifestError) as why:  # validation films of one class only: the most probable class is called
        return {"threshold": None, "threshold_from": f"none: {why.problem}"}
    return {"threshold": cut.value, "threshold_from": cut.threshold_from}


def write_judgement(
    config: Config, run: RunDir, tables: dict[str, pd.DataFrame], facts: dict[str, Any]
) -> dict[str, Any]:
    """Write ``predictions_*.csv``, ``metrics.json``, figures and ``card.json`` from predictions tables."""
    cut = facts.get("threshold")
    metrics = {}
    for split, table in tables.items():
        tables[split] = table = decide(table, config.class_names, config.positive_class, cut)
        write_predictions(table, run.folder / f"predictions_{split}.csv")
        metrics[split] = evaluate_table(
            table, config.positive_class, cut, seed=config.seed, threshold_from=facts.get("threshold_from")
        )
    split = "test" if "test" in metrics else "validation"
    final = {**metrics[split], "split": split, "validation": metrics["validation"]}
    write_json(run.folder / "metrics.json", final)
    draw_judgement(tables, metrics, run.figures)
    write_card(run.folder, facts, final)
    return final


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


def execute_levels(config: Config, out: str | Path, *, devices: str = "all", skip_bad: int = 0) -> Any:
    """Train both levels on one patient split and return the run that combines them (Haghanifar 2020, Table 5)."""
    from covidcxr_tf.recipes.execute import Outcome, execute  # execute calls this function for hierarchical configs

    manifest = open_manifest(config)
    levels = level_configs(config)
    run = RunDir.create(out, config)
    run.write_split(manifest)
    split = run.folder / "split_manifest.csv"
    # Levels see the original labels, the same patients in the same splits.
    whole = manifest.assign(label=manifest["original_label"]).drop(columns="original_label")
    whole.to_csv(split, index=False)
    root = config.data.root or str(manifest.attrs["root"])
    for name, level in levels.items():
        table = merge(level.model_dump(mode="json"), {"data": {"manifest": str(split), "root": root}})
        execute(check_config(table), run.folder / name, devices=devices, skip_bad=skip_bad)
    combined = load_any(run.folder)
    assert isinstance(combined, HierarchicalModel)
    tables = {}
    for part in ("validation", "test"):
        rows = manifest[manifest["split"] == part].reset_index(drop=True)
        rows.attrs = manifest.attrs
        if len(rows):
            tables[part], _ = predict_manifest(combined, rows, skip_bad=skip_bad)
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
