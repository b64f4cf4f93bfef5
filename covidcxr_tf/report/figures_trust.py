"""Pictures of how far a result can be trusted: calibration with its histogram, decision curve, subgroups.

As those of `figures`: each function takes data and an `Axes`, draws, returns it; what was drawn is remembered as CSV.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidcxr_tf.evaluate.calibration import Bins
from covidcxr_tf.evaluate.decision import DecisionCurve
from covidcxr_tf.report.figures import COLOURS, GUIDE, Metric, draw_reliability, remember
from covidcxr_tf.report.summary import format_metric

Measure = Literal["auroc", "sensitivity", "specificity"]
MEASURES: dict[Measure, str] = {"auroc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
HISTOGRAM_BINS = np.linspace(0, 1, 41)
#: Shares of the best possible net benefit down to which a decision curve is drawn: always, and at most. Near 100 % a
#: single needless action costs as much as dozens of right ones bring: drawn whole, that would flatten all the rest.
LOWEST_SHOWN, LOWEST_OF_ALL = -0.3, -1.0


def draw_calibration(
    bins: Bins,
    predicted: npt.NDArray[np.float64],
    came_true: npt.NDArray[np.bool_],
    axes: Axes,
    label: str = "",
    error: Metric | None = None,
    intervals: npt.NDArray[np.float64] | None = None,
    line: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw observed share against probability, and below it how often each probability was given.

    Parameters
    ----------
    bins : Bins
        Of these films (``calibration.reliability``).
    predicted : float64 [films]
    came_true : bool [films]
        The histogram shows films in which it came true upwards, others downwards.
    label, error
        As in ``figures.draw_reliability``.
    intervals : float64 [bins, 2], optional
        Of the observed shares (``calibration.bin_intervals``).
    line : mapping, optional
        ``calibration`` of ``metrics.json``, whose slope and intercept the legend tells.
    """
    text = [label] if label else []
    if line is not None:
        text += [f"{name} {format_metric(line[name], 2)}" for name in ("slope", "intercept")]
    draw_reliability(bins, axes, "\n".join(text), error)
    if intervals is not None:
        axes.vlines(bins.predicted, intervals[:, 0], intervals[:, 1], color=COLOURS[0], alpha=0.55, linewidth=1.2)
        columns = {"predicted": bins.predicted, "lower": intervals[:, 0], "upper": intervals[:, 1]}
        remember(axes, pd.DataFrame({"curve": "95 % interval of the observed share", **columns}))
    below = axes.inset_axes((0, -0.3, 1, 0.17))
    for side, sign, ink in ((came_true, 1, COLOURS[1]), (~came_true, -1, "0.6")):
        counts, edges = np.histogram(predicted[side], HISTOGRAM_BINS)
        below.bar(edges[:-1], sign * counts, np.diff(edges), align="edge", color=ink, linewidth=0)
        columns = {"from": edges[:-1], "to": edges[1:], "films": counts}
        remember(axes, pd.DataFrame({"curve": "came true" if sign > 0 else "did not", **columns}))
    below.axhline(0, color="black", linewidth=0.6)
    below.set(xlim=axes.get_xlim(), xlabel=axes.get_xlabel())
    below.set_ylabel("films:\ndid not | did", fontsize=7)
    below.yaxis.set_major_formatter(lambda count, _: f"{abs(count):g}")
    below.tick_params(labelsize=7)
    below.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("")
    return axes


def draw_decision(curve: DecisionCurve, axes: Axes, label: str = "") -> Axes:
    """Draw net benefit against the probability from which on one would act, with acting on all and on none."""
    origin = "stated; probabilities shifted to it" if curve.stated else "of these films"
    axes.axhline(0, color="black", linewidth=1, label="act on none")
    axes.plot(curve.act_from, curve.treat_all, color=GUIDE, linestyle="--", linewidth=1.4, label="act on all")
    axes.plot(curve.act_from, curve.model, color=COLOURS[0], linewidth=1.8, label=f"act on the model, {label}")
    columns = {"act_from": curve.act_from, "model": curve.model, "act_on_all": curve.treat_all}
    low, high = (float(side(curve.model)) for side in (np.min, np.max))
    if curve.lower is not None and curve.upper is not None:
        axes.fill_between(curve.act_from, curve.lower, curve.upper, color=COLOURS[0], alpha=0.18, linewidth=0)
        columns |= {"lower": curve.lower, "upper": curve.upper}
        low, high = min(low, float(curve.lower.min())), max(high, float(curve.upper.max()))
    bottom, top = LOWEST_SHOWN * curve.prevalence, max(1.1 * curve.prevalence, 1.03 * high)
    bottom = max(min(bottom, low - 0.03 * (top - low)), LOWEST_OF_ALL * curve.prevalence)
    axes.set(
        xlabel="probability from which on one would act",
        ylabel="net benefit (true calls a film)",
        xlim=(0, 1),
        ylim=(bottom, top),
    )
    axes.spines[["top", "right"]].set_visible(False)
    title = f"share of disease {curve.prevalence:.3g}, {origin}"
    title += "\nmore harm than the disease could do: not drawn" if low < bottom else ""
    axes.legend(title=title, frameon=False, fontsize=8, title_fontsize=8)
    return remember(axes, pd.DataFrame(columns))


