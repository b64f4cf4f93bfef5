"""Whether a stated 80 % comes true in 80 of 100 films, in each hospital."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.audit.evidence import Bools, Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.evaluate.calibration import reliability

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
    value = _gap(evidence, np.ones(len(evidence.films), bool))
    scores = evidence.scores()
    direction = "too high" if scores.mean() > evidence.is_positive.mean() else "too low"
    sentence = (
        f"Stated probabilities of {evidence.positive} are off by {100 * value:.0f} points on average, on the whole "
        f"{direction}: {100 * scores.mean():.0f} % stated, {100 * evidence.is_positive.mean():.0f} % true."
    )
    details = {"sources": gaps, "stated": float(scores.mean()), "true": float(evidence.is_positive.mean())}
    why = "no interval: resampling widens the bins' gaps and with them the error itself"
    measured = {"value": value, "ci95": None, "why": why}
    return limits.judge(NAME, "expected calibration error", measured, sentence, details)


def _gap(evidence: Evidence, chosen: Bools) -> float:
    return reliability(evidence.scores()[chosen], evidence.is_positive[chosen]).error
