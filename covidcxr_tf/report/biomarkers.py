"""Pictures of lung markers: by class with asterisks, one against another, and by source."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from covidcxr_tf.evaluate.markers import ALL, RANK_SUM, patient_means, with_source
from covidcxr_tf.lungs.biomarkers import MARKERS
from covidcxr_tf.report.figures import COLOURS, colour, new_figure, remember, save_figure

SIGNS = ("o", "^", "s", "D", "v", "P", "X")
#: Pairs of markers drawn against each other: file name, horizontal, vertical.
SCATTERS = (
    ("mean_against_std", "lung_mean", "lung_std"),
    ("patches_within_against_between", "intra_patch_std", "inter_patch_std"),
)
BRACKET_STEP = 0.07  # of the values' range, between two brackets


def draw_biomarkers(table: pd.DataFrame, tests: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write a picture of each marker that any film has, and the scatter plots, as PNG with their data as CSV.

    Parameters
    ----------
    table : DataFrame
        One row a film: patient_id, label, maybe source, and markers.
    tests : DataFrame
        From ``evaluate.markers.marker_tests``.
    folder : str or path

    Returns
    -------
    list of Path
        The PNG files.
    """
    written = []
    shown = [name for name in MARKERS if name in table and table[name].notna().any()]
    for name in shown:
        classes = len(patient_means(table, name, "label"))
        figure, (left, right) = new_figure(1, 2, width=max(4.6, 1.05 * classes + 1.4), height=5.2)
        draw_marker(table, name, left, tests)
        draw_means(table, name, right)
        figure.suptitle(MARKERS[name].title, fontsize=11)
        written.append(save_figure(figure, Path(folder) / f"{name}.png"))
    for file, horizontal, vertical in SCATTERS:
        if horizontal in shown and vertical in shown:
            figure, (left, right) = new_figure(1, 2)
            for axes, by in ((left, "label"), (right, "source")):
                draw_scatter(table, horizontal, vertical, by, axes)
                axes.set_title(f"by {'class' if by == 'label' else by}", fontsize=10)
            written.append(save_figure(figure, Path(folder) / f"{file}.png"))
    return written


def draw_marker(table: pd.DataFrame, marker: str, axes: Axes, tests: pd.DataFrame | None = None) -> Axes:
    """Draw a box of patient means for each class, each patient as a dot in the colour of the source.

    Boxes hold the quartiles, whiskers reach to the 5th and 95th percentile. With `tests`, a bracket joins each pair of
    classes that differ (Wilcoxon rank sum over all films, Holm-corrected), with the asterisks of Oh 2020.
    """
    table = with_source(table).dropna(subset=[marker])
    groups = patient_means(table, marker, "label")
    axes.boxplot(
        [means.to_numpy() for means in groups.values()],
        whis=(5, 95),
        showfliers=False,
        widths=0.6,
        medianprops={"color": "black", "linewidth": 2},
        boxprops={"color": "0.3"},
    )
    generator = np.random.default_rng(0)  # sideways scatter of the dots only
    dots = table.groupby(["label", "source", "patient_id"])[[marker]].mean().reset_index()
    for number, source in enumerate(sorted(table["source"].unique())):
        for place, label in enumerate(groups, start=1):
            values = dots.loc[(dots["label"] == label) & (dots["source"] == source), marker].to_numpy(np.float64)
            sideways = place + generator.uniform(-0.22, 0.22, len(values))
            axes.plot(sideways, values, SIGNS[number % len(SIGNS)], **_dots(number))
        axes.plot([], [], SIGNS[number % len(SIGNS)], label=source, **_dots(number, alpha=1.0))
    if tests is not None:
        _brackets(axes, list(groups), _differing(tests, marker), dots[marker].to_numpy(np.float64))
    axes.legend(title="source", fontsize=8, title_fontsize=8, framealpha=0.85, edgecolor="none", loc="best")
    _class_axis(axes, groups, marker)
    return remember(axes, dots.rename(columns={marker: "value"}).assign(marker=marker))


