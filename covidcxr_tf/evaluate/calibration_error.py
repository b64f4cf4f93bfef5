"""The interval of an expected calibration error, which noise only ever enlarges.

A bin's gap between stated probability and outcome is off by chance one way or the other; its size is not, so the error
of a perfectly calibrated model is above 0, and that of a resample, with the noise of two draws, is higher still: a
percentile interval can lie wholly above the value that it is meant for, and never reaches 0. Here the error is held
against what each true error would have shown instead: test inversion (Carpenter 1999, section 2). Of the true gaps only
their total is asked for; their pattern over the bins is taken for that of the gaps seen, less what is noise in it, and
the noise around them is that of the bootstrap. An error that is small by luck proves nothing: its upper bound is that
of the error which noise alone would show (the power constraint of Cowan et al. 2011, section 3).

Source: bias of the binned error: Broecker 2012, section 3; Roelofs et al. 2022, section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, describe

STEPS = 40  # halvings of [0, 1]: 1e-12
SLACK = 1e-12  # errors that differ by rounding only are equal


def describe_error(value: float, gaps: Floats, drawn: Floats, patients: int) -> dict[str, Any]:
    """Return an expected calibration error as ``metrics.json`` has it.

    Parameters
    ----------
    value : float
        Sum of the sizes of `gaps`.
    gaps : float64 [bins]
        Stated less observed, each bin by its share of the films.
    drawn : float64 [bins, resamples]
        The same in each resample.
    patients : int

    Returns
    -------
    dict
        As ``bootstrap.describe``, and ``debiased``: the true error under which half of all samples would show more than
        this one (0 where less than half do so without any). ``ci95`` is of the true error too, but that its upper bound
        is not put below `value`: the reader finds the value in it, and it covers no less for that.
    """
    found = describe(value, np.abs(drawn).sum(axis=0), patients)
    if found.get("ci95") is None:
        return found
    lower, middle, upper = error_bounds(gaps, drawn)
    found |= {"ci95": [lower, max(upper, float(value))], "debiased": middle}
    if lower < found["ci95"][1]:
        found.pop("note", None)
    return found


def error_bounds(gaps: Floats, drawn: Floats, level: float = LEVEL) -> tuple[float, float, float]:
    """Return lower bound, median-unbiased value and upper bound of the true error; arguments as `describe_error`."""
    seen = float(np.abs(gaps).sum())
    noise = drawn - gaps[:, None]
    direction = _pattern(gaps, noise)
    tail = (1 - level) / 2

    def shown(true: float) -> Floats:
        return np.abs(true * direction[:, None] + noise).sum(axis=0)

    def share_above(true: float) -> float:
        return float(np.mean(shown(true) >= seen - SLACK))

    at_most = max(seen, float(np.median(shown(0.0))))

    def share_below(true: float) -> float:
        return float(np.mean(shown(true) <= at_most + SLACK))

    lower = _first(lambda true: share_above(true) >= tail)
    middle = _first(lambda true: share_above(true) >= 0.5)
    upper = _first(lambda true: share_below(true) < tail)
    return lower, max(lower, middle), max(lower, middle, upper)


def _pattern(gaps: Floats, noise: Floats) -> Floats:
    """Return the gaps less noise, their sizes scaled to sum to 1.

    A line over the bins, which stand in the order of their probability, holds what a wrong intercept or slope makes;
    what is left is shrunk by its share of noise (James & Stein 1961). Noise as it is would turn signs around that the
    true gaps have in common, and make small true errors out of large ones.
    """
    line = np.stack([np.ones(len(gaps)), np.linspace(-1, 1, len(gaps))], axis=1)
    fitted = line @ np.linalg.lstsq(line, gaps)[0]
    rest = gaps - fitted
    spare = max(len(gaps) - line.shape[1], 0)
    squares = float(rest @ rest)
    kept = max(0.0, 1 - spare * float(noise.var(axis=1).mean()) / squares) if squares > 0 else 0.0
    pattern = fitted + kept * rest
    size = float(np.abs(pattern).sum())
    return pattern / size if size > 0 else np.full(len(gaps), 1 / len(gaps))


def _first(holds: Any) -> float:
    """Return the least number in [0, 1] from which on `holds`, which changes once."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
