"""``metrics.json`` for single-label classification: each metric with its patient-bootstrap interval.

Everything is computed from film weights: ones give the value, each resample's counts the interval. A metric that is
not defined (a class without films, nobody called) is null and says why; it is never 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.calibration import bin_gaps, brier_terms, calibration_pairs, reliability
from covidcxr_tf.evaluate.operating import class_facts
from covidcxr_tf.evaluate.roc import RankedScores, ratio
from covidcxr_tf.evaluate.table import (
    UNKNOWN_SOURCE,
    check_predictions,
    class_indices,
    class_names,
    probabilities,
    sources,
)
from covidcxr_tf.evaluate.thresholds import Threshold

Key = tuple[str, ...]
PER_CLASS = ("sensitivity", "specificity", "precision", "f1", "auroc", "auprc")
OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "auprc", "ece", "brier")


@dataclass(frozen=True)
class Films:
    """Predictions as arrays: `truth` and `called` hold class numbers, `probs` is float64 [films, classes]."""

    classes: tuple[str, ...]
    positive: int
    truth: npt.NDArray[np.int64]
    called: npt.NDArray[np.int64]
    probs: Floats
    patient_ids: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Films:
        """Return the chosen films only."""
        return Films(
            self.classes,
            self.positive,
            self.truth[chosen],
            self.called[chosen],
            self.probs[chosen],
            self.patient_ids[chosen],
        )

    def support(self) -> list[int]:
        """Return the number of films of each class."""
        return [int(count) for count in np.bincount(self.truth, minlength=len(self.classes))]


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
        As CONTRACT.md has it. Each metric is ``{"value", "ci95"}``; ``auroc`` and ``auprc`` are those of `positive`
        for two classes and the mean over one-against-rest for more (``kind`` says so). ``by_source`` repeats the
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
    if isinstance(threshold, Threshold):
        threshold_from, threshold = threshold.threshold_from, threshold.value
    films = _films(table, positive, threshold, as_called)
    values, samples, patients = _measure(films, resamples, seed)
    kinds = _kinds(films)
    result = _head(table, films, patients, resamples, seed)
    result |= {"threshold": threshold, "threshold_from": _called_by(threshold, threshold_from, as_called)}
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
    result["by_source"], result["within_source"] = _by_source(films, sources(table), resamples, seed)
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


def confusion(
    truth: npt.NDArray[np.int64], called: npt.NDArray[np.int64], number_of_classes: int
) -> npt.NDArray[np.int64]:
    """Return counts int64 [true class, called class]."""
    cells = np.bincount(truth * number_of_classes + called, minlength=number_of_classes**2)
    return cells.reshape(number_of_classes, number_of_classes)


def call_classes(probs: Floats, positive: int, threshold: float | None) -> npt.NDArray[np.int64]:
    """Return the called class of each film: by `threshold` on the positive one of two, else the most probable."""
    if threshold is None:
        return probs.argmax(axis=1)
    return np.where(probs[:, positive] >= threshold, positive, 1 - positive)


def count_ratios(hits: Floats, support: Floats, called: Floats, total: Floats) -> dict[str, Floats]:
    """Return sensitivity, specificity, precision and F1 of one class from (weighted) counts, NaN where undefined.

    Parameters
    ----------
    hits, support, called, total : float64 [K]
        Films of the class that were called so; films of the class; films called so; all films. Every array has one
        entry a resample.

    Returns
    -------
    dict
        Name -> float64 [K]. F1 of a class without films is undefined, not 0: there was nothing to find.
    """
    rest = total - support
    f1 = ratio(2 * hits, support + called)
    return {
        "sensitivity": ratio(hits, support),
        "specificity": ratio(rest - (called - hits), rest),
        "precision": ratio(hits, called),
        "f1": np.where(support > 0, f1, np.nan),
    }


def _films(table: pd.DataFrame, positive: str | None, threshold: float | None, as_called: bool) -> Films:
    classes = class_names(table)
    positive = classes[-1] if positive is None else positive
    if positive not in classes:
        raise UsageError(f"'{positive}' is no class of the table", expected=", ".join(classes))
    if threshold is not None and len(classes) != 2:
        raise UsageError(f"a threshold with {len(classes)} classes", expected="two classes", remedy="leave it out")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold}", expected="a number from 0 to 1")
    if as_called and threshold is not None:
        raise UsageError("a threshold, and films as they were called", expected="one of the two")
    if as_called and "predicted" not in table.columns:
        raise ManifestError("column predicted is missing", expected="the class that each film was called")
    number = classes.index(positive)
    probs = probabilities(table, classes)
    return Films(
        classes,
        number,
        class_indices(table["label"], classes),
        class_indices(table["predicted"], classes) if as_called else call_classes(probs, number, threshold),
        probs,
        table["patient_id"].to_numpy(object),
    )


def _called_by(threshold: float | None, origin: str | None, as_called: bool) -> str:
    if as_called:
        return origin or "each film as it was called"
    return "argmax" if threshold is None else origin or "given"


def _measure(films: Films, resamples: int, seed: int) -> tuple[dict[Key, float], dict[Key, Floats], int]:
    """Return every metric on the whole set, in each resample, and the number of patients."""
    statistics = _statistics(films)
    values = {key: float(value[0]) for key, value in statistics(np.ones((len(films), 1))).items()}
    patients = patient_numbers(films.patient_ids)[1]
    samples = bootstrap(statistics, films.patient_ids, resamples if patients > 1 else 0, seed)
    return values, samples, patients


def _statistics(films: Films) -> Callable[[Floats], dict[Key, Floats]]:
    """Return the function from film weights [films, K] to every metric [K]; what can be prepared is."""
    number = len(films.classes)
    cells = sparse.csr_array(
        (np.ones(len(films)), (films.truth * number + films.called, np.arange(len(films)))),
        shape=(number**2, len(films)),
    )
    ranked = [RankedScores.sort(films.probs[:, c], films.truth == c) for c in range(number)]
    predicted, came_true, _ = calibration_pairs(films.probs, films.truth, films.positive)
    gaps = bin_gaps(reliability(predicted, came_true), predicted, came_true)
    brier = sparse.csr_array(brier_terms(films.probs, films.truth)[None, :])
    # One sparse product instead of several dense ones: each film stands in three rows only.
    sums = sparse.csr_array(sparse.vstack([cells, gaps, brier]))

    def statistics(weights: Floats) -> dict[Key, Floats]:
        summed = sums @ weights
        counts = summed[: number**2].reshape(number, number, -1)
        total, support, called = counts.sum(axis=(0, 1)), counts.sum(axis=1), counts.sum(axis=0)
        result: dict[Key, Floats] = {("accuracy",): ratio(np.einsum("cck->k", counts), total)}
        for c, name in enumerate(films.classes):
            for metric, value in count_ratios(counts[c, c], support[c], called[c], total).items():
                result[name, metric] = value
            result[name, "auroc"], result[name, "auprc"] = ranked[c].areas(weights)
        for name, part in (("balanced_accuracy", "sensitivity"), ("macro_f1", "f1")):
            result[name,] = np.mean([result[c, part] for c in films.classes], axis=0)
        for area in ("auroc", "auprc"):
            judged = [films.classes[films.positive]] if number == 2 else films.classes
            result[area,] = np.mean([result[c, area] for c in judged], axis=0)
        result["ece",] = ratio(np.abs(summed[number**2 : -1]).sum(axis=0), total)
        result["brier",] = ratio(summed[-1], total)
        return result

    return statistics


def _by_source(
    films: Films, source: npt.NDArray[np.object_], resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    by_source: dict[str, Any] = {}
    within: dict[str, Any] = {}
    positive = films.classes[films.positive]
    for name in sorted(set(source)):
        part = films.rows(source == name)
        values, samples, patients = _measure(part, resamples, seed)
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
        "ece": {"kind": f"{calibrated}, bins of equal mass"},
        "brier": {"kind": f"squared error, {'0 to 1' if binary else 'sum over classes, 0 to 2'}"},
    }
