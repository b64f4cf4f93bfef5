"""Whether a stated 80 % comes true in 80 of 100 films, in each hospital."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidcxr_tf.audit.evidence import Bools, Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.evaluate.bootstrap import bootstrap, patient_numbers
from covidcxr_tf.evaluate.calibration import bin_gaps, reliability
from covidcxr_tf.evaluate.calibration_error import describe_error

NAME = "calibration"
#: Fewer films of a source than this give no calibration of its own.
LEAST_FILMS = 30


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the expected calibration error of the positive class's probability; of each source in ``details``."""
    gaps = {
        str(name): _gap(evidence, evidence.sources == name)
        for name in sorted(set(evidence.sources))
        if (evidence.sources == name).sum() >= LEAST_FILMS
    }
    found = _error(evidence)
    value = found["value"]
    scores = evidence.scores()
    direction = "too high" if scores.mean() > evidence.is_positive.mean() else "too low"
    sentence = (
        f"Stated probabilities of {evidence.positive} are off by {100 * value:.0f} points on average, on the whole "
        f"{direction}: {100 * scores.mean():.0f} % stated, {100 * evidence.is_positive.mean():.0f} % true."
    )
    details = {"sources": gaps, "stated": float(scores.mean()), "true": float(evidence.is_positive.mean())}
    return limits.judge(NAME, "expected calibration error", found, sentence, details)


def _error(evidence: Evidence) -> dict[str, Any]:
    """Return the error over all films with its interval over patients, and what is left of it without noise."""
    scores, truth = evidence.scores(), evidence.is_positive
    bins = reliability(scores, truth)
    gaps = bin_gaps(bins, scores, truth)
    drawn = bootstrap(
        lambda weights: dict(enumerate(gaps @ weights / weights.sum(axis=0))),
        evidence.patients,
        evidence.resamples,
        evidence.seed,
    )
    own = gaps @ np.ones(len(scores)) / len(scores)
    return describe_error(bins.error, own, np.stack(list(drawn.values())), patient_numbers(evidence.patients)[1])


def _gap(evidence: Evidence, chosen: Bools) -> float:
    return reliability(evidence.scores()[chosen], evidence.is_positive[chosen]).error
