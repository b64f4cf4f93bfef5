"""The pictures of a run folder, drawn from its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from covidcxr_tf.report import figures


def draw_history(history: Path, folder: Path) -> Path:
    """Draw loss, score, learning rate and epoch time from ``history.csv``; redrawn after each epoch."""
    table = pd.read_csv(history)
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    figures.plot_history(table, figure)
    return figures.save_figure(figure, folder / "history.png")
