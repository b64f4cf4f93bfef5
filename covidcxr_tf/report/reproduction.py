"""The picture of a reproduction: printed against measured, one row a number, one panel a unit.

Printed bounds ("< 0.001") have a panel of their own, on a logarithmic axis: beside shares they would all lie at 0.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidcxr_tf.report.figures import COLOURS, GUIDE, remember, save_figure

ROW_HEIGHT = 0.36  # inches; two lines of text
PANEL_HEIGHT = 0.75  # inches of a panel's axis and its distance to the next
LABEL_WIDTH = 62  # characters a line
UNITS = {"1": "share or pure number", "%": "per cent"}
BOUND = ", printed as a bound"
SIGNS = "<>≤≥"
COUNTS = "films"  # the paper's set and ours differ in size: side by side, their counts would show that alone
DATA = ("fact", "experiment", "unit", "printed", "printed_ci95_low", "printed_ci95_high", "measured", "ci95_low",
        "ci95_high", "interval")  # fmt: skip


def draw_reproduction(table: pd.DataFrame, path: str | Path, title: str) -> Path:
    """Draw the printed numbers that were measured, and return the path of the PNG; a CSV lies beside it.

    Parameters
    ----------
    table : DataFrame
        ``table.csv`` of a reproduction. Rows without a printed or without a measured number are left out, and so are
        counts of films; how many is said below the title.
    path : str or path
        The PNG.
    title : str
        First line above the panels.
    """
    printed = table[table["printed"].notna()]
    measured = printed["measured"].notna()
    shown = printed[measured & printed["unit"].ne(COUNTS)]
    panel = np.array([_panel(*row) for row in zip(shown["unit"], shown["printed_text"], strict=True)], dtype=object)
    names: list[str] = list(dict.fromkeys(panel))
    heights = [max(int((panel == name).sum()), 1) for name in names] or [2]
    inches = ROW_HEIGHT * sum(heights) + PANEL_HEIGHT * len(heights) + 0.8
    figure = Figure(figsize=(11, inches), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights))
    for name, axes in zip(names, panels, strict=False):
        draw_agreement(shown[panel == name], axes, name)
        if name.endswith(BOUND) and (shown[panel == name][["printed", "measured"]] > 0).to_numpy().all():
            axes.set_xscale("log")
    if not names:
        panels[0].set_axis_off()
        panels[0].text(0.5, 0.5, "nothing could be measured: table.csv says why", ha="center", va="center")
        remember(panels[0], shown[list(DATA)])
    else:
        # Above the panel: inside, it would lie on somebody's number.
        panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    parts = [f"{len(shown)} of {len(printed)} printed numbers"]
    counts, left_out = int(measured.sum()) - len(shown), int((~measured).sum())
    parts += [f"{counts} counts of films stand in table.csv, with their shares"] if counts else []
    parts += [f"{left_out} not run (table.csv says why)"] if left_out else []
    figure.suptitle(f"{title}\n{', '.join(parts)}", fontsize=10)
    return save_figure(figure, path)


def draw_agreement(rows: pd.DataFrame, axes: Axes, unit: str = "") -> Axes:
    """Draw rows of one unit from top to bottom: the printed number as a diamond, the measured one as a dot.

    A thin line is the interval of either; grey bands tell the experiments apart.

    Parameters
    ----------
    rows : DataFrame
        Columns of ``table.csv``, every `printed` and `measured` filled in.
    unit : str
        Name of the horizontal axis.
    """
    places = np.arange(len(rows))
    band = rows["experiment"].ne(rows["experiment"].shift()).cumsum().to_numpy()
    for place in places[band % 2 == 0]:
        axes.axhspan(place - 0.5, place + 0.5, color="0.95", linewidth=0)
    for value, low, high, colour, marker, name, up in (
        ("printed", "printed_ci95_low", "printed_ci95_high", COLOURS[1], "D", "printed", -0.14),
        ("measured", "ci95_low", "ci95_high", COLOURS[0], "o", "measured", 0.14),
    ):
        numbers = rows[[value, low, high]].to_numpy(np.float64)
        axes.hlines(places + up, numbers[:, 1], numbers[:, 2], color=colour, linewidth=1.4)
        axes.plot(
            numbers[:, 0],
            places + up,
            marker,
            color=colour,
            markerfacecolor="white" if name == "printed" else colour,
            markersize=5,
            label=name,
        )
    axes.hlines(places, rows["printed"], rows["measured"], color=GUIDE, linewidth=0.6, linestyle=":")
    columns = zip(rows["what"], rows["printed_text"], rows["locator"], strict=True)
    texts = [f"{what}{f' {text}' if text[0] in SIGNS else ''} [{place}]" for what, text, place in columns]
    axes.set_yticks(places, [textwrap.fill(_shortened(text), LABEL_WIDTH) for text in texts], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return remember(axes, rows[list(DATA)])


def _panel(unit: str, printed: str) -> str:
    return UNITS.get(unit, unit) + (BOUND if printed[0] in SIGNS else "")


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * LABEL_WIDTH - 8 else f"{text[: 2 * LABEL_WIDTH - 11]}..."
