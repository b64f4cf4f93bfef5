"""An empty figure, its colours, and the file that it ends in: a PNG and a CSV of what was drawn."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidcxr_tf.files import replacing, write_text

# Okabe and Ito 2008: told apart with every common form of colour blindness. Yellow is left out: too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GUIDE = "0.55"  # grey of chance and perfect-calibration lines
DPI = 150

_drawn: weakref.WeakKeyDictionary[Axes, list[pd.DataFrame]] = weakref.WeakKeyDictionary()


def colour(number: int) -> str:
    """Return the colour of the class or model with this number; the same one in every picture."""
    return COLOURS[number % len(COLOURS)]


def new_figure(rows: int = 1, columns: int = 1, width: float = 5.5, height: float = 4.8) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row; `width` and `height` are inches of one panel."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).ravel())


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write the figure as PNG and its data as CSV of the same stem, each in one step; return the path of the PNG.

    Axes that none of this module's functions drew on give the points of their lines.
    """
    target = Path(path)
    tables = [table for axes in figure.axes for table in _data_of(axes)]
    with replacing(target) as aside:
        # Without the version stamp the same data gives the same bytes.
        figure.savefig(aside, dpi=DPI, metadata={"Software": None})
    if tables:
        write_text(target.with_suffix(".csv"), pd.concat(tables, ignore_index=True).to_csv(index=False))
    return target


def remember(axes: Axes, table: pd.DataFrame) -> Axes:
    """Add a table to what `save_figure` writes as CSV for these axes, and return them."""
    _drawn.setdefault(axes, []).append(table)
    return axes


def _data_of(axes: Axes) -> list[pd.DataFrame]:
    """Return what was remembered, or the points of the lines where nothing was."""
    if axes in _drawn:
        return _drawn[axes]
    tables = []
    for line in axes.lines:
        points = np.asarray(line.get_xydata(), np.float64)
        tables.append(pd.DataFrame({"line": line.get_label(), "horizontal": points[:, 0], "vertical": points[:, 1]}))
    return tables


def holds_any(axes: Axes) -> bool:
    """Return whether something was drawn, and remembered, before."""
    return bool(_drawn.get(axes))


def forget(axes: Axes) -> None:
    """Leave these axes out of the CSV."""
    _drawn[axes] = []
