"""Pictures of several models on the same films, and of the folds of a cross-validation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from covidcxr_tf.evaluate.comparison import BASES, join_tables, models_table, pairs_table
from covidcxr_tf.evaluate.folds import pool_folds
from covidcxr_tf.evaluate.roc import Curve, roc_points
from covidcxr_tf.evaluate.table import one_against_rest
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.report import figures
from covidcxr_tf.report.comparison_summary import area_text, p_text
from covidcxr_tf.report.evaluation import draw_evaluation

Document = Mapping[str, Any]
LEAST_P = 1e-4  # of the colours; smaller values are printed all the same
BLACK = "black"
GRID = np.linspace(0, 1, 201)


def write_comparison(tables: Mapping[str, pd.DataFrame], document: Document, folder: str | Path) -> list[Path]:
    """Write ``comparison.json``, ``comparison.csv``, ``pairs.csv`` and ``figures/`` and return the pictures' paths.

    Parameters
    ----------
    tables : mapping
        Name of the model -> its predictions table.
    document : mapping
        What ``compare_tables`` returned for them.
    folder : str or path
        Made if need be.
    """
    write_json(Path(folder) / "comparison.json", document)
    write_text(Path(folder) / "comparison.csv", models_table(document).to_csv(index=False))
    write_text(Path(folder) / "pairs.csv", pairs_table(document).to_csv(index=False))
    return draw_comparison(tables, document, Path(folder) / "figures")


def draw_comparison(tables: Mapping[str, pd.DataFrame], document: Document, folder: str | Path) -> list[Path]:
    """Write ``roc_models.png``, ``intervals.png`` and, of three models or more, ``p_values.png``; each with a CSV."""
    joined = join_tables(tables, document["positive"], common=True)
    names = list(joined.names)
    title = (
        f"{document['positive']}: {document['positives']} films against {document['negatives']}, "
        f"{document['patients']} patients"
    )
    figure, (axes,) = figures.new_figure(width=6, height=5.4)
    for number, model in enumerate(document["models"]):
        curve = roc_points(joined.scores[number], joined.is_positive)
        label = f"{textwrap.fill(model['name'], 30)}  {area_text(model['by_patient'])}"
        draw_curve(curve, axes, label, number, model["name"])
    axes.set_title(title, fontsize=10)
    written = [figures.save_figure(figure, Path(folder) / "roc_models.png")]

    figure, (axes,) = figures.new_figure(width=6.4, height=1.7 + 0.5 * len(names))
    draw_intervals(document, axes)
    axes.set_title(title, fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2, frameon=False, fontsize=8)
    written.append(figures.save_figure(figure, Path(folder) / "intervals.png"))

    if len(names) < 3:
        return written  # one p-value is no matrix
    side = max(3.6, 1.4 + 0.62 * len(names))
    figure, panels = figures.new_figure(1, 2, width=side + 0.4, height=side)
    factor = document["comparisons"]
    draw_p_values(document, panels[0], "p", "p over patients, each pair by itself")
    draw_p_values(document, panels[1], "bonferroni", f"the same times {factor} (Bonferroni)")
    shades = ScalarMappable(LogNorm(LEAST_P, 1), "Blues_r")
    figure.colorbar(shades, ax=panels, shrink=0.7, extend="min", label="p")
    written.append(figures.save_figure(figure, Path(folder) / "p_values.png"))
    return written


def draw_curve(curve: Curve | None, axes: Axes, label: str, number: int, name: str = "") -> Axes:
    """Draw one of many ROC curves, told apart by colour and then by dashes; `number` is the model's."""
    if not axes.lines:
        axes.plot([0, 1], [0, 1], color=figures.GUIDE, linestyle=":", linewidth=1)
    style = ("-", "--", "-.", ":")[number // len(figures.COLOURS) % 4]
    horizontal, vertical = (np.empty(0),) * 2 if curve is None else (curve.horizontal, curve.vertical)
    axes.plot(horizontal, vertical, color=figures.colour(number), linestyle=style, linewidth=1.6, label=label)
    columns = {"one_minus_specificity": horizontal, "sensitivity": vertical}
    figures.remember(axes, pd.DataFrame({"curve": name or label, **columns}))
    return _finish_roc(axes)


def draw_intervals(document: Document, axes: Axes) -> Axes:
    """Draw each model's area with its interval over patients (thick) and over films (thin)."""
    rows = models_table(document)
    styles = (
        ("by_patient", "over patients (Obuchowski)", figures.colour(0), -0.12, 2.6),
        ("by_film", "over films (DeLong)", figures.GUIDE, 0.12, 1.0),
    )
    for basis, label, ink, shift, width in styles:
        axes.plot([], [], color=ink, linewidth=width, label=label)
        for row, model in enumerate(document["models"]):
            bounds, exact = model[basis]["ci95"], model[basis].get("exact")
            if bounds or exact:
                axes.plot(
                    bounds or exact, [row + shift] * 2, color=ink, linewidth=width, linestyle="-" if bounds else ":"
                )
            axes.plot(model["auroc"], row + shift, "o", color=ink, markersize=5)
    axes.set_yticks(range(len(rows)), [textwrap.fill(name, 24) for name in rows["model"]])
    dotted = any(model[basis].get("exact") for model in document["models"] for basis in BASES)
    note = "\n(dotted: exact, where the other has no width)" if dotted else ""
    axes.set_xlabel(f"area under the ROC curve, {100 * document['level']:g} % interval{note}", fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.9")
    return figures.remember(axes, rows)


def draw_p_values(
    document: Document,
    axes: Axes,
    column: Literal["p", "bonferroni", "holm"] = "p",
    title: str = "",
    basis: Literal["by_patient", "by_film"] = "by_patient",
) -> Axes:
    """Draw the p-value of each two models as a cell; below .05 in bold. Undefined ones are dashes."""
    names = [model["name"] for model in document["models"]]
    cells = np.full((len(names), len(names)), np.nan)
    for pair in document["pairs"]:
        value = pair[basis][column]
        row, other = names.index(pair["second"]), names.index(pair["first"])
        cells[row, other] = np.nan if value is None else value
        dark = value is not None and value < 0.01
        axes.text(
            other,
            row,
            "-" if value is None else p_text(value),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
            weight="bold" if value is not None and value < 0.05 else "normal",
        )
    axes.imshow(np.clip(cells, LEAST_P, 1), cmap="Blues_r", norm=LogNorm(LEAST_P, 1))
    short = [textwrap.fill(name, 12) for name in names]
    axes.set_xticks(range(len(names) - 1), short[:-1], rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(1, len(names)), short[1:], fontsize=8)
    # The diagonal and what lies above it say nothing: the first row and last column stay outside.
    axes.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=9)
    rows = [(pair["first"], pair["second"], pair[basis][column]) for pair in document["pairs"]]
    return figures.remember(axes, pd.DataFrame(rows, columns=["first", "second", column]))


def draw_folds(tables: Mapping[str, pd.DataFrame], metrics: Document, positive: str, folder: str | Path) -> list[Path]:
    """Write ``roc_folds.png`` and the pooled films' pictures (``*_test.png``), each with its data as CSV.

    Parameters
    ----------
    tables : mapping
        Fold -> predictions table of its test films.
    metrics : mapping
        What ``evaluate_folds`` returned for them.
    positive : str
        The class whose curves are drawn where there are two; of more each has a panel.
    folder : str or path
        Where the pictures go.
    """
    names = [positive] if len(metrics["classes"]) == 2 else list(metrics["classes"])
    columns = min(2, len(names))
    figure, panels = figures.new_figure(-(-len(names) // columns), columns, width=5.2, height=5)
    for name, axes in zip(names, panels, strict=False):
        draw_fold_curves(tables, metrics, name, axes)
    for empty in panels[len(names) :]:
        empty.remove()
    written = [figures.save_figure(figure, Path(folder) / "roc_folds.png")]
    return written + draw_evaluation(pool_folds(tables), metrics, folder, suffix="_test")


def draw_fold_curves(tables: Mapping[str, pd.DataFrame], metrics: Document, name: str, axes: Axes) -> Axes:
    """Draw the ROC curve of each fold, their mean at each specificity with its spread, and that of all films pooled."""
    spread = metrics["folds"]["mean_sd_per_class"][name]["auroc"]
    curves = {fold: roc_points(*one_against_rest(table, name)) for fold, table in tables.items()}
    for number, (fold, curve) in enumerate(curves.items()):
        value = spread["values"][fold]
        label = f"{fold.replace('_', ' ')}  {'undefined' if value is None else f'{value:.3f}'}"
        draw_curve(curve, axes, label, number, fold)
    for line in axes.lines:
        line.set(linewidth=0.9, alpha=0.8)
    heights = np.array([sensitivity_at(curve, GRID) for curve in curves.values() if curve is not None])
    if len(heights) > 1:
        mean, sd = heights.mean(axis=0), heights.std(axis=0, ddof=1)
        low, high = np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1)
        axes.fill_between(GRID, low, high, color="0.6", alpha=0.3, linewidth=0)
        axes.plot(GRID, mean, color="0.35", linestyle="--", linewidth=1.8, label=f"mean  {_mean_sd_text(spread)}")
        table = {"one_minus_specificity": GRID, "sensitivity": mean, "sd": sd}
        figures.remember(axes, pd.DataFrame({"curve": "mean of folds", **table}))
    pooled = roc_points(*one_against_rest(pool_folds(tables), name))
    if pooled is not None:
        text = f"pooled  {area_text(metrics['per_class'][name]['auroc'])}"
        axes.plot(pooled.horizontal, pooled.vertical, color=BLACK, linewidth=2, label=text)
        columns = {"one_minus_specificity": pooled.horizontal, "sensitivity": pooled.vertical}
        figures.remember(axes, pd.DataFrame({"curve": "pooled", **columns}))
    support = metrics["per_class"][name]["support"]
    axes.set_title(f"{name}: {support} films against {metrics['n'] - support}", fontsize=10)
    return _finish_roc(axes)


def sensitivity_at(curve: Curve, false_rates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the curve's sensitivity at each 1 - specificity: on a vertical piece the highest, between points straight.

    Source: vertical averaging, Fawcett 2006.
    """
    return np.interp(false_rates, curve.horizontal, curve.vertical)


def _finish_roc(axes: Axes) -> Axes:
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", framealpha=0.85, edgecolor="none", fontsize=8)
    return axes


def _mean_sd_text(spread: Mapping[str, Any]) -> str:
    if spread["mean"] is None or spread["sd"] is None:
        return f"undefined: {spread['why']}"
    return f"{spread['mean']:.3f} ± {spread['sd']:.3f} (sd)"
