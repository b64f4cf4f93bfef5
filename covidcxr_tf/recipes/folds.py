"""Cross-validation by patient: one training a fold, pooled and fold-wise figures.

In fold k the films of fold k are the test films and those of the next fold the validation films, which choose the
epoch and the cut-off; the rest trains. The films are prepared once for all folds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.evaluate.folds import evaluate_folds, read_folds
from covidcxr_tf.evaluate.table import write_predictions
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.recipes.datasets import PARTS, assemble, open_manifest, prepare_films
from covidcxr_tf.recipes.launch import Launch
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.report.comparison import draw_folds
from covidcxr_tf.train.distribution import connect


def fold_split(folds: pd.Series, number: int, count: int) -> pd.Series:
    """Return train, validation or test for each film when fold `number` (from 1) is tested on."""
    test, validation = f"fold_{number}", f"fold_{number % count + 1}"
    return folds.map(lambda fold: "test" if fold == test else "validation" if fold == validation else "train")


def execute_folds(config: Config, out: str | Path, launch: Launch) -> Outcome:
    """Train one network a fold and return the pooled judgement, with the fold-wise one in ``folds``.

    Raises
    ------
    CovidcxrError
        As `execute`.
    """
    from covidcxr_tf.recipes.execute import train_and_judge  # execute calls this function

    manifest = open_manifest(config)
    prepared, lungs = prepare_films(config, manifest, skip_bad=launch.skip_bad)
    run = launch.open(out, config)
    attributes = manifest.attrs
    count = config.data.folds
    for number in range(1, count + 1):
        films = manifest.assign(split=fold_split(manifest["fold"], number, count))
        films.attrs = attributes
        groups = {part: tuple(sorted(set(films["fold"][films["split"] == part]))) for part in PARTS}
        sets = assemble(config, dataclasses.replace(prepared, manifest=films), lungs, groups)
        train_and_judge(config, sets, run.folder / f"fold_{number}", launch)
    if not connect(launch.devices).is_chief:
        return Outcome(run, {})
    tables = read_folds(run.folder)
    # Which fold tested a film is all the split there is: every film is tested on once, unless it could not be read.
    used = prepared.manifest[prepared.kept()]
    columns = [c for c in ("path", "patient_id", "label", "original_label", "source", "fold") if c in used]
    write_text(run.folder / "split.csv", used[columns].assign(split="test").to_csv(index=False))
    pooled = pd.concat([table.assign(fold=name) for name, table in tables.items()], ignore_index=True)
    write_predictions(pooled, run.folder / "predictions_test.csv")
    metrics = evaluate_folds(tables, config.positive_class, seed=config.seed)
    write_json(run.folder / "metrics.json", metrics)
    draw_folds(tables, metrics, config.positive_class, run.figures)
    return Outcome(run, metrics)