def draw_forest(rows: Sequence[Mapping[str, Any]], axes: Axes, measure: Measure = "auroc", words: bool = True) -> Axes:
    """Draw one figure of each subgroup with its interval, the whole set's as a line through all.

    Parameters
    ----------
    rows : sequence of mapping
        ``subgroups.subgroup_rows``. Small groups are hollow and grey; undefined ones say so.
    axes : Axes
    measure : str
        ``"auroc"``, ``"sensitivity"`` or ``"specificity"``.
    words : bool
        Whether to write the groups beside the axis; not where a panel to the left has done so.
    """
    places, headings = _places(rows)
    for place, row in zip(places, rows, strict=True):
        metric, ink = row[measure], "0.55" if row["small"] else COLOURS[0]
        if metric["value"] is None:
            axes.text(0.02, place, "undefined", va="center", fontsize=7, color="0.45", style="italic")
            continue
        bounds = metric["ci95"] or metric.get("exact")
        if bounds:
            axes.plot(bounds, [place, place], color=ink, linewidth=1.6, solid_capstyle="butt")
        axes.plot(
            metric["value"], place, "s", color=ink, markersize=5, markerfacecolor="white" if row["small"] else ink
        )
    if rows and rows[0][measure]["value"] is not None:
        axes.axvline(rows[0][measure]["value"], color=GUIDE, linestyle=":", linewidth=1, zorder=0)
    names = [f"{row['group']}   n = {row['positives']} + {row['negatives']}" for row in rows]
    axes.set_yticks(places, names if words else [""] * len(rows), fontsize=8)
    for place, heading in headings if words else []:
        axes.annotate(
            heading,
            (-0.03, place),
            xycoords=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=8,
            weight="bold",
        )
    axes.tick_params(axis="y", length=0)
    axes.set(
        xlim=(-0.02, 1.02), ylim=(max(places, default=0) + 0.7, -0.7), xlabel=f"{MEASURES[measure]}, 95 % interval"
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    return remember(axes, _forest_table(rows, measure))


def plot_subgroups(rows: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Return a figure of all three measures side by side, groups named at the left."""
    places, _ = _places(rows)
    figure = Figure(figsize=(11, 1.6 + 0.27 * max(places, default=1)), layout="constrained")
    panels = figure.subplots(1, 3)
    for number, (axes, measure) in enumerate(zip(panels, MEASURES, strict=True)):
        draw_forest(rows, axes, measure, words=number == 0)
    note = "n = films with + without; grey and hollow: fewer than 10 patients on a side"
    figure.suptitle(f"{title}\n{note}" if title else note, fontsize=9)
    return figure


def _places(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return the height of each row and of each heading; a new column of groups begins with a heading."""
    places: list[float] = []
    headings: list[tuple[float, str]] = []
    height, column = -1.0, ""
    for row in rows:
        height += 1
        if row["by"] != column and row["by"] != "all":
            height += 0.4
            headings.append((height, str(row["by"])))
            height += 1
        column = str(row["by"])
        places.append(height)
    return places, headings


def _forest_table(rows: Sequence[Mapping[str, Any]], measure: Measure) -> pd.DataFrame:
    cells = []
    for row in rows:
        metric = row[measure]
        lower, upper = metric["ci95"] or metric.get("exact") or (None, None)
        counts = {name: row[name] for name in ("by", "group", "n", "patients", "positives", "negatives", "small")}
        cells.append(counts | {"measure": measure, "value": metric["value"], "lower": lower, "upper": upper})
    return pd.DataFrame(cells)
