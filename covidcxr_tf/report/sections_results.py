"""Chapters on how the model did: what is left without shortcuts first, then the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidcxr_tf.report.blocks import (
    Bar,
    Bars,
    Block,
    Confusion,
    Folded,
    Missing,
    Pictures,
    Section,
    Table,
    Text,
)
from covidcxr_tf.report.pictures import result_pictures
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.summary import FEW_FILMS, OVERALL, format_metric, summary_rows

Metrics = Mapping[str, Any]
EVALUATE = "covidcxr evaluate --model RUN --data MANIFEST --split test --out RUN/evaluation"
AUDIT = "covidcxr audit --model RUN --data MANIFEST --out RUN/audit"
#: Checks of the audit that belong beside an area, and what an honest model gives there.
BESIDE = {
    "lungs_hidden": "with the lungs blacked out",
    "border_only": "from the border of the films alone",
    "border_trained": "learned by a simple model from borders alone",
    "metadata_only": "from age, sex, view and file type alone",
}
PER_CLASS = ("sensitivity", "specificity", "precision", "f1", "auroc", "auprc")
HEADS = {"precision": "precision (PPV)", "f1": "F1", "auroc": "AUC", "auprc": "average precision"}
FEW = 10  # films on the smaller side of an area, below which it is marked


def result_section(run: RunFolder) -> Section:
    """Return the figures of the test films (of the validation films where there are no others)."""
    title = "Results"
    if run.judged is None:
        return Section("results", title, [Missing("No figures: the model has not been judged.", EVALUATE)])
    split, metrics = run.judged
    blocks: list[Block] = [Text(_said(run, split, metrics))]
    if split != "test":
        words = "No test predictions: these are validation films, which chose epoch and cut-off, so they flatter."
        blocks.append(Missing(words, EVALUATE))
    if "classes" not in metrics:
        blocks.append(Table("Overlap with drawn masks", ("figure", "value (95 % interval)"), summary_rows(metrics)))
    elif metrics.get("task") == "multilabel":
        blocks += _findings(metrics)
    else:
        blocks += [honest_bars(run, metrics), *_reading(run, metrics), _overall(metrics), _per_class(metrics)]
        caption = f"Films of the {split} set by true class (rows) and class called (columns)"
        blocks.append(Confusion(caption, metrics["classes"], metrics["confusion"]))
        blocks.append(_by_source(metrics))
    pictures = result_pictures(run, split, metrics)
    blocks += [Pictures(pictures)] if pictures else []
    if split not in run.predictions:
        blocks.append(
            Missing(f"No predictions of the {split} films: curves, subgroups and errors need them.", EVALUATE)
        )
    if split == "test" and "validation" in run.metrics:
        rows = summary_rows(run.metrics["validation"])
        blocks.append(Folded("Validation films", [Table("Validation films", ("figure", "value"), rows)]))
    return Section("results", title, blocks)


def honest_bars(run: RunFolder, metrics: Metrics) -> Bars:
    """Return the area within each source, then the pooled one beside what needs no lungs."""
    positive, rows = metrics["positive"], []
    within = metrics.get("within_source", {})
    for source, metric in within.items():
        if metric.get("value") is None:
            continue
        counts = f"n = {metric['positives']} against {metric['rest']}"
        few = min(metric["positives"], metric["rest"]) < FEW
        note = counts + (f"; fewer than {FEW} films on a side: hardly a figure" if few else "")
        rows.append(_bar(f"within {source}", metric, note, "few" if few else "first"))
    if not rows:
        why = "no source holds both" if within else "no source is given"
        rows.append(Bar("within one source", None, None, "undefined", f"{why} {positive} and other films", "first"))
    pooled = metrics["per_class"][positive]["auroc"]
    rows.append(
        _bar("all sources pooled", pooled, "may partly tell hospitals apart" if len(within) > 1 else "", "pooled")
    )
    for finding in (run.audit or {}).get("findings", []):
        if finding["name"] in BESIDE and finding["value"] is not None:
            note = "audit; near 0.5 is right" + ("" if audit_is_of(run) is not False else "; of another model file")
            rows.append(_bar(BESIDE[finding["name"]], finding, note, "shortcut"))
    return Bars(
        f"AUC of {positive} against the rest: without help of the hospital first, then pooled, then without any lung",
        rows,
        legend="0.5, the thin line: chance. Thick line: 95 % interval over patients.",
    )


def audit_is_of(run: RunFolder) -> bool | None:
    """Return whether the audit is of this very model file; None where that cannot be told."""
    asked = (run.audit or {}).get("model", {}).get("sha256")
    own = (run.card or {}).get("model", {}).get("sha256")
    return None if not asked or not own else bool(asked == own)


def _bar(label: str, metric: Metrics, note: str, tone: str) -> Bar:
    bounds = metric.get("ci95")
    interval = (float(bounds[0]), float(bounds[1])) if bounds else None
    return Bar(label, metric["value"], interval, format_metric(metric), note, tone)


def _reading(run: RunFolder, metrics: Metrics) -> list[Block]:
    """Return a sentence where the pooled area cannot be believed, and what an audit would add."""
    blocks: list[Block] = []
    pooled = metrics["per_class"][metrics["positive"]]["auroc"]
    lower = (pooled.get("ci95") or [None])[0]
    for source, metric in metrics.get("within_source", {}).items():
        if lower is not None and metric.get("value") is not None and metric["value"] < lower:
            words = (
                f"Within {source}, where the hospital cannot help, the area is {metric['value']:.3f}; pooled over "
                f"sources it seems to be {pooled['value']:.3f}. "
            )
            small = min(metric["positives"], metric["rest"]) < FEW
            few = "With so few films inside one source, nobody knows whether the model tells the disease."
            blocks.append(Text(words + (few if small else "The first one is the one to believe."), "warn"))
    if run.audit is None:
        words = "No audit: what border, hidden lungs and metadata alone reach does not stand beside the pooled figures."
        blocks.append(Missing(words, AUDIT))
    return blocks


def _said(run: RunFolder, split: str, metrics: Metrics) -> str:
    boot = metrics.get("bootstrap", {})
    how = f"{boot.get('resamples')} resamples of patients, seed {boot.get('seed')}" if boot else "over patients"
    origin = "" if split != "test" or run.metrics_from == "metrics.json" else f" (from {run.metrics_from})"
    return f"{metrics['n']} {split} films of {metrics['patients']} patients{origin}. Intervals: 95 %, {how}."


def _overall(metrics: Metrics) -> Table:
    rows = []
    for key, name in OVERALL.items():
        metric = metrics.get(key)
        if metric is not None:
            rows.append((name, format_metric(metric), str(metric.get("kind", ""))))
    note = " ".join(sorted({str(metrics[key]["note"]) + "." for key in OVERALL if metrics.get(key, {}).get("note")}))
    return Table("All sources pooled", ("figure", "value (95 % interval)", "what it is"), rows, note=note)


def _per_class(metrics: Metrics) -> Table:
    rows = []
    for name, found in metrics["per_class"].items():
        rows.append((name, str(found["support"]), *(format_metric(found[key]) for key in PER_CLASS)))
    head = ("class", "films", *(HEADS.get(key, key) for key in PER_CLASS))
    return Table("Each class against the rest", head, rows, (1,))


def _by_source(metrics: Metrics) -> Table:
    rows = []
    for source, found in metrics.get("by_source", {}).items():
        support = ", ".join(f"{count} {label}" for label, count in found.get("support", {}).items() if count)
        within = metrics.get("within_source", {}).get(source, found.get("auroc"))
        cells = [format_metric(found.get(key)) for key in ("accuracy", "sensitivity", "specificity") if key in found]
        rows.append((source, str(found["n"]), str(found["patients"]), support, format_metric(within), *cells))
    head = ["source", "films", "patients", "labels", f"AUC of {metrics['positive']} inside", "accuracy"]
    some: Metrics = next(iter(metrics.get("by_source", {}).values()), {})
    head += [f"{key} for {metrics['positive']}" for key in ("sensitivity", "specificity") if key in some]
    return Table("Each source by itself", head, rows, (1, 2))


def _findings(metrics: Metrics) -> list[Block]:
    areas = ("auroc", "auprc")
    rows = [
        (name.replace("_", " "), str(found["support"]), str(found["rest"]), *(format_metric(found[k]) for k in areas))
        for name, found in metrics["per_class"].items()
    ]
    means = [(OVERALL[key], format_metric(metrics[key]), str(metrics[key].get("kind", ""))) for key in areas]
    head = ("finding", "films with", "without", "AUC", "average precision")
    return [
        Table("Mean over findings", ("figure", "value (95 % interval)", "what it is"), means),
        Table("Each finding against its absence", head, rows, (1, 2)),
    ]


def few_films(metrics: Metrics) -> bool:
    """Return whether the smallest class is too small for its intervals."""
    support: Sequence[int] = [entry["support"] for entry in metrics.get("per_class", {}).values()]
    return bool(support) and min(support) < FEW_FILMS
