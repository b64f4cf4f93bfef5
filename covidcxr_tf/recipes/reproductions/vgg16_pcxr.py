"""The five-fold portable CXR study: VGG16 on whole films and on segmented lungs (Tables 1 and 2, overall figures).

The study gives one confusion table of a quarter of its films and speaks of five folds. Here every film is tested on
once, in the fold of its patient; the figures are those of all films together, with mean and standard deviation over the
folds beside them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.comparison import compare_tables
from covidcxr_tf.evaluate.roc import ratio
from covidcxr_tf.evaluate.table import UNKNOWN_SOURCE, read_predictions, sources
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.conditions import conditions
from covidcxr_tf.recipes.reproductions.experiment import Experiment, Measured, from_metric
from covidcxr_tf.recipes.reproductions.reading_metrics import cells, within_sources
from covidcxr_tf.recipes.reproductions.vgg16_pcxr_films import CLASSES, missing, segmented, whole
from covidcxr_tf.recipes.reproductions.vgg16_pcxr_lungs import heat_maps, lung_overlap, missing_lungs

SMOKE_LABELS = CLASSES
CAVEATS = (
    "VGG16 starts from ImageNet's weights in the paper. That file is downloaded, not shipped: without "
    "`--set model.init=imagenet` it starts from random weights, from which a rate of 0.001 may not learn at all "
    "(`--set train.learning_rate=1e-4`).",
    "In the paper all COVID-19 films are of adults from Cohen's collection and all others of children from Kermany's: "
    "label, age, hospital and picture format go together. So they do here, more or less: a figure over all films may "
    "tell sources apart, not disease. The rows 'AUC within' a source are the ones to read.",
    "The paper's sample sizes (532 normal, 492 bacterial, 552 viral, 455 COVID-19) are drawn by whole patients where "
    "there are so many; where there are fewer, all are taken and the classes weigh the same in the loss.",
    "The paper describes no split by patient (its 455 COVID-19 films are of 197 patients), and a test quarter beside "
    "five folds. Here the folds are by patient, and each film is tested on once.",
    "Overall sensitivity and specificity are means over the four classes, each against the rest, pooled over the "
    "folds. The paper does not name its averages: its whole-film sensitivity is a micro average (the accuracy once "
    "more), which the notes give too. AUC is the mean over the classes, each against the rest.",
    "Pooled areas compare probabilities of several networks; the folds' spread is no interval, as their training films "
    "overlap.",
)
#: Column of Table 2 -> our name.
COLUMNS = {"precision": "precision", "recall": "sensitivity", "f1": "f1"}
OVERALL = ("sensitivity", "specificity", "accuracy", "auc")


def whole_film(bench: Bench) -> dict[str, Measured]:
    """Train on whole films, fold by fold: Tables 1 and 2 and the overall figures."""
    outcome = whole(bench)
    found = cells(
        outcome.metrics, {name: name for name in CLASSES}, "table1", note="every film once; the paper: a quarter"
    )
    for name in CLASSES:
        for column, metric in COLUMNS.items():
            found[f"table2.{name}.{column}"] = from_metric(
                outcome.metrics["per_class"][name][metric],
                n=outcome.metrics["n"],
                note=_folds(outcome, name, metric),
            )
    found["results.accuracy_floor"] = validation_accuracy(outcome)
    figures = overall(bench, outcome)
    for place in ("abstract", "results"):
        found |= {f"{place}.whole.{name}": one for name, one in figures.items()}
    return found | within(outcome, "whole films")


def segmented_lungs(bench: Bench) -> dict[str, Measured]:
    """Train on segmented lungs in the same folds: the overall figures, and what they gain over whole films."""
    outcome = segmented(bench)
    figures = overall(bench, outcome)
    found = {
        f"{place}.segmented.{name}": one
        for place in ("abstract", "results", "discussion")
        for name, one in figures.items()
    }
    return found | within(outcome, "segmented lungs") | _gain(outcome, whole(bench))


def within(outcome: Outcome, title: str) -> dict[str, Measured]:
    """Return the area of COVID-19 within each source that has it, and the accuracy within those of several classes."""
    rows = within_sources(outcome.metrics, title)
    for source, part in outcome.metrics["by_source"].items():
        there = {name: count for name, count in part["support"].items() if count}
        if len(there) < 2 or source == UNKNOWN_SOURCE:
            continue
        counted = ", ".join(f"{count} {name}" for name, count in there.items())
        most = max(there.values()) / part["n"]
        note = f"{counted}; calling all {max(there, key=lambda name: there[name])} gives {most:.3f}"
        rows[f"also {title}: accuracy within {source}"] = from_metric(part["accuracy"], n=part["n"], note=note)
    return rows


def overall(bench: Bench, outcome: Outcome) -> dict[str, Measured]:
    """Return macro sensitivity and specificity, accuracy and macro AUC of all folds' films together.

    Micro averages and the folds' mean and standard deviation stand in the notes.
    """
    metrics, n = outcome.metrics, outcome.metrics["n"]
    accuracy = metrics["accuracy"]["value"]
    classes = len(metrics["classes"])
    micro = 1 - (1 - accuracy) / (classes - 1)
    macro = f"mean over {classes} classes"
    specificity = macro_specificity(read_predictions(outcome.run.folder / "predictions_test.csv"), bench.seed)
    notes = {
        "sensitivity": (macro, f"micro average {accuracy:.3f}", _folds(outcome, "", "balanced_accuracy")),
        "specificity": (macro, f"micro average {micro:.3f}", _fold_specificity(outcome)),
        "accuracy": (_folds(outcome, "", "accuracy"),),
        "auc": (f"{macro}, each against the rest", _folds(outcome, "", "auroc")),
    }
    found = {
        "sensitivity": metrics["balanced_accuracy"],
        "specificity": specificity,
        "accuracy": metrics["accuracy"],
        "auc": metrics["auroc"],
    }
    trained = conditions(bench, outcome)
    return {name: from_metric(found[name], n=n, note="; ".join((*notes[name], trained))) for name in OVERALL}


def macro_specificity(table: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """Return the mean over the classes of a table of the share of other films that are not called so.

    As an entry of ``metrics.json``, with an interval over patients. ``predicted`` is what was called.
    """
    truth, called = table["label"].to_numpy(str), table["predicted"].to_numpy(str)
    names = sorted(set(truth) | set(called))
    # [classes, films]: films that are not of the class, and those of them that are not called so either
    others = np.array([truth != name for name in names], np.float64)
    spared = others * np.array([called != name for name in names])

    def statistics(weights: Floats) -> dict[str, Floats]:
        return {"specificity": ratio(spared @ weights, others @ weights).mean(axis=0)}

    value = float(statistics(np.ones((len(table), 1)))["specificity"][0])
    patients = patient_numbers(table["patient_id"].to_numpy(object))[1]
    samples = bootstrap(statistics, table["patient_id"].to_numpy(object), resamples if patients > 1 else 0, seed)
    return describe(value, samples["specificity"], patients)


def validation_accuracy(outcome: Outcome) -> Measured:
    """Return the mean over the folds of the accuracy on validation films, of the epoch that was kept."""
    files = sorted(outcome.run.folder.glob("fold_*/metrics.json"))
    values = [json.loads(file.read_text(encoding="utf-8"))["validation"]["accuracy"]["value"] for file in files]
    note = (
        f"validation films, mean of {len(values)} folds ({min(values):.3f} to {max(values):.3f}), the epoch of the "
        "lowest validation loss; the paper's curves of training and validation 'typically' pass its figure"
    )
    return Measured(float(np.mean(values)), note=note)


def _gain(lungs: Outcome, film: Outcome) -> dict[str, Measured]:
    """Return the area of covid19 on segmented lungs less that on whole films, on all films and within each source."""
    tables = {
        "lungs": read_predictions(lungs.run.folder / "predictions_test.csv"),
        "film": read_predictions(film.run.folder / "predictions_test.csv"),
    }
    source = sources(tables["film"])
    parts = {"all films": np.ones(len(source), bool)}
    parts |= {f"within {name}": source == name for name in sorted(set(source) - {UNKNOWN_SOURCE})}
    found = {}
    for title, chosen in parts.items():
        paths = set(tables["film"].loc[chosen, "path"])
        part = {name: table[table["path"].isin(paths)].reset_index(drop=True) for name, table in tables.items()}
        positive = part["film"]["label"].eq("covid19")
        if not positive.any() or positive.all():
            continue
        document = compare_tables(part, "covid19")
        test = document["pairs"][0]["by_patient"]
        # A pair's difference is that of its first table less that of its second, in the tables' order.
        found[f"also segmented lungs less whole films: AUC of covid19, {title}"] = Measured(
            round(document["pairs"][0]["difference"], 12),  # equal areas are equal, whatever the last bit
            tuple(test["ci95"]) if test["ci95"] else None,
            document["n"],
            note="over patients" if test["p"] is None else f"over patients, p = {test['p']:.3f}",
        )
    return found


def _folds(outcome: Outcome, name: str, metric: str) -> str:
    """Return mean ± sd over the folds of a metric of a class, or of an overall one, in words."""
    folds = outcome.metrics["folds"]
    spread = folds["mean_sd_per_class"][name][metric] if name else folds["mean_sd"][metric]
    return _spread(spread["mean"], spread["sd"], len(folds["names"]))


def _fold_specificity(outcome: Outcome) -> str:
    per_fold = outcome.metrics["folds"]["per_fold"].values()
    values = [[one["specificity"]["value"] for one in fold["per_class"].values()] for fold in per_fold]
    if any(value is None for fold in values for value in fold):
        return _spread(None, None, len(values))
    means = np.mean(np.array(values, np.float64), axis=1)
    return _spread(float(means.mean()), float(means.std(ddof=1)), len(values))


def _spread(mean: float | None, sd: float | None, folds: int) -> str:
    if mean is None or sd is None:
        return f"not defined in each of the {folds} folds"
    return f"{folds} folds {mean:.3f} ± {sd:.3f} (sd)"


EXPERIMENTS = (
    Experiment(
        "whole_film",
        "four classes on whole films, folds by patient (Tables 1 and 2, Results)",
        (
            *(f"{place}.whole.{name}" for place in ("abstract", "results") for name in OVERALL),
            *(f"table1.{true}.{called}" for true in CLASSES for called in CLASSES),
            *(f"table2.{name}.{column}" for name in CLASSES for column in COLUMNS),
            "results.accuracy_floor",
        ),
        whole_film,
        missing,
    ),
    Experiment(
        "segmented_lungs",
        "four classes on segmented lungs, the same folds (Results, Discussion)",
        tuple(f"{place}.segmented.{name}" for place in ("abstract", "results", "discussion") for name in OVERALL),
        segmented_lungs,
        missing,
    ),
    Experiment(
        "lung_network",
        "the lung network against drawn masks (Materials and Methods, CNN)",
        ("methods.unet_iou", "methods.unet_dice"),
        lung_overlap,
        missing_lungs,
    ),
    Experiment(
        "heat_maps",
        "class activation maps on whole films and on segmented lungs (Figure 4)",
        (),
        heat_maps,
        missing,
    ),
)
