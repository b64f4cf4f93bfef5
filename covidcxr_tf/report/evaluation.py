"""The standard pictures of an evaluated predictions table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.calibration import bin_intervals, calibration_pairs, reliability
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.decision import decision_curve
from covidcxr_tf.evaluate.multilabel import evaluate_findings
from covidcxr_tf.evaluate.recalibration import Recalibration
from covidcxr_tf.evaluate.roc import precision_recall_points, roc_band, roc_points
from covidcxr_tf.evaluate.subgroups import subgroup_frame, subgroup_rows
from covidcxr_tf.evaluate.table import class_indices, holds_findings, one_against_rest, probabilities, sources
from covidcxr_tf.evaluate.thresholds import Threshold
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.report import figures, figures_trust
from covidcxr_tf.report.findings import draw_findings

Metrics = Mapping[str, Any]
TITLES = {
    "confusion": "films called, and their share of the true class",
    "roc": "ROC, all sources pooled",
    "roc_within_source": "ROC within each source",
    "precision_recall": "precision and recall, all sources pooled",
    "calibration": "calibration, bins of equal mass",
    "decision": "net benefit of acting on the model",
}
PEOPLE = ("sex", "age", "view")  # columns that make a table of subgroups worth its place
BAND_RESAMPLES = 1000  # a band is read off a picture: twice as many move it by less than a line is wide


def judge_predictions(
    table: pd.DataFrame,
    folder: str | Path,
    positive: str | None = None,
    threshold: float | Threshold | None = None,
    resamples: int = 2000,
    seed: int = 0,
    *,
    prevalence: float | None = None,
    recalibration: Recalibration | None = None,
) -> dict[str, Any]:
    """Write ``metrics.json`` and ``figures/`` of a predictions table into a folder, and return the metrics.

    The arguments are those of ``evaluate_table``, which also names the errors; the folder is made if need be, and
    only once the table has been judged. A table of a model of findings has neither a positive class nor a cut-off nor
    a prevalence. A table with ``sex``, ``age`` or ``view`` also gives ``subgroups`` in the metrics and
    ``subgroups.csv``. A `recalibration` that the probabilities went through is put on record.
    """
    if holds_findings(table):
        if positive is not None or threshold is not None or prevalence is not None:
            expected = "no positive class, threshold or prevalence"
            raise UsageError("the table is of a model of findings", expected=expected)
        metrics = evaluate_findings(table, resamples, seed)
    else:
        metrics = evaluate_table(table, positive, threshold, resamples, seed, prevalence=prevalence)
        if set(PEOPLE) & set(table.columns):
            metrics["subgroups"] = subgroup_rows(table, metrics["positive"], metrics["threshold"])
            write_text(Path(folder) / "subgroups.csv", subgroup_frame(metrics["subgroups"]).to_csv(index=False))
    if recalibration is not None:
        metrics["recalibration"] = recalibration.as_dict()
    write_json(Path(folder) / "metrics.json", metrics)
    draw_evaluation(table, metrics, Path(folder) / "figures", resamples=min(resamples, BAND_RESAMPLES))
    return metrics


def draw_evaluation(
    table: pd.DataFrame, metrics: Metrics, folder: str | Path, suffix: str = "", resamples: int = BAND_RESAMPLES
) -> list[Path]:
    """Write confusion, ROC, ROC within each source, precision-recall, calibration and decision curve as PNG and CSV.

    With ``subgroups`` in the metrics also their forest plot. Of a model of findings: the area of each finding.

    Parameters
    ----------
    table : DataFrame
        The predictions table (``read_predictions``).
    metrics : mapping
        What ``evaluate_table`` (or ``evaluate_findings``) returned for it.
    folder : str or path
        Where the pictures go.
    suffix : str
        Added to each name, as in ``roc_validation.png`` for ``"_validation"``.
    resamples : int
        Of the bands of the ROC and the decision curve, which are drawn for two classes; 0 for none.

    Returns
    -------
    list of Path
        The PNG files.
    """
    if metrics.get("task") == "multilabel":
        return draw_findings(metrics, folder, suffix)
    written = []
    panels: dict[str, Callable[[Axes], Axes]] = {
        "confusion": lambda axes: figures.draw_confusion(np.array(metrics["confusion"]), metrics["classes"], axes),
        "roc": lambda axes: _draw_roc(table, metrics, axes, resamples),
        "precision_recall": lambda axes: _draw_precision_recall(table, metrics, axes),
        "calibration": lambda axes: _draw_calibration(table, metrics, axes),
    }
    if any(metric["value"] is not None for metric in metrics["within_source"].values()):
        panels["roc_within_source"] = lambda axes: _draw_within_source(table, metrics, axes)
    if len(metrics["classes"]) == 2 and metrics["auroc"]["value"] is not None:
        panels["decision"] = lambda axes: _draw_decision(table, metrics, axes, resamples)
    for name, draw in panels.items():
        figure, (axes,) = figures.new_figure()
        draw(axes)
        axes.set_title(TITLES[name], fontsize=10)
        written.append(figures.save_figure(figure, Path(folder) / f"{name}{suffix}.png"))
    if "subgroups" in metrics:
        figure = figures_trust.plot_subgroups(metrics["subgroups"], f"{metrics['positive']} against the rest")
        written.append(figures.save_figure(figure, Path(folder) / f"subgroups{suffix}.png"))
    return written


def _judged(metrics: Metrics) -> list[str]:
    """Return the classes whose curves are drawn: the positive one of two, else all."""
    return [metrics["positive"]] if len(metrics["classes"]) == 2 else list(metrics["classes"])


def _draw_roc(table: pd.DataFrame, metrics: Metrics, axes: Axes, resamples: int) -> Axes:
    names = _judged(metrics)
    for number, name in enumerate(names):
        scores, is_positive = one_against_rest(table, name)
        band = None
        if len(names) == 1:  # several bands over each other cannot be read
            patient_ids = table["patient_id"].to_numpy(object)
            band = roc_band(scores, is_positive, patient_ids, resamples, metrics["bootstrap"]["seed"])
        figures.draw_roc(
            roc_points(scores, is_positive),
            axes,
            name,
            metrics["per_class"][name]["auroc"],
            band,
            figures.colour(number),
        )
    return axes


def _draw_within_source(table: pd.DataFrame, metrics: Metrics, axes: Axes) -> Axes:
    scores, is_positive = one_against_rest(table, metrics["positive"])
    source = sources(table)
    shown = [name for name, metric in metrics["within_source"].items() if metric["value"] is not None]
    for number, name in enumerate(shown):
        rows = source == name
        curve = roc_points(scores[rows], is_positive[rows])
        label = f"{metrics['positive']} within {name}"
        figures.draw_roc(curve, axes, label, metrics["within_source"][name], None, figures.colour(number))
    return axes


def _draw_precision_recall(table: pd.DataFrame, metrics: Metrics, axes: Axes) -> Axes:
    for number, name in enumerate(_judged(metrics)):
        curve = precision_recall_points(*one_against_rest(table, name))
        area = metrics["per_class"][name]["auprc"]
        figures.draw_precision_recall(curve, axes, name, area, figures.colour(number))
    return axes


def _draw_calibration(table: pd.DataFrame, metrics: Metrics, axes: Axes) -> Axes:
    classes = metrics["classes"]
    predicted, came_true, kind = calibration_pairs(
        probabilities(table, classes), class_indices(table["label"], classes), classes.index(metrics["positive"])
    )
    bins = reliability(predicted, came_true)
    reach = bin_intervals(bins, came_true, table["patient_id"].to_numpy(object))
    line = metrics.get("calibration") if len(classes) == 2 else None
    return figures_trust.draw_calibration(bins, predicted, came_true, axes, kind, metrics["ece"], reach, line)


def _draw_decision(table: pd.DataFrame, metrics: Metrics, axes: Axes, resamples: int) -> Axes:
    scores, is_positive = one_against_rest(table, metrics["positive"])
    patient_ids = table["patient_id"].to_numpy(object)
    seed = metrics["bootstrap"]["seed"]
    curve = decision_curve(scores, is_positive, patient_ids, metrics.get("prevalence"), resamples, seed)
    return axes if curve is None else figures_trust.draw_decision(curve, axes, metrics["positive"])
