"""Pictures of results: each function takes data and an `Axes`, draws, and returns the `Axes`.

What was drawn is remembered, and `save_figure` writes it as CSV beside the PNG. Matplotlib's object interface only:
no pyplot, no window, nothing global.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from covidcxr_tf.evaluate.calibration import Bins
from covidcxr_tf.evaluate.roc import Band, Curve
from covidcxr_tf.report.canvas import COLOURS, DPI, GUIDE, colour, holds_any, new_figure, remember, save_figure
from covidcxr_tf.report.figures_history import plot_history
from covidcxr_tf.report.summary import format_metric

__all__ = [
    "COLOURS", "DPI", "GUIDE", "Corner", "Metric", "colour", "draw_confusion", "draw_overlap_boxes",
    "draw_overlap_histogram", "draw_precision_recall", "draw_reliability", "draw_roc", "new_figure", "plot_history",
    "remember", "save_figure",
]  # fmt: skip

Metric = Mapping[str, Any]
Corner = Literal["lower right", "lower left", "best"]


def draw_confusion(counts: npt.NDArray[np.int64], classes: Sequence[str], axes: Axes) -> Axes:
    """Draw counts int64 [true, called] with each cell's share of its row (the true class)."""
    counts = np.asarray(counts)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        share = f"\n{shares[row, column]:.0%}" if support[row, 0] else ""
        ink = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, f"{counts[row, column]}{share}", ha="center", va="center", color=ink)
    names = [textwrap.fill(name.replace("_", " "), 14) for name in classes]
    axes.set_xticks(range(len(classes)), names)
    axes.set_yticks(range(len(classes)), [f"{name}\n(n = {n})" for name, n in zip(names, support[:, 0], strict=True)])
    axes.set(xlabel="called", ylabel="true class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    cells = [(a, b, counts[i, j]) for i, a in enumerate(classes) for j, b in enumerate(classes)]
    return remember(axes, pd.DataFrame(cells, columns=["true", "called", "films"]))


def draw_roc(
    curve: Curve | None,
    axes: Axes,
    label: str = "",
    area: Metric | None = None,
    band: Band | None = None,
    line_colour: str = COLOURS[0],
) -> Axes:
    """Draw an ROC curve; call again on the same axes for the next one.

    Parameters
    ----------
    curve : Curve or None
        From ``evaluate.roc.roc_points``; None leaves only the legend entry, with the reason in `area`.
    label : str
        Whose curve it is.
    area : metric, optional
        The area with its interval, for the legend.
    band : Band, optional
        Pointwise 95 % band.
    """
    text = _legend(label, "AUC", area, curve)
    if not holds_any(axes):
        axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
    if curve is None:
        axes.plot([], [], color=line_colour, label=text)
    else:
        axes.plot(curve.horizontal, curve.vertical, color=line_colour, linewidth=1.8, label=text)
        remember(axes, _curve_table(curve, label, "one_minus_specificity", "sensitivity"))
    if band is not None:
        axes.fill_between(band.horizontal, band.lower, band.upper, color=line_colour, alpha=0.18, linewidth=0)
        columns = {"one_minus_specificity": band.horizontal, "lower": band.lower, "upper": band.upper}
        remember(axes, pd.DataFrame({"curve": f"{label} 95 % band".strip(), **columns}))
    return _unit_square(axes, "1 - specificity", "sensitivity", "lower right")


def draw_precision_recall(
    curve: Curve | None, axes: Axes, label: str = "", area: Metric | None = None, line_colour: str = COLOURS[0]
) -> Axes:
    """Draw a precision-recall curve and, dotted, the share of positives: the precision of calling every film."""
    text = _legend(label, "average precision", area, curve)
    if curve is None:
        axes.plot([], [], color=line_colour, label=text)
    else:
        share = curve.positives / (curve.positives + curve.negatives)
        axes.axhline(share, color=line_colour, linestyle=":", linewidth=1)
        # Precision is known at each cut-off only; a straight line between two of them would flatter.
        axes.step(curve.horizontal, curve.vertical, where="post", color=line_colour, linewidth=1.8, label=text)
        remember(axes, _curve_table(curve, label, "recall", "precision"))
    return _unit_square(axes, "recall (sensitivity)", "precision", "lower left")


def draw_reliability(
    bins: Bins, axes: Axes, label: str = "", error: Metric | None = None, line_colour: str = COLOURS[0]
) -> Axes:
    """Draw observed share against mean predicted probability in bins of equal mass; below the line: overconfident."""
    if not holds_any(axes):
        axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
    parts = [label] if label else []
    parts += [f"ECE {format_metric(error)}"] if error is not None else []
    parts.append(f"n = {bins.count.sum()} in {len(bins.count)} bins")
    axes.plot(bins.predicted, bins.observed, "o-", color=line_colour, markersize=4, label="\n".join(parts))
    columns = {"predicted": bins.predicted, "observed": bins.observed, "films": bins.count}
    remember(axes, pd.DataFrame({"curve": label, **columns}))
    return _unit_square(axes, "mean predicted probability", "observed share", "best")  # the bins may lie on any side


def draw_overlap_histogram(
    values: npt.NDArray[np.float64], axes: Axes, name: str = "Dice", summary: Metric | None = None
) -> Axes:
    """Draw the distribution of an overlap over films; `summary` is its entry in ``metrics.json``."""
    values = np.asarray(values, np.float64)
    lowest = min(0.9, np.floor(values.min() * 20) / 20) if len(values) else 0.0
    axes.hist(values, bins=np.linspace(lowest, 1, 31).tolist(), color=COLOURS[0], edgecolor="white", linewidth=0.4)
    if summary is not None:
        text = f"mean {format_metric(summary)}\n5th percentile {summary['p05']:.3f}"
        axes.axvline(summary["value"], color=COLOURS[1], label=f"{text}\nn = {len(values)}")
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    axes.set(xlabel=f"{name} of a film", ylabel="films", xlim=(lowest, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return remember(axes, pd.DataFrame({name.lower(): values}))


def draw_overlap_boxes(groups: Mapping[str, npt.NDArray[np.float64]], axes: Axes, name: str = "Dice") -> Axes:
    """Draw one box a group (source): quartiles, whiskers at the 5th and 95th percentile, every film as a dot."""
    generator = np.random.default_rng(0)  # sideways scatter of the dots only
    axes.boxplot(
        list(groups.values()),
        whis=(5, 95),
        showfliers=False,
        widths=0.6,
        medianprops={"color": COLOURS[1], "linewidth": 2},
        boxprops={"color": "0.3"},
    )
    for place, values in enumerate(groups.values(), start=1):
        sideways = place + generator.uniform(-0.2, 0.2, len(values))
        axes.plot(sideways, values, ".", color=COLOURS[0], alpha=0.35, markersize=4, linewidth=0)
    names = [f"{textwrap.fill(group, 14)}\nn = {len(values)}" for group, values in groups.items()]
    axes.set_xticks(range(1, len(groups) + 1), names)
    axes.set(ylabel=f"{name} of a film")
    axes.spines[["top", "right"]].set_visible(False)
    rows = [(group, float(value)) for group, values in groups.items() for value in values]
    return remember(axes, pd.DataFrame(rows, columns=["group", name.lower()]))


def _legend(label: str, quantity: str, area: Metric | None, curve: Curve | None) -> str:
    parts = [label] if label else []
    if area is not None:
        parts.append(f"{quantity} {format_metric(area)}")
    if curve is not None:
        parts.append(f"n = {curve.positives} against {curve.negatives}")
    return "\n".join(parts)


def _curve_table(curve: Curve, label: str, horizontal: str, vertical: str) -> pd.DataFrame:
    columns = {horizontal: curve.horizontal, vertical: curve.vertical, "threshold": curve.thresholds}
    return pd.DataFrame({"curve": label, **columns})


def _unit_square(axes: Axes, horizontal: str, vertical: str, legend: Corner) -> Axes:
    axes.set(xlabel=horizontal, ylabel=vertical, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        # A nearly opaque ground: curves of several classes can run behind the text.
        axes.legend(loc=legend, framealpha=0.85, edgecolor="none", fontsize=8)
    return axes
