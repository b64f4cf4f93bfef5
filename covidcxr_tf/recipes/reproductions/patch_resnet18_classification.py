"""The patch paper's classification: patches that vote against whole films, COVID-Net's films, ablations, heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.catalog import resolve
from covidcxr_tf.data.manifest import map_classes
from covidcxr_tf.evaluate.comparison import compare_tables
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.predict import LoadedModel, PatchModel
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.patch_resnet18 import patch_levels
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.conditions import conditions
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import (
    COVID_NET,
    NO_PATCHES,
    PATCHES,
    covid_net_films,
    four_classes,
    kept_table,
    patch_config,
    patch_size,
    training_share,
)
from covidcxr_tf.recipes.reproductions.patch_resnet18_markers import patch_intensity
from covidcxr_tf.recipes.reproductions.reading_metrics import within_sources

WHOLE = "resnet18"
#: What the paper trained on, beside `conditions`.
THEIRS = "the paper: 224 px out of 1024, 100 epochs, ImageNet"
COVID_NET_PARAMETERS = 116.6e6  # as the paper has it


def patches_against_whole(bench: Bench) -> dict[str, Measured]:
    """Train on patches and on whole films and test both on the same films (section IV-D, Tables X and XI)."""
    patches, whole = train_patches(bench), train_whole(bench)
    positive = patches.metrics["positive"]
    note = f"{conditions(bench, patches)}; {THEIRS}"
    found = {"section4d.sensitivity_covid19_viral": of_class(patches, positive, "sensitivity", note)}
    for outcome, name in ((patches, "patches"), (whole, "whole films")):
        found |= scores(outcome, name) | within_sources(outcome.metrics, name)
    table = read_predictions(patches.run.folder / "predictions_test.csv")
    covered = 100 * table["patch_coverage"].astype(float)
    votes = patch_config(bench).patches.votes
    found["also lung pixels that the patches of a film cover, mean"] = Measured(
        covered.mean(), n=len(table), note=f"K = {votes}; least {covered.min():.1f} %", unit="%"
    )
    return found | _difference(patches, whole, positive)


def rightly_classified_patches(bench: Bench) -> dict[str, Measured]:
    """Compare the grey levels of test patches that the network classified rightly (section IV-C.3, Figure 5)."""
    outcome = train_patches(bench)
    films = judged_films(bench, outcome)
    loaded = LoadedModel.load(outcome.run.folder)
    assert isinstance(loaded, PatchModel)
    levels = kept_table(outcome.run.folder / "patch_levels.csv", films, lambda: patch_levels(loaded, films))
    return patch_intensity(bench, levels, loaded.positive)


def covid_net(bench: Bench) -> dict[str, Measured]:
    """Train patches for the classes of COVID-Net (section V-D, Table XII)."""
    films = bench.films(covid_net_films(bench), "covid_net")
    outcome = bench.train(COVID_NET, "covid_net", patch_size(bench, COVID_NET), films=films)
    metrics = outcome.metrics
    counts = ", ".join(f"{metrics['per_class'][name]['support']} {name}" for name in metrics["classes"])
    note = f"test films: {counts}; {conditions(bench, outcome)}; {THEIRS}"
    found = {"section5d.accuracy": from_metric(metrics["accuracy"], percent=True, n=metrics["n"], note=note)}
    return found | scores(outcome, "COVID-Net's classes") | within_sources(metrics, "COVID-Net's classes")


def parameters(bench: Bench) -> dict[str, Measured]:
    """Count parameters (sections V-D and V-F.1, Table XII)."""
    counts = {
        "section5d.parameters": resolve("archs", PATCHES)((224, 224, 3), 3).count_params(),
        "section5f1.fcdensenet103_parameters": resolve("archs", "fcdensenet103")((256, 256, 1), 4).count_params(),
        "section5f1.fcdensenet67_parameters": resolve("archs", "fcdensenet67")((256, 256, 1), 4).count_params(),
    }
    found = {
        fact: Measured(count, note="of the network as trained here, with its statistics")
        for fact, count in counts.items()
    }
    share = 100 * counts["section5d.parameters"] / COVID_NET_PARAMETERS
    return found | {
        "section5d.parameter_share": Measured(share, note="of the 116.6 million that the paper gives COVID-Net")
    }


def train_patches(bench: Bench, name: str = "patches", *, share: float = 1.0, fixed: Sequence[str] = ()) -> Outcome:
    """Return the finished run of the patches on the four classes, with a share of the training patients."""
    films = bench.films(training_share(four_classes(bench), share, bench.seed), name)
    return bench.train(PATCHES, name, patch_size(bench, PATCHES), films=films, fixed=fixed)


def train_whole(bench: Bench, name: str = "whole_films", *, share: float = 1.0) -> Outcome:
    """Return the finished run of whole films on the four classes."""
    films = bench.films(training_share(four_classes(bench), share, bench.seed), name)
    return bench.train(WHOLE, name, films=films, fixed=[NO_PATCHES])


def judged_films(bench: Bench, outcome: Outcome) -> pd.DataFrame:
    """Return a run's test films with its classes as labels, index 0..n-1."""
    classes = patch_config(bench).classes
    films = four_classes(bench)
    films = films[films["split"].eq("test")]
    films.attrs = bench.manifest.attrs
    mapped = map_classes(films, classes, complete=False).reset_index(drop=True)
    mapped.attrs = bench.manifest.attrs
    return mapped


