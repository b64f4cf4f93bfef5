"""The chapter on the films: where they come from, how they are split, and whether source and label go together."""

from __future__ import annotations

import pandas as pd

from covidcxr_tf.data.check import cramers_v, label_by_source
from covidcxr_tf.evaluate.table import sources
from covidcxr_tf.report.blocks import Block, Facts, Missing, Section, Table, Text
from covidcxr_tf.report.card import SYNTHETIC
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.sections_model import in_words
from covidcxr_tf.report.summary import caveats


def data_section(run: RunFolder) -> Section:
    """Return the films by label, source and split; what confounds them first."""
    blocks: list[Block] = []
    if run.synthetic:
        blocks.append(Text(SYNTHETIC, "warn"))
    if run.split is not None:
        blocks += [Text(line, "warn") for line in _association(run.split)]
    if run.judged is not None:
        blocks += [Text(f"{line[:1].upper()}{line[1:]}.", "warn") for line in caveats(run.judged[1])]
    data = {key: run.names.setting(value) for key, value in (run.card or {}).get("data", {}).items()}
    blocks += [Facts([(key, in_words(value)) for key, value in data.items()])] if data else []
    if run.split is None:
        blocks.append(
            Missing("No split.csv: which film was in which split is not known.", "covidcxr train --out RUN ...")
        )
        return Section("data", "Data and split", blocks)
    split = run.split
    blocks.append(_counts(split))
    blocks.append(_by_source(split))
    blocks.append(Text(_disjoint(split)))
    taken = (run.card or {}).get("facts", {}).get("class_labels") or {}
    merged = {name: labels for name, labels in taken.items() if list(labels) != [name]}
    if merged:
        rows = [(name, ", ".join(labels)) for name, labels in merged.items()]
        blocks.append(Table("Labels that a class takes in", ("class", "labels of the manifest"), rows))
    return Section("data", "Data and split", blocks)


def _association(split: pd.DataFrame) -> list[str]:
    films = split.assign(source=sources(split))
    value = cramers_v(label_by_source(films))
    if value is None:
        return []
    return [
        f"Label and source go together with Cramér's V = {value:.2f} (0: independent, 1: the source is the label) over "
        f"all {len(split)} films: {_reading(value)}"
    ]


def _reading(value: float) -> str:
    if value >= 0.6:
        return "a model can score well by telling hospitals apart. Read figures within one source first."
    if value >= 0.3:
        return "a moderate association; read figures within one source beside the pooled ones."
    return "a weak association."


def _counts(split: pd.DataFrame) -> Table:
    """Return films and patients by split and label, over sources."""
    films = split.assign(source=sources(split))
    places = list(dict.fromkeys(sorted(films["source"])))
    rows = []
    for part in _splits(split):
        for label in sorted(set(films["label"])):
            cell = films[(films["split"] == part) & (films["label"] == label)]
            shown = [_films(cell[cell["source"] == place]) for place in places]
            rows.append((part, label, *shown, _films(cell)))
        of_part = films[films["split"] == part]
        rows.append((part, "all", *(_films(of_part[of_part["source"] == place]) for place in places), _films(of_part)))
    return Table(
        "Films (patients) by split, label and source",
        ("split", "label", *places, "all sources"),
        rows,
        tuple(range(2, len(places) + 3)),
        "An empty cell: no film. A source with one label only cannot show whether the model tells the disease.",
    )


def _by_source(split: pd.DataFrame) -> Table:
    films = split.assign(source=sources(split))
    rows = []
    for place, group in films.groupby("source"):
        labels = group["label"].value_counts()
        share = ", ".join(f"{label} {count / len(group):.0%}" for label, count in labels.items())
        rows.append((str(place), str(len(group)), str(group["patient_id"].nunique()), share))
    return Table("What each source gives", ("source", "films", "patients", "labels"), rows, (1, 2))


def _disjoint(split: pd.DataFrame) -> str:
    several = split.groupby("patient_id")["split"].nunique()
    shared = int((several > 1).sum())
    patients = split["patient_id"].nunique()
    if set(split["split"]) == {"test"} and "fold" in split:
        return f"Cross-validation: each of {patients} patients is tested on once, in one fold."
    if shared:
        return f"{shared} of {patients} patients stand in more than one split: figures on test films are too good."
    return f"No patient stands in more than one split ({patients} patients)."


def _splits(split: pd.DataFrame) -> list[str]:
    present = set(split["split"])
    return [part for part in ("train", "validation", "test") if part in present] + sorted(
        present - {"train", "validation", "test"}
    )


def _films(group: pd.DataFrame) -> str:
    return f"{len(group)} ({group['patient_id'].nunique()})" if len(group) else ""
