"""Metrics as text: one number with its interval, and the lines that a command prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Metric = Mapping[str, Any]
# In the order in which they are printed; an area over mixed sources comes after the ones within a source.
OVERALL = {
    "auroc": "AUC",
    "auprc": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
}
OVERLAPS = {"dice": "Dice", "jaccard": "Jaccard"}
SPLITS = ("validation", "test")
FEW_FILMS = 30  # percentile intervals of a share are known to be too narrow below


def format_metric(metric: Metric | None, digits: int = 3) -> str:
    """Return ``"0.912 (0.880 to 0.941)"``, ``"0.912 (no interval: why)"`` or ``"undefined: why"``."""
    if metric is None or metric.get("value") is None:
        return f"undefined: {(metric or {}).get('why', 'not computed')}"
    if metric.get("ci95") is None:
        return f"{metric['value']:.{digits}f} (no interval: {metric.get('why', 'not computed')})"
    lower, upper = metric["ci95"]
    return f"{metric['value']:.{digits}f} ({lower:.{digits}f} to {upper:.{digits}f})"


def summary_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name, value with interval) of the figures that a reader should see first.

    Parameters
    ----------
    metrics : mapping
        ``metrics.json`` of a classifier or of masks; or several of these under ``validation`` and ``test``.
    """
    if "n" not in metrics:
        parts = [split for split in SPLITS if split in metrics]
        return [(f"{split}: {name}", text) for split in parts for name, text in summary_rows(metrics[split])]
    rows = [("films, patients", f"{metrics['n']}, {metrics['patients']}")]
    if metrics.get("task") == "multilabel":
        rows += _finding_rows(metrics)
    elif "classes" in metrics:
        rows += _classification_rows(metrics)
    for key, name in OVERLAPS.items():
        if key in metrics:
            shown = metrics[key]
            rows.append((name, f"{format_metric(shown)}, median {shown['median']:.3f}, 5th pct. {shown['p05']:.3f}"))
    for organ, entry in metrics.get("by_class", {}).items():
        if entry["n"]:
            rows += [(f"{OVERLAPS[key]}, {organ}", format_metric(entry[key])) for key in OVERLAPS if key in entry]
    return rows


def summarise(metrics: Mapping[str, Any]) -> str:
    """Return `summary_rows` as aligned lines, with a warning where sources and classes go together."""
    rows = summary_rows(metrics)
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join(lines + [f"note: {line}" for line in caveats(metrics)])


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what the numbers themselves say against taking them at face value."""
    found = []
    within = metrics.get("within_source", {})
    both = [name for name, metric in within.items() if metric.get("value") is not None]
    if len(within) > 1 and len(both) < len(within):
        instead = f"read those within {', '.join(both)}" if both else "no source allows a figure of its own"
        found.append(
            f"{len(within) - len(both)} of {len(within)} sources do not hold both {metrics['positive']} and other "
            f"films: the pooled figures partly tell hospitals apart; {instead}"
        )
    if within and set(within) == {"unknown"}:
        found.append("the films' source is not given: whether the model tells hospitals apart cannot be seen here")
    left_out = metrics.get("auroc", {}).get("left_out", [])
    if left_out:
        found.append(f"the mean over findings leaves out {', '.join(left_out)}, which cannot be ranked here")
    if metrics.get("unknown"):
        found.append(f"films left out, as their findings are not known: {metrics['unknown']}")
    support = [entry["support"] for entry in metrics.get("per_class", {}).values()]
    if support and 0 < min(support) < FEW_FILMS:
        found.append(f"the smallest class has {min(support)} films: its figures are uncertain beyond their intervals")
    return found


def _finding_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (f"AUC of {name}", f"{format_metric(found['auroc'])}, n = {found['support']} against {found['rest']}")
        for name, found in metrics["per_class"].items()
    ]
    means = {key: f"{OVERALL[key]}, mean over findings" for key in ("auroc", "auprc")}
    return rows + [(name, format_metric(metrics[key])) for key, name in means.items()]


def _classification_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    positive, binary = metrics["positive"], len(metrics["classes"]) == 2
    if metrics.get("threshold") is not None:
        called = f"{positive} from {metrics['threshold']:.4g} on, {metrics['threshold_from']}"
        if metrics.get("threshold_ci95"):
            called += "; other patients would have put it from {:.4g} to {:.4g}".format(*metrics["threshold_ci95"])
    else:
        origin = metrics.get("threshold_from", "argmax")
        called = "most probable class" if origin == "argmax" else origin
    rows = [("called", called)]
    for source, metric in metrics.get("within_source", {}).items():
        if metric.get("value") is not None:
            counts = f"n = {metric['positives']} against {metric['rest']}"
            rows.append((f"AUC of {positive} within {source}", f"{format_metric(metric)}, {counts}"))
    for key, name in OVERALL.items():
        several = len(metrics.get("by_source", {})) > 1 and metrics[key]["value"] is not None
        pooled = ", all sources pooled" if key == "auroc" and several else ""
        kind = ", mean over classes" if key in ("auroc", "auprc") and not binary else ""
        rows.append((f"{name}{kind}", format_metric(metrics[key]) + pooled + _less_noise(metrics[key])))
    calibration = metrics.get("calibration", {})
    shown = [key for key in ("slope", "intercept") if key in calibration]
    rows += [(f"calibration {key}", format_metric(calibration[key], 2)) for key in shown]
    for name in [positive] if binary else metrics["classes"]:
        for metric in ("sensitivity", "specificity"):
            rows.append((f"{metric} for {name}", format_metric(metrics["per_class"][name][metric])))
    return rows + _predictive_rows(metrics)


def _less_noise(metric: Metric) -> str:
    """Return what is left of a calibration error without the noise that few films put into its bins."""
    return f", {metric['debiased']:.3f} less the noise of its bins" if metric.get("debiased") is not None else ""


def _predictive_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return PPV and NPV at the stated prevalence of each cut-off, where one was stated."""
    share = metrics.get("prevalence")
    points = [] if share is None else metrics["operating_points"]
    return [
        (f"{name.upper()} from {point['threshold']:.4g} on, prevalence {share:g}", format_metric(point[name]))
        for point in points
        for name in ("ppv", "npv")
    ]
