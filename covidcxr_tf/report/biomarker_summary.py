"""Lung markers as a document and as lines for people, with what stands between a difference and a disease."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.data.check import cramers_v, label_by_source
from covidcxr_tf.evaluate.markers import (
    ALL,
    NORMALITY,
    RANK_SUM,
    WITHIN_LABEL,
    WITHIN_SOURCE,
    marker_summary,
    with_source,
)
from covidcxr_tf.lungs.biomarkers import MARKERS

UNIT = "patient: the mean of a patient's films within one class (in tables by source: within one class and source)"
SHOWN = ("lung_mean", "lung_std", "cardiothoracic_ratio")
SCOPES = {
    ALL: "pairs of classes, all films",
    WITHIN_SOURCE: "pairs of classes within one source",
    WITHIN_LABEL: "pairs of sources within one class",
}
LEVEL = 0.05


def marker_document(table: pd.DataFrame, tests: pd.DataFrame, by_source: pd.DataFrame) -> dict[str, Any]:
    """Return the counts, markers, tests and caveats of ``biomarkers.json``.

    Parameters
    ----------
    table : DataFrame
        One row a film: what ``biomarkers.csv`` holds.
    tests, by_source : DataFrame
        From ``evaluate.markers.marker_tests`` and ``marker_summary``.

    Returns
    -------
    dict
        unit, films, patients, classes, masks (origin by class), label_by_source, cramers_v, markers (title, unit,
        by_class), by_source, tests, caveats; None for what is not defined.
    """
    counts = label_by_source(with_source(table))
    by_class = marker_summary(table, list(MARKERS))
    return {
        "unit": UNIT,
        "films": len(table),
        "patients": int(table["patient_id"].nunique()),
        "classes": sorted(table["label"].unique()),
        "masks": {kind: _origins(table, f"{kind}_mask_from") for kind in ("lung", "heart")},
        "label_by_source": {str(label): row.to_dict() for label, row in counts.iterrows()},
        "cramers_v": cramers_v(counts),
        "markers": {
            name: {
                **marker._asdict(),
                "by_class": _records(by_class[by_class["marker"] == name].drop(columns="marker")),
            }
            for name, marker in MARKERS.items()
        },
        "by_source": _records(by_source),
        "tests": _records(tests),
        "caveats": caveats(table, tests),
    }


def caveats(table: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Return one sentence for each thing that can make classes differ without a disease, as far as the table shows it.

    Parameters
    ----------
    table, tests : DataFrame
        As in `marker_document`.
    """
    counts = label_by_source(with_source(table))
    present = counts > 0
    apart = [f"{a} and {b}" for a, b in combinations(counts.index, 2) if not (present.loc[a] & present.loc[b]).any()]
    lines = [f"no source in common: {', '.join(apart)}; what tells them apart may be the source"] if apart else []
    sources = tests[(tests["scope"] == WITHIN_LABEL) & (tests["test"] == RANK_SUM)]
    differing = sorted(set(sources.loc[sources["p_holm"] < LEVEL, "marker"]))
    if differing:
        lines.append(f"sources differ within one class in {', '.join(differing)}: that is not the disease's doing")
    for kind in ("lung", "heart"):
        origins = pd.crosstab(table["label"], table[f"{kind}_mask_from"]).drop(columns="", errors="ignore")
        shares = origins.div(origins.sum(axis=1).replace(0, np.nan), axis=0).dropna()
        if len(origins.columns) > 1 and (shares.max() - shares.min()).max() > 0.1:
            lines.append(f"{kind} masks of different makers in different proportions by class: makers draw differently")
    doubtful = int((table["lung_verdict"] != "good").sum())
    if doubtful:
        lines.append(f"{doubtful} of {len(table)} lung masks are doubtful or poor")
    missing = int(table["cardiothoracic_ratio"].isna().sum())
    if missing:
        lines.append(
            f"{missing} of {len(table)} films have no cardiothoracic ratio: it needs a heart mask and both lungs"
        )
    both = tests.loc[tests["scope"] == ALL, "patients_in_both"].max() if len(tests) else 0
    if both > 0:  # of one class alone nothing is tested, and it is no number
        lines.append(
            f"up to {int(both)} patients stand in both of two classes; the tests take them for different people"
        )
    lines.append(
        "equalisation spreads the levels of the whole film: borders, collimation and lettering move the lungs' level"
    )
    return lines


def summarise_markers(document: Mapping[str, Any]) -> str:
    """Return the lines that the command prints.

    Parameters
    ----------
    document : mapping
        ``biomarkers.json``.
    """
    lines = [f"{document['films']} films, {document['patients']} patients; unit: patient"]
    lines += [f"{kind} masks: {_listed(origins)}" for kind, origins in document["masks"].items()]
    by_source = pd.DataFrame(document["by_source"])
    for name in SHOWN:
        known = by_source[(by_source["marker"] == name) & (by_source["patients"] > 0)]
        if known.empty:
            continue
        marker = document["markers"][name]
        lines += [
            "",
            f"{marker['title']} ({marker['unit']}), mean ± standard deviation (patients), by class and source",
        ]
        cells = known.assign(cell=[_cell(row) for row in _records(known)])
        table = cells.set_index(["label", "source"])["cell"].unstack(fill_value="")  # noqa: PD010 - text: nothing to pool
        classes = {row["label"]: _cell(row) for row in marker["by_class"]}
        table.insert(0, "all sources", [classes[label] for label in table.index])
        lines.append(table.rename_axis(index=None, columns=None).to_string())
    tests = pd.DataFrame(document["tests"])
    lines += ["", "Wilcoxon rank sum, Holm-corrected, pairs that differ (p < .05)"]
    lines += [f"  {title}: {_share(tests, scope)}" for scope, title in SCOPES.items()]
    lines.append(f"no departure from a normal distribution (Kolmogorov-Smirnov, p >= .05): {_normal(tests)}")
    value = document["cramers_v"]
    lines.append(f"Cramer's V of label and source: {'not defined' if value is None else format(value, '.2f')}")
    return "\n".join(lines + [f"note: {line}" for line in document["caveats"]])


def _origins(table: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Return class -> maker -> films; ``none`` for films without such a mask."""
    made = pd.crosstab(table["label"], table[column].replace("", "none"))
    return {str(label): {str(maker): int(n) for maker, n in row.items() if n} for label, row in made.iterrows()}


def _listed(origins: Mapping[str, Mapping[str, int]]) -> str:
    parts = (f"{label} " + ", ".join(f"{n} {maker}" for maker, n in row.items()) for label, row in origins.items())
    return "; ".join(parts)


def _cell(row: Mapping[str, Any]) -> str:
    mean, std = row["mean"], row["std"]
    if not row["patients"]:
        return ""
    digits = 1 if abs(mean) >= 10 else 3
    spread = "" if std is None else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread} ({row['patients']})"


def _share(tests: pd.DataFrame, scope: str) -> str:
    if tests.empty:
        return "no pair"
    ranks = tests[(tests["scope"] == scope) & (tests["test"] == RANK_SUM)]
    if ranks.empty:
        return "no pair"
    corrected, single = (int((ranks[column].astype(float) < LEVEL).sum()) for column in ("p_holm", "p_value"))
    return f"{corrected} of {len(ranks)} (each test for itself: {single})"


def _normal(tests: pd.DataFrame) -> str:
    if tests.empty:
        return "no group"
    groups = tests[tests["test"] == NORMALITY].dropna(subset=["p_value"])
    return f"{int((groups['p_value'] >= LEVEL).sum())} of {len(groups)} markers and classes"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows, None for what is not defined."""
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in record.items()} for record in records]
