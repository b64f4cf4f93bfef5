"""The picture of a model of findings: the area of each finding with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from covidcxr_tf.report import figures
from covidcxr_tf.report.summary import format_metric


def draw_findings(metrics: Mapping[str, Any], folder: str | Path, suffix: str = "") -> list[Path]:
    """Write ``findings.png`` from what ``evaluate_findings`` returned, and its data as CSV; return the PNG's path."""
    figure, (axes,) = figures.new_figure(width=6.4, height=1.6 + 0.32 * len(metrics["classes"]))
    draw_finding_areas(metrics, axes)
    return [figures.save_figure(figure, Path(folder) / f"findings{suffix}.png")]


def draw_finding_areas(metrics: Mapping[str, Any], axes: Axes) -> Axes:
    """Draw one row a finding, the best ranked on top: area under the ROC curve and interval, films that have it."""
    per_class = metrics["per_class"]
    names = sorted(per_class, key=lambda name: -(per_class[name]["auroc"]["value"] or -1.0))
    for row, name in enumerate(names):
        area = per_class[name]["auroc"]
        if area["value"] is None:
            across = axes.get_yaxis_transform()
            axes.text(0.02, row, f"undefined: {area['why']}", transform=across, va="center", fontsize=8, color="0.4")
            continue
        if area["ci95"] is not None:
            axes.plot(area["ci95"], [row, row], color=figures.colour(0), linewidth=2)
        axes.plot(area["value"], row, "o", color=figures.colour(0), markersize=5)
    if metrics["auroc"]["value"] is not None:
        text = f"mean over {len(metrics['auroc']['over'])} findings {format_metric(metrics['auroc'])}"
        axes.axvline(metrics["auroc"]["value"], color=figures.colour(1), linestyle="--", linewidth=1.2, label=text)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    axes.axvline(0.5, color=figures.GUIDE, linestyle=":", linewidth=1)
    labels = [f"{name.replace('_', ' ')} (n = {per_class[name]['support']})" for name in names]
    axes.set_yticks(range(len(names)), labels, fontsize=9)
    lowest = min([0.5, *(per_class[n]["auroc"]["ci95"][0] for n in names if per_class[n]["auroc"]["ci95"])])
    axes.set(xlim=(max(0.0, lowest - 0.03), 1.01), ylim=(len(names) - 0.5, -0.5))
    axes.set_xlabel(f"area under the ROC curve, 95 % interval over {metrics['patients']} patients", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    rows = []
    for name in names:
        area = per_class[name]["auroc"]
        lower, upper = area["ci95"] or (np.nan, np.nan)
        rows.append((name, per_class[name]["support"], area["value"], lower, upper))
    return figures.remember(axes, pd.DataFrame(rows, columns=["finding", "films", "auroc", "lower", "upper"]))
