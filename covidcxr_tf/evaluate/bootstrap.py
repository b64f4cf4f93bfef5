"""Percentile bootstrap over patients.

Films of one patient resemble each other, so patients are drawn with replacement, each with all its films: the
interval of a set with many films a patient is as wide as its number of patients says, not its number of films.
A resample is nothing but a weight for each film (how often its patient was drawn); a metric that takes weights
[films, resamples] and returns [resamples] does all of them in a few array operations.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import UsageError

Floats = npt.NDArray[np.float64]
Statistics = Callable[[Floats], dict[Any, Floats]]

LEVEL = 0.95
# Resamples in which a metric is undefined are left out; beyond this share the reader is told so.
UNDEFINED_SHARE_TOLD = 0.05
# Elements of one weights matrix: with 1 MB of float64 a metric's sums stay in the processor's cache, and arrays of that
# size are used again instead of being asked of the system anew. A row shorter than 8 wastes a cache line.
CHUNK_ELEMENTS, NARROWEST = 128_000, 8


def patient_numbers(patient_ids: Sequence[Hashable] | npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], int]:
    """Return the number (0..P-1) of each film's patient, int64 [films], and P."""
    _, numbers = np.unique(np.array([str(name) for name in patient_ids], object), return_inverse=True)
    return numbers.astype(np.int64), int(numbers.max()) + 1 if len(numbers) else 0


def resample_counts(patients: int, resamples: int, seed: int, chunk: int) -> Iterator[Floats]:
    """Give, chunk by chunk, how often each patient was drawn.

    Each resample draws `patients` patients with replacement. The counts depend on `seed` alone, not on `chunk`.

    Yields
    ------
    counts : float64 [patients, <= chunk]
        Whole numbers; each column sums to `patients`.
    """
    generator = np.random.default_rng(seed)
    kind = np.int32 if patients <= np.iinfo(np.int32).max else np.int64  # the draws are the same, the memory is half
    for start in range(0, resamples, chunk):
        counts = np.empty((min(chunk, resamples - start), patients))
        for row in counts:
            row[:] = np.bincount(generator.integers(0, patients, size=patients, dtype=kind), minlength=patients)
        yield np.ascontiguousarray(counts.T)


def bootstrap(
    statistics: Statistics, patient_ids: Sequence[Hashable] | npt.NDArray[Any], resamples: int = 2000, seed: int = 0
) -> dict[Any, Floats]:
    """Return every statistic in every resample.

    Parameters
    ----------
    statistics : callable
        Film weights float64 [films, K] -> name: float64 [K], NaN where undefined.
    patient_ids : sequence
        The patient of each film.
    resamples : int
        How many; 0 gives empty arrays.
    seed : int
        The same seed gives the same draws.

    Returns
    -------
    dict
        Name -> float64 [resamples].
    """
    if resamples < 0:
        raise UsageError(f"{resamples} resamples", expected="0 or more")
    numbers, patients = patient_numbers(patient_ids)
    chunk = max(NARROWEST, CHUNK_ELEMENTS // max(len(numbers), 1))
    one_film_each = len(numbers) == patients and bool((numbers == np.arange(patients)).all())
    parts = [
        statistics(counts if one_film_each else counts.take(numbers, axis=0))
        for counts in resample_counts(patients, resamples, seed, chunk)
    ]
    if not parts:
        return {name: np.empty(0) for name in statistics(np.ones((len(numbers), 1)))}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def describe(value: float, samples: Floats, patients: int, why: str = "") -> dict[str, Any]:
    """Return one metric as ``metrics.json`` has it.

    Parameters
    ----------
    value : float
        On the whole set; NaN where undefined.
    samples : float64 [resamples]
        The same in each resample, NaN where undefined there.
    patients : int
        Patients in the set; with fewer than two there is no interval.
    why : str
        Why the value is undefined, if it is.

    Returns
    -------
    dict
        ``value``, ``ci95`` (lower, upper; percentiles 2.5 and 97.5), and where needed ``why`` (nothing, or no interval,
        could be computed), ``undefined_share`` (of resamples that were left out, above 5 %), ``note``.
    """
    if not np.isfinite(value):
        return {"value": None, "ci95": None, "why": why or "undefined on these films"}
    defined = samples[np.isfinite(samples)]
    result: dict[str, Any] = {"value": float(value), "ci95": None}
    if patients < 2:
        result["why"] = "an interval over patients needs at least two of them"
    elif not len(defined):
        result["why"] = "no resample in which it is defined" if len(samples) else "no resamples were asked for"
    else:
        tail = (1 - LEVEL) / 2
        result["ci95"] = [float(bound) for bound in np.quantile(defined, [tail, 1 - tail])]
        if result["ci95"][0] == result["ci95"][1]:
            result["note"] = "all resamples agree: the interval has no width and understates the uncertainty"
    undefined = len(samples) - len(defined)
    if undefined > UNDEFINED_SHARE_TOLD * len(samples):
        result["undefined_share"] = undefined / len(samples)
    return result
