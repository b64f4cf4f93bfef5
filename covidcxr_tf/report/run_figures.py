"""The pictures of a run folder, drawn from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covidcxr_tf.report import figures
from covidcxr_tf.report.evaluation import draw_evaluation


def draw_history(history: Path, folder: Path) -> Path:
    """Draw loss, score, learning rate and epoch time from ``history.csv``; redrawn after each epoch."""
    figure = figures.plot_history(pd.read_csv(history), Figure(figsize=(9, 6.5), layout="constrained"))
    return figures.save_figure(figure, folder / "history.png")


def draw_judgement(tables: Mapping[str, pd.DataFrame], metrics: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw confusion, ROC, precision-recall and calibration of each split's predictions table."""
    return [
        path
        for split, table in tables.items()
        for path in draw_evaluation(table, metrics[split], folder, suffix=f"_{split}")
    ]


def draw_overlap(table: pd.DataFrame, metrics: Mapping[str, Any], path: Path, title: str) -> Path:
    """Draw the Dice of each film as histogram and by source; `metrics` is what `evaluate_masks` said of the table."""
    figure, (left, right) = figures.new_figure(1, 2)
    figures.draw_overlap_histogram(table["dice"].to_numpy(np.float64), left, "Dice", metrics["dice"])
    groups = {str(name): rows["dice"].to_numpy(np.float64) for name, rows in table.groupby("source")}
    figures.draw_overlap_boxes(groups, right, "Dice")
    figure.suptitle(title, fontsize=10)
    return figures.save_figure(figure, path)
