"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from covidcxr_tf.report.canvas import colour, forget, remember


def plot_history(history: pd.DataFrame, figure: Figure) -> Figure:
    """Draw loss, score, learning rate and epoch time into an empty figure, and return it.

    Parameters
    ----------
    history : DataFrame
        ``history.csv``: epoch, loss, val_loss, any scores, learning_rate, seconds, films_per_second.
    """
    for axes, draw in zip(figure.subplots(2, 2).ravel(), (draw_loss, draw_score, draw_rate, draw_time), strict=True):
        draw(history, axes)
    for axes in figure.axes:
        forget(axes)  # the four panels show one table: it is written once
    remember(figure.axes[0], history)
    return figure


def draw_loss(history: pd.DataFrame, axes: Axes) -> Axes:
    """Draw training and validation loss over epochs; a dot marks the best validation loss."""
    _draw_epochs(history, [name for name in history.columns if str(name).endswith("loss")], axes, "loss")
    if "val_loss" in history and history["val_loss"].notna().any():
        best = int(np.nanargmin(history["val_loss"].to_numpy(np.float64)))
        axes.plot(history["epoch"].iloc[best], history["val_loss"].iloc[best], "o", color="black", markersize=5)
    return axes


def draw_score(history: pd.DataFrame, axes: Axes) -> Axes:
    """Draw every other numeric column over epochs: the task's scores."""
    others = ("epoch", "learning_rate", "seconds", "films_per_second")
    scores = [
        name
        for name in history.select_dtypes("number").columns
        if name not in others and not str(name).endswith("loss")
    ]
    return _draw_epochs(history, scores, axes, "score")


def draw_rate(history: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the learning rate over epochs, on a logarithmic scale."""
    _draw_epochs(history, ["learning_rate"], axes, "learning rate")
    axes.set_yscale("log")
    return axes


def draw_time(history: pd.DataFrame, axes: Axes) -> Axes:
    """Draw how long each epoch took."""
    _draw_epochs(history, ["seconds"], axes, "seconds an epoch")
    slowest = history["seconds"].max() if "seconds" in history else np.nan
    axes.set_ylim(0, 1.1 * slowest if slowest > 0 else 1)
    return axes


def _draw_epochs(history: pd.DataFrame, names: Sequence[Any], axes: Axes, quantity: str) -> Axes:
    shown = [name for name in names if name in history]
    for number, name in enumerate(shown):
        # One epoch makes a line without length: the dot shows it.
        marker = "." if len(history) < 30 else ""
        axes.plot(history["epoch"], history[name], color=colour(number), marker=marker, label=str(name))
    if len(shown) > 1 or (shown and quantity == "score"):
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="epoch", ylabel=quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    return remember(axes, history[["epoch", *shown]])
