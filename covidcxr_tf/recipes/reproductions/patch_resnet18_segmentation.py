"""The patch paper's segmentation: preprocessing, other networks, fewer films, under-segmented lungs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from covidcxr_tf.evaluate.bootstrap import bootstrap, patient_numbers
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.evaluate.significance import wilcoxon_signed_rank
from covidcxr_tf.judging import overlap_table
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import PAPER_FILMS, at_most, kept_table
from covidcxr_tf.recipes.reproductions.patch_resnet18_networks import (
    KINDS,
    SMOKE,
    databases,
    finder_of,
    overlaps,
    train_network,
)

#: Networks that the paper's is held against.
OTHERS = ("unet_four", "fcdensenet67")
#: Shares of the training films. The paper's Table XV, which lists its own, is not in our copy of the text.
SHARES = (0.5, 0.25)
SIGNIFICANT = 0.05
#: A mask that leaves out more of the drawn lungs than this is under-segmented (section V-F.3: "deformed").
DEFORMED = 0.25
GROUPS = {
    "bacterial": ("bacterial",),
    "tuberculosis": ("tuberculosis",),
    "covid19_viral": ("covid19", "viral"),
    "normal": ("normal",),
}


def segmentation(bench: Bench) -> dict[str, Measured]:
    """Measure the lungs' Jaccard with and without universal preprocessing (section IV-A, Table V)."""
    note = databases(bench).note
    outcome = train_network(bench)
    tables = {raw: overlaps(bench, outcome, raw=raw) for raw in (False, True)}
    found = {
        "section4a.jaccard_original": _jaccard(
            tables[True], bench.seed, f"{note}; the network was trained on preprocessed films"
        ),
        "section4a.jaccard_preprocessed": _jaccard(tables[False], bench.seed, note),
        "section4a.jaccard_p": _signed_rank(tables[False], tables[True]),
    }
    own = overlaps(bench, train_network(bench, name="segment_raw", raw=True), raw=True)
    found["also Jaccard of the lungs, trained and tested without preprocessing"] = _jaccard(own, bench.seed, note)
    for raw, table in tables.items():
        for source, metric in evaluate_masks(table, seed=bench.seed)["by_source"].items():
            name = f"also Jaccard of the lungs, {KINDS[raw]} films of {source}"
            found[name] = from_metric(metric["jaccard"], n=metric["n"])
    for organ, metric in outcome.metrics["validation"].get("by_class", {}).items():
        name = f"also Jaccard of the {organ.replace('_', ' ')}, validation films of the training database"
        found[name] = from_metric(metric["jaccard"], n=metric["n"])
    return found


def networks(bench: Bench) -> dict[str, Measured]:
    """Hold the paper's network against U-Net and FC-DenseNet67 (section V-F.1, Table XIII)."""
    note, own = databases(bench).note, overlaps(bench, train_network(bench), raw=False)
    found = {}
    for config in (SMOKE,) if bench.smoke else OTHERS:
        other = overlaps(bench, train_network(bench, config), raw=False)
        found[f"also Jaccard of the lungs, {config}"] = _jaccard(other, bench.seed, note)
        found[f"also {config} against the paper's network: p-value"] = _signed_rank(own, other)
    return found


def train_size(bench: Bench) -> dict[str, Measured]:
    """Measure the lungs' Jaccard with fewer training films (section V-F.2, Table XV)."""
    full = overlaps(bench, train_network(bench), raw=False)
    found, means, stable, holds = {}, {}, 1.0, True
    for share in SHARES[:1] if bench.smoke else SHARES:
        percent = f"{100 * share:.0f}"
        outcome = train_network(bench, name=f"segment_{percent}_percent", share=share)
        tables = {raw: overlaps(bench, outcome, raw=raw) for raw in (False, True)}
        for raw, table in tables.items():
            name = f"also Jaccard of the lungs, {KINDS[raw]} films, {percent} % of the training films"
            found[name] = _jaccard(table, bench.seed)
        test = _signed_rank(full, tables[False])
        means[percent] = tables[False]["jaccard"].mean()
        fell = means[percent] < full["jaccard"].mean() and test.value is not None and test.value < SIGNIFICANT
        holds = holds and not fell
        stable = share if holds else stable
    told = ", ".join(f"{percent} %: {mean:.3f}" for percent, mean in means.items())
    note = (
        f"smallest share down to which the Jaccard is not significantly (signed rank, p < {SIGNIFICANT}) below that of "
        f"all films; 100 %: {full['jaccard'].mean():.3f}, {told}; the paper does not say what it calls stable"
    )
    return found | {"section5f2.stable_share": Measured(100 * stable, n=len(full), note=note)}


