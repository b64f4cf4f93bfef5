"""The patch paper's biomarkers: p-values of COVID-19 against the other classes, over patients, and inside one source.

Section IV-C. Lungs are those of the classifier's lung network (``image.lung_model``); hearts those of a network that is
trained on drawn hearts here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from covidcxr_tf.biomarker_study import measure_films, write_study
from covidcxr_tf.evaluate.markers import ALL, NORMALITY, RANK_SUM, WITHIN_SOURCE, marker_tests
from covidcxr_tf.evaluate.significance import TestResult, wilcoxon_rank_sum
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.biomarkers import MARKERS
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import four_classes, kept_table, patch_config
from covidcxr_tf.recipes.reproductions.patch_resnet18_networks import databases, missing_hearts, train_network

SIGNIFICANT = 0.05
RATIO = "cardiothoracic_ratio"


class Contrast(NamedTuple):
    """One printed p-value: a marker of two labels, and whether the first has the lower or the higher one."""

    marker: str
    first: str
    second: str
    direction: str = ""


CONTRASTS: dict[str, Contrast] = {
    **{
        f"section4c1.mean.{label}.p": Contrast("lung_mean", "covid19", label, "lower")
        for label in ("normal", "bacterial", "tuberculosis")
    },
    **{
        f"section4c2.std.{label}.{other}.p": Contrast("lung_std", label, other, "higher")
        for label in ("covid19", "viral")
        for other in ("normal", "bacterial", "tuberculosis")
    },
    **{
        f"section4c3.ctr.{label}.p": Contrast(RATIO, "covid19", label)
        for label in ("normal", "tuberculosis", "bacterial", "viral")
    },
    "section4c3.mean.viral.p": Contrast("lung_mean", "covid19", "viral"),
    "section4c3.std.viral.p": Contrast("lung_std", "covid19", "viral"),
}
#: Printed p-values of single patches, the class of COVID-19 and viral films against another: column and class.
PATCH_CONTRASTS = {
    "section4c3.inter_patch.normal.p": ("mean", "normal"),
    "section4c3.inter_patch.bacterial.p": ("mean", "bacterial"),
    "section4c3.inter_patch.tuberculosis.p": ("mean", "tuberculosis"),
    "section4c3.intra_patch.normal.p": ("std", "normal"),
}


def biomarkers(bench: Bench) -> dict[str, Measured]:
    """Compare mean and deviation of the lungs' grey levels and the cardiothoracic ratio between classes.

    Tables and figures go to ``biomarkers/``.
    """
    films = four_classes(bench)
    finder = LungFinder.load(patch_config(bench).image.lung_model)
    measured = measure_films(films, finder, "model", seed=bench.seed)
    table, why = measured.table, missing_hearts(bench)
    if not why:
        ratios = _ratios(bench, films).set_index("path")[RATIO]
        table = table.assign(cardiothoracic_ratio=table["path"].map(ratios), heart_mask_from="network of drawn hearts")
    write_study(replace(measured, table=table), bench.out / "biomarkers")
    tests = marker_tests(table, list(dict.fromkeys(contrast.marker for contrast in CONTRASTS.values())))
    found = {}
    for fact, contrast in CONTRASTS.items():
        if contrast.marker == RATIO and why:
            found[fact] = Measured(None, why=why)
            continue
        network = "the network of drawn hearts" if contrast.marker == RATIO else finder.name
        found[fact] = _tested(tests, contrast, f"rank sum over patients, organs found by {network}")
        found |= _inside(tests, contrast)
    return found | _normality(tests) | _without_supine(table)


def patch_intensity(bench: Bench, levels: pd.DataFrame, positive: str) -> dict[str, Measured]:
    """Compare the grey levels of rightly classified patches between classes (section IV-C.3, Figure 5).

    Parameters
    ----------
    bench : Bench
    levels : DataFrame
        From ``recipes.patch_resnet18.patch_levels``.
    positive : str
        The class of COVID-19 and viral films.
    """
    right = levels[levels["called"].eq(levels["label"])]
    found = {}
    for fact, (column, other) in PATCH_CONTRASTS.items():
        groups = [right.loc[right["label"].eq(label)] for label in (positive, other)]
        values = [group[column].to_numpy(float) for group in groups]
        test = wilcoxon_rank_sum(*values)
        unit = f"single patches, {len(values[0])} against {len(values[1])}, as in the paper: they are not independent"
        found[fact] = _p_value(test, unit)
        means = [group.groupby("patient_id")[column].mean().to_numpy(float) for group in groups]
        kind = "inter-patch mean intensity" if column == "mean" else "intra-patch standard deviation"
        name = f"also {kind}, {positive} against {other}, over patients: p-value"
        found[name] = _p_value(wilcoxon_rank_sum(*means), f"{len(means[0])} against {len(means[1])} patients")
    return found


def _ratios(bench: Bench, films: pd.DataFrame) -> pd.DataFrame:
    """Return path and cardiothoracic ratio of the films, from the network of the drawn hearts."""
    if databases(bench).organs:
        outcome = train_network(bench)
    else:
        outcome = train_network(bench, name="segment_heart", organs=True)

    def measure() -> pd.DataFrame:
        measured = measure_films(films, LungFinder.load(outcome.run.folder), "model", seed=bench.seed)
        return measured.table[["path", RATIO]]

    return kept_table(outcome.run.folder / "cardiothoracic_ratio.csv", films, measure)


def _tested(tests: pd.DataFrame, contrast: Contrast, note: str) -> Measured:
    row = _row(tests, contrast, ALL, "")
    if row is None or pd.isna(row["p_value"]):
        return Measured(None, why=f"not run: {_why(row, contrast)}")
    expected = f" (paper: {contrast.direction})" if contrast.direction else ""
    parts = [note, _larger(row, contrast) + expected, f"p = {row['p_value']:.2g}, {row['p_holm']:.2g} after Holm"]
    if row["patients_in_both"]:
        parts.append(f"{row['patients_in_both']:.0f} patients stand in both")
    return Measured(row["p_value"], n=int(row["n_first"] + row["n_second"]), note="; ".join(parts))


def _inside(tests: pd.DataFrame, contrast: Contrast) -> dict[str, Measured]:
    """Return the same test inside each source that holds both labels: there the source cannot make the difference."""
    found = {}
    for source in sorted(set(tests.loc[tests["scope"].eq(WITHIN_SOURCE), "within"])):
        row = _row(tests, contrast, WITHIN_SOURCE, source)
        if row is None or pd.isna(row["p_value"]):
            continue
        title = MARKERS[contrast.marker].title
        found[f"also {title}, {contrast.first} against {contrast.second} within {source}: p-value"] = Measured(
            row["p_value"],
            n=int(row["n_first"] + row["n_second"]),
            note=f"{_larger(row, contrast)}; p = {row['p_value']:.2g}",
        )
    return found


def _larger(row: dict[Hashable, Any], contrast: Contrast) -> str:
    share = row["first_larger"] if row["first"] == contrast.first else 1 - row["first_larger"]
    return f"{contrast.first} is larger in {share:.0%} of pairs"


def _normality(tests: pd.DataFrame) -> dict[str, Measured]:
    """Return in how many classes a marker is not normally distributed, which is why ranks are tested."""
    judged = tests[tests["test"].eq(NORMALITY)].dropna(subset=["p_value"])
    if judged.empty:
        return {}
    count = int((judged["p_value"] < SIGNIFICANT).sum())
    note = f"Kolmogorov-Smirnov, p < {SIGNIFICANT}"
    return {
        "also markers by class that are not normally distributed": Measured(
            count, n=len(judged), note=note, unit="groups"
        )
    }


def _without_supine(table: pd.DataFrame) -> dict[str, Measured]:
    """Return the deviation's test without supine films (Table VIII), where the manifest tells which they are."""
    if "view" not in table or not table["view"].astype(str).str.lower().str.contains("supine").any():
        return {}
    kept = table[~table["view"].astype(str).str.lower().str.contains("supine")]
    contrast = CONTRASTS["section4c2.std.covid19.normal.p"]
    note = f"{len(table) - len(kept)} supine films left out"
    name = f"also {MARKERS[contrast.marker].title}, covid19 against normal, without supine films: p-value"
    return {name: _tested(marker_tests(kept, [contrast.marker]), contrast, note)}


def _row(tests: pd.DataFrame, contrast: Contrast, scope: str, within: str) -> dict[Hashable, Any] | None:
    pair = {contrast.first, contrast.second}
    chosen = tests[
        tests["test"].eq(RANK_SUM)
        & tests["scope"].eq(scope)
        & tests["within"].eq(within)
        & tests["marker"].eq(contrast.marker)
        & tests["first"].isin(pair)
        & tests["second"].isin(pair)
    ]
    return None if chosen.empty else chosen.iloc[0].to_dict()


def _why(row: dict[Hashable, Any] | None, contrast: Contrast) -> str:
    if row is not None and row["why"]:
        return str(row["why"])
    if contrast.marker == RATIO:
        return (
            f"the network of the drawn hearts found none between two lungs on films of {contrast.first} or "
            f"{contrast.second}; train it longer"
        )
    return f"no film of {contrast.first} or {contrast.second} has this marker"


def _p_value(test: TestResult, note: str) -> Measured:
    if test.p_value is None:
        return Measured(
            None, why=f"not run: {test.why}: no patch of one of the classes was classified rightly", note=note
        )
    return Measured(test.p_value, n=sum(test.n), note=f"rank sum over {note}; p = {test.p_value:.2g}")
