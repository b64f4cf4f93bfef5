"""Every metric of a set of films in all resamples at once: sums over weighted films, prepared once.

Everything is computed from film weights: ones give the value, each resample's counts the interval.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap, patient_numbers
from covidcxr_tf.evaluate.calibration import bin_gaps, brier_terms, calibration_pairs, reliability
from covidcxr_tf.evaluate.called_films import Films
from covidcxr_tf.evaluate.roc import RankedScores, ratio

Key = tuple[str, ...]
#: First part of the keys of each bin's gap between stated probability and outcome, of which the ECE is made.
GAP = "gap"


def measure(films: Films, resamples: int, seed: int) -> tuple[dict[Key, float], dict[Key, Floats], int]:
    """Return every metric on the whole set, in each resample, and the number of patients."""
    statistics = weighted_statistics(films)
    values = {key: float(value[0]) for key, value in statistics(np.ones((len(films), 1))).items()}
    patients = patient_numbers(films.patient_ids)[1]
    samples = bootstrap(statistics, films.patient_ids, resamples if patients > 1 else 0, seed)
    return values, samples, patients


def weighted_statistics(films: Films) -> Callable[[Floats], dict[Key, Floats]]:
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
        for place, gap in enumerate(summed[number**2 : -1]):
            result[GAP, str(place)] = ratio(gap, total)
        result["ece",] = ratio(np.abs(summed[number**2 : -1]).sum(axis=0), total)
        result["brier",] = ratio(summed[-1], total)
        return result

    return statistics


def confusion(
    truth: npt.NDArray[np.int64], called: npt.NDArray[np.int64], number_of_classes: int
) -> npt.NDArray[np.int64]:
    """Return counts int64 [true class, called class]."""
    cells = np.bincount(truth * number_of_classes + called, minlength=number_of_classes**2)
    return cells.reshape(number_of_classes, number_of_classes)


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
