"""Whether the model tells disease apart inside one hospital, where the hospital cannot help."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidcxr_tf.audit.evidence import Bools, Evidence, Floats
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.evaluate.bootstrap import bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import RankedScores

NAME = "within_source"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the AUC over pairs of films of one source, next to that over all films.

    The share of (positive, other) pairs *of the same source* that the score puts in the right order; a source counts
    by its number of pairs. ``details`` holds the AUC of each source and the pooled one.
    """
    scores, pooled = evidence.scores(), evidence.area(evidence.scores())
    parts = holding_both(evidence)
    if not parts:
        return limits.skip(
            NAME,
            f"no source holds both {evidence.positive} and other films, so that hospital and disease cannot be told "
            "apart on these films",
            {"pooled": pooled},
        )
    found = _pairs_in_order(evidence, scores, parts)
    each = {name: evidence.area(scores, chosen) | _counts(evidence, chosen) for name, chosen in parts.items()}
    sentence = (
        f"Of two films of one hospital, one with {evidence.positive} and one without, the model ranks them rightly in "
        f"{_percent(found['value'])} of cases; over all hospitals together it seems to be {_percent(pooled['value'])}."
    )
    return limits.judge(
        NAME, f"AUC of {evidence.positive} within sources", found, sentence, {"pooled": pooled, "sources": each}
    )


def holding_both(evidence: Evidence) -> dict[str, Bools]:
    """Return the films of each source that holds positive and other films, bool [N]."""
    masks = {str(name): evidence.sources == name for name in sorted(set(evidence.sources))}
    return {
        name: mask
        for name, mask in masks.items()
        if evidence.is_positive[mask].any() and not evidence.is_positive[mask].all()
    }


def _pairs_in_order(evidence: Evidence, scores: Floats, parts: dict[str, Bools]) -> dict[str, Any]:
    rankings = [(chosen, RankedScores.sort(scores[chosen], evidence.is_positive[chosen])) for chosen in parts.values()]

    def statistics(weights: Floats) -> dict[str, Floats]:
        right, pairs = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for chosen, ranked in rankings:
            part = weights[chosen]
            count = part[ranked.positives].sum(axis=0) * part[ranked.negatives].sum(axis=0)
            right += np.where(count > 0, np.nan_to_num(ranked.areas(part)[0]) * count, 0.0)
            pairs += count
        return {"auc": np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)}

    value = float(statistics(np.ones((len(scores), 1)))["auc"][0])
    samples = bootstrap(statistics, evidence.patients, evidence.resamples, evidence.seed)["auc"]
    return describe(value, samples, patient_numbers(evidence.patients)[1])


def _counts(evidence: Evidence, chosen: Bools) -> dict[str, int]:
    positive = int((evidence.is_positive & chosen).sum())
    return {"positive": positive, "other": int(chosen.sum()) - positive}


def _percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f} %"
