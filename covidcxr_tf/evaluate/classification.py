"""``metrics.json`` for single-label classification: each metric with its patient-bootstrap interval.

A metric that is not defined (a class without films, nobody called) is null and says why; it is never 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, describe
from covidcxr_tf.evaluate.calibration import calibration_pairs
from covidcxr_tf.evaluate.calibration_error import describe_error
from covidcxr_tf.evaluate.called_films import Films, call_classes, called_films
from covidcxr_tf.evaluate.operating import class_facts
from covidcxr_tf.evaluate.table import UNKNOWN_SOURCE, check_predictions, class_indices, sources
from covidcxr_tf.evaluate.thresholds import Threshold
from covidcxr_tf.evaluate.weighted import GAP, Key, confusion, count_ratios, measure

__all__ = ["Films", "call_classes", "confusion", "count_ratios", "evaluate_table"]

PER_CLASS = ("sensitivity", "specificity", "precision", "f1", "auroc", "auprc")
OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "auprc", "ece", "brier")


def evaluate_table(
    table: pd.DataFrame,
    positive: str | None = None,
    threshold: float | Threshold | None = None,
    resamples: int = 2000,
    seed: int = 0,
    threshold_from: str | None = None,
    *,
    as_called: bool = False,
    prevalence: float | None = None,
) -> dict[str, Any]:
    """Return the document of ``metrics.json``.

    Parameters
    ----------
    table : DataFrame
        A predictions table (``read_predictions``).
    positive : str, optional
        The class that ROC curves and cut-offs are about; the last one if omitted.
    threshold : float or Threshold, optional
        Two classes only: films whose probability of `positive` is at least this are called positive. Omitted:
        the most probable class is called. The table's own ``predicted`` is not used; ``predicted_changed`` counts
        the films where it differs.
    resamples, seed : int
        Of the bootstrap over patients.
    threshold_from : str, optional
        Where the threshold comes from, for the record; a `Threshold` says so itself.
    as_called : bool
        Judge the table's own ``predicted``, as where films were called by several models, each with its own cut-off.
    prevalence : float, optional
        Share of people with `positive` where the model is to be used, in (0, 1): what ``operating_points`` need to
        hold predictive values.

    Returns
    -------
    dict
        As CONTRACT.md has it; ``threshold_ci95`` where the `Threshold` has one. Each metric is ``{"value", "ci95"}``;
        ``auroc`` and ``auprc`` are those of `positive` for two classes and the mean over one-against-rest for more
        (``kind`` says so). ``by_source`` repeats the
        overall metrics in each source. ``calibration``, ``operating_points`` and ``decision`` are `class_facts` of
        `positive` against the rest. ``within_source`` is the AUC of `positive` against the rest inside each source:
        where label and source go together, only this one says something about the disease.

    Raises
    ------
    UsageError
        An unknown class, a threshold outside [0, 1] or with more than two classes, or with `as_called`; a prevalence
        outside (0, 1).
    ManifestError
        A faulty table, one of a model of findings (``evaluate_findings``), one without ``predicted`` for `as_called`.
    """
    table = check_predictions(table)
    moved = threshold.ci95 if isinstance(threshold, Threshold) else None
    if isinstance(threshold, Threshold):
        threshold_from, threshold = threshold.threshold_from, threshold.value
    films = called_films(table, positive, threshold, as_called)
    measured = values, samples, patients = measure(films, resamples, seed)
    kinds = _kinds(films)
    result = _head(table, films, patients, resamples, seed)
    result |= {"threshold": threshold, "threshold_from": _called_by(threshold, threshold_from, as_called)}
    if moved is not None:
        result["threshold_ci95"] = list(moved)
    if "predicted" in table.columns:
        result["predicted_changed"] = int(np.sum(class_indices(table["predicted"], films.classes) != films.called))
    for name in OVERALL:
        result[name] = _metric(films, values, samples, patients, (name,)) | kinds.get(name, {})
    result["per_class"] = {
        name: {metric: _metric(films, values, samples, patients, (name, metric)) for metric in PER_CLASS}
        | {"support": support}
        for name, support in zip(films.classes, films.support(), strict=True)
    }
    result["confusion"] = confusion(films.truth, films.called, len(films.classes)).tolist()
    result["by_source"], result["within_source"] = _by_source(films, measured, sources(table), resamples, seed)
    of_positive = films.truth == films.positive
    facts = class_facts(films.probs[:, films.positive], of_positive, films.patient_ids, threshold, prevalence)
    return result | {"prevalence": prevalence} | facts


def _head(table: pd.DataFrame, films: Films, patients: int, resamples: int, seed: int) -> dict[str, Any]:
    """Return what the figures are of: films, patients, splits, classes, bootstrap."""
    return {
        "schema_version": 1,
        "n": len(films),
        "patients": patients,
        "splits": sorted(set(table["split"])) if "split" in table.columns else [],
        "classes": list(films.classes),
        "positive": films.classes[films.positive],
        "bootstrap": {"unit": "patient", "method": "percentile", "level": LEVEL, "resamples": resamples, "seed": seed},
    }


def _called_by(threshold: float | None, origin: str | None, as_called: bool) -> str:
    if as_called:
        return origin or "each film as it was called"
    return "argmax" if threshold is None else origin or "given"


def _by_source(
    films: Films,
    whole: tuple[dict[Key, float], dict[Key, Floats], int],
    source: npt.NDArray[np.object_],
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    by_source: dict[str, Any] = {}
    within: dict[str, Any] = {}
    positive = films.classes[films.positive]
    for name in sorted(set(source)):
        part = films.rows(source == name)
        # Of one source the whole set is this part: the same films, the same draws.
        found = whole if len(part) == len(films) else measure(part, resamples, seed)
        values, samples, patients = found
        # A class that the source does not hold leaves the balanced and macro figures undefined.
        by_source[name] = {
            "n": len(part),
            "patients": patients,
            "support": dict(zip(films.classes, part.support(), strict=True)),
            **{metric: _metric(part, values, samples, patients, (metric,)) for metric in OVERALL},
            **{m: _metric(part, values, samples, patients, (positive, m)) for m in ("sensitivity", "specificity")},
        }
        support = part.support()[films.positive]
        inside = _metric(part, values, samples, patients, (positive, "auroc"))
        if name == UNKNOWN_SOURCE:
            # Films of any hospital may stand here: an area over them is a pooled one.
            inside = describe(np.nan, np.empty(0), patients, "the source of these films is not given")
        within[name] = inside | {"positives": support, "rest": len(part) - support}
    return by_source, within


def _metric(
    films: Films, values: dict[Key, float], samples: dict[Key, Floats], patients: int, key: Key
) -> dict[str, Any]:
    why = "" if np.isfinite(values[key]) else _why(films, key)
    if key == ("ece",):
        bins = [gap for gap in values if gap[0] == GAP]
        gaps, drawn = np.array([values[gap] for gap in bins]), np.stack([samples[gap] for gap in bins])
        return describe_error(values[key], gaps, drawn, patients)
    return describe(values[key], samples[key], patients, why)


def _why(films: Films, key: Key) -> str:
    """Return why a metric is undefined, in words."""
    support = films.support()
    if len(key) == 2:
        name, metric = key
        count = support[films.classes.index(name)]
        if metric == "precision":
            return f"no film was called {name}"
        if count == len(films) and metric in ("specificity", "auroc", "auprc"):
            return f"every film is {name}"
        return f"no film is {name}"
    judged: Iterable[int] = range(len(films.classes))
    if key[0] in ("auroc", "auprc") and len(films.classes) == 2:
        judged = [films.positive]
    absent = [films.classes[c] for c in judged if not support[c]]
    return f"no film is {' or '.join(absent)}" if absent else f"every film is {films.classes[films.positive]}"


def _kinds(films: Films) -> dict[str, dict[str, Any]]:
    """Return what the overall figures mean, which depends on the number of classes."""
    positive = films.classes[films.positive]
    binary = len(films.classes) == 2
    _, _, calibrated = calibration_pairs(films.probs, films.truth, films.positive)
    area = f"{positive} against the rest" if binary else "mean over classes, each against the rest"
    macro = "macro: mean over classes, each alike; undefined where a class has no film"
    return {
        "accuracy": {
            "kind": "micro: share of films called right; the micro mean of sensitivity, precision and F1 is this"
        },
        "balanced_accuracy": {"kind": f"sensitivity, {macro}"},
        "macro_f1": {"kind": f"F1, {macro}"},
        "auroc": {"kind": area},
        "auprc": {"kind": f"average precision, {area}"},
        "ece": {"kind": f"{calibrated}, bins of equal mass; interval by test inversion"},
        "brier": {"kind": f"squared error, {'0 to 1' if binary else 'sum over classes, 0 to 2'}"},
    }