def draw_means(table: pd.DataFrame, marker: str, axes: Axes) -> Axes:
    """Draw mean and one standard deviation (n - 1) of each class's patient means, as Oh 2020 does (Figure 4)."""
    groups = patient_means(table, marker, "label")
    for place, means in enumerate(groups.values(), start=1):
        spread = means.std() if len(means) > 1 else None
        axes.errorbar(place, means.mean(), yerr=spread, fmt="o", color=colour(place - 1), capsize=8, markersize=7)
    axes.set_xlim(0.5, len(groups) + 0.5)
    _class_axis(axes, groups, marker)
    axes.set_title("mean and one standard deviation", fontsize=9)
    return remember(axes, pd.DataFrame())


def draw_scatter(table: pd.DataFrame, horizontal: str, vertical: str, by: str, axes: Axes) -> Axes:
    """Draw one marker against another, a dot a patient, with each group's mean as a large sign.

    Parameters
    ----------
    table : DataFrame
    horizontal, vertical : str
        Markers.
    by : "label" or "source"
        What the colours stand for.
    """
    known = with_source(table).dropna(subset=[horizontal, vertical])
    dots = known.groupby([by, "patient_id"], sort=True)[[horizontal, vertical]].mean().reset_index()
    for number, (name, part) in enumerate(dots.groupby(by, sort=True)):
        sign = SIGNS[number % len(SIGNS)]
        axes.plot(part[horizontal], part[vertical], sign, **_dots(number))
        centre = part[[horizontal, vertical]].mean()
        label = f"{name} (n = {len(part)})"
        axes.plot(*centre, sign, color=colour(number), markersize=11, markeredgecolor="white", label=label)
    axes.set(xlabel=_quantity(horizontal), ylabel=_quantity(vertical))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.85, edgecolor="none")
    return remember(axes, dots.rename(columns={by: "group"}).assign(by=by))


def _dots(number: int, alpha: float = 0.5) -> dict[str, Any]:
    face = COLOURS[number % len(COLOURS)]
    return {"color": face, "alpha": alpha, "markersize": 4, "markeredgewidth": 0, "linewidth": 0}


def _differing(tests: pd.DataFrame, marker: str) -> list[tuple[str, str, str]]:
    """Return first, second and asterisks of the pairs of classes that differ over all films."""
    ranks = tests[(tests["scope"] == ALL) & (tests["test"] == RANK_SUM) & (tests["marker"] == marker)]
    marked = ranks[ranks["stars_holm"].str.startswith("*")]
    return list(marked[["first", "second", "stars_holm"]].itertuples(index=False, name=None))


def _brackets(
    axes: Axes, classes: Sequence[str], pairs: list[tuple[str, str, str]], values: npt.NDArray[np.float64]
) -> None:
    """Draw a bracket with asterisks for each pair, narrow ones first, so that they cross as little as can be."""
    places = {name: place for place, name in enumerate(classes, start=1)}
    ends = [(places[first], places[second], stars) for first, second, stars in pairs]  # first comes before second
    reach = float(np.ptp(values)) or 1.0
    for level, (left, right, stars) in enumerate(sorted(ends, key=lambda end: (end[1] - end[0], end[0])), start=1):
        height = float(values.max()) + level * BRACKET_STEP * reach
        foot = height - 0.2 * BRACKET_STEP * reach
        axes.plot([left, left, right, right], [foot, height, height, foot], color="0.3", linewidth=0.9)
        axes.text((left + right) / 2, height, stars, ha="center", va="baseline", fontsize=9)
    note = "Wilcoxon rank sum, Holm-corrected: *** p < .001, ** p < .01, * p < .05"
    axes.set_title(note if ends else f"{note}\nno pair differs", fontsize=7)


def _class_axis(axes: Axes, groups: dict[str, pd.Series], marker: str) -> None:
    names = [f"{textwrap.fill(name.replace('_', ' '), 12)}\nn = {len(means)}" for name, means in groups.items()]
    axes.set_xticks(range(1, len(groups) + 1), names, fontsize=8)
    axes.set(ylabel=_quantity(marker))
    axes.spines[["top", "right"]].set_visible(False)


def _quantity(marker: str) -> str:
    return f"{MARKERS[marker].title}\n({MARKERS[marker].unit})"