def of_class(outcome: Outcome, name: str, metric: str, note: str = "", unit: str = "1") -> Measured:
    """Return sensitivity or specificity of a class in per cent, over the films that it is a share of."""
    part = outcome.metrics["per_class"][name]
    n = part["support"] if metric == "sensitivity" else outcome.metrics["n"] - part["support"]
    return from_metric(part[metric], percent=True, n=n, note=note, unit=unit)


def scores(outcome: Outcome, title: str) -> dict[str, Measured]:
    """Return the five metrics of section III-C, means over classes, and each class's sensitivity."""
    metrics = outcome.metrics
    n = metrics["n"]
    found = {f"also {title}: accuracy": from_metric(metrics["accuracy"], percent=True, n=n, unit="%")}
    for key, name in (("balanced_accuracy", "recall"), ("macro_f1", "F1")):
        found[f"also {title}: {name}, mean over classes"] = from_metric(metrics[key], percent=True, n=n, unit="%")
    for key in ("precision", "specificity"):
        found[f"also {title}: {key}, mean over classes"] = _mean_over_classes(metrics, key)
    for name in metrics["classes"]:
        found[f"also {title}: sensitivity for {name}"] = of_class(outcome, name, "sensitivity", unit="%")
    return found


def _mean_over_classes(metrics: Mapping[str, Any], key: str) -> Measured:
    parts = [metrics["per_class"][name][key] for name in metrics["classes"]]
    undefined = [part["why"] for part in parts if part["value"] is None]
    if undefined:
        return Measured(None, why=f"not defined: {undefined[0]}", unit="%")
    return Measured(100 * float(np.mean([part["value"] for part in parts])), n=metrics["n"], unit="%")


def _difference(patches: Outcome, whole: Outcome, positive: str) -> dict[str, Measured]:
    """Return the difference of the areas of both on the same films, and its p-value over patients."""
    tables = {
        name: read_predictions(outcome.run.folder / "predictions_test.csv")
        for name, outcome in (("patches", patches), ("whole", whole))
    }
    name = f"also patches less whole films: AUC of {positive}"
    if tables["patches"]["label"].eq(positive).nunique() < 2:
        return {name: Measured(None, why="test films of one side only")}
    pair = compare_tables(tables, positive)["pairs"][0]
    test = pair["by_patient"]
    p_value = "p not defined" if test["p"] is None else f"p = {test['p']:.2g}"
    bounds = test.get("ci95")
    note = f"{p_value} over patients (Obuchowski)"
    return {name: Measured(pair["difference"], tuple(bounds) if bounds else None, len(tables["whole"]), note=note)}