def under_segmentation(bench: Bench) -> dict[str, Measured]:
    """Count films whose mask leaves out over a quarter of the drawn lungs (section V-F.3)."""
    sets, outcome = databases(bench), train_network(bench)
    films = at_most(sets.test, PAPER_FILMS, bench.seed).reset_index(drop=True)
    films.attrs = sets.test.attrs
    file = outcome.run.folder / "overlap_by_disease.csv"
    table = (
        kept_table(file, films, lambda: overlap_table(finder_of(outcome, raw=False), films)) if len(films) else films
    )
    found: dict[str, Measured] = {}
    for group, labels in GROUPS.items():
        part = table[table["label"].isin(labels)]
        count, share = _deformed(part, labels, bench.seed, sets.note)
        found[f"section5f3.{group}.under_segmented"] = count
        if group != "normal":  # the paper prints its count alone
            found[f"section5f3.{group}.under_segmented_share"] = share
    return found


def _deformed(part: pd.DataFrame, labels: tuple[str, ...], seed: int, note: str) -> tuple[Measured, Measured]:
    """Return number and share in per cent of the films whose mask leaves out too much."""
    if part.empty:
        why = (
            f"not run: no test film labelled {' or '.join(labels)} has a drawn lung mask; add such films to the "
            "manifest of drawn masks"
        )
        return Measured(None, why=why), Measured(None, why=why)
    deformed, n = (part["missed"] > DEFORMED).to_numpy(), len(part)
    count = int(deformed.sum())
    bounds, how = _share_interval(deformed, part["patient_id"], seed)
    note = f"{note}; over {DEFORMED:.0%} of the drawn lungs left out"
    share = Measured(100 * count / n, bounds, n, note=f"{note}; interval over patients ({how})")
    return Measured(count, n=n, note=f"{note}: {count / n:.1%} of {n}"), share


def _share_interval(chosen: npt.NDArray[np.bool_], patients: pd.Series, seed: int) -> tuple[tuple[float, float], str]:
    """Return the 95 % interval over patients of a share of films in per cent, and how it was found.

    Where all films agree every resample does too, and its interval would have no width: patients are counted then.
    """
    _, number = patient_numbers(patients.tolist())
    if chosen.any() and not chosen.all():
        value = chosen.astype(np.float64)
        drawn = bootstrap(
            lambda weights: {"share": value @ weights / weights.sum(axis=0)}, patients.tolist(), seed=seed
        )
        low, high = np.quantile(drawn["share"], [0.025, 0.975])
        return (100 * float(low), 100 * float(high)), "bootstrap"
    interval = binomtest(number if chosen.all() else 0, number).proportion_ci(method="exact")
    return (100 * interval.low, 100 * interval.high), "Clopper-Pearson, as all films agree"


def _jaccard(table: pd.DataFrame, seed: int, note: str = "") -> Measured:
    return from_metric(evaluate_masks(table, seed=seed)["jaccard"], n=len(table), note=note)


def _signed_rank(first: pd.DataFrame, second: pd.DataFrame) -> Measured:
    """Return the p-value of the paired test of two overlap tables of the same films."""
    test = wilcoxon_signed_rank(first["jaccard"].to_numpy(), second["jaccard"].to_numpy())
    if test.p_value is None:
        return Measured(None, n=len(first), why=f"the test is not defined: {test.why}")
    means = f"mean {first['jaccard'].mean():.3f} against {second['jaccard'].mean():.3f}"
    return Measured(test.p_value, n=len(first), note=f"signed rank over films, {means}; p = {test.p_value:.2g}")
