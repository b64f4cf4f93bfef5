"""Whether the hospital can be read from what the network sees, within one class."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidcxr_tf.audit.evidence import Bools, Evidence, Floats
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.audit.probes import enough, out_of_fold
from covidcxr_tf.evaluate.bootstrap import bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import RankedScores

NAME = "source_in_features"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return how well logistic regressions on the network's last features tell sources apart, within a class.

    The mean AUC of one source against the others of the same class, over all classes and sources that have five
    patients or more. Within a class disease cannot help.

    Source: Garcia Santa Cruz 2021; Teixeira 2021.
    """
    questions = [question for name in evidence.loaded.classes for question in _questions(evidence, name)]
    if not questions:
        return limits.skip(NAME, "no class has films of two sources with five patients each")

    def statistics(weights: Floats) -> dict[str, Floats]:
        parts = np.stack([ranked.areas(weights[chosen])[0] for _, _, chosen, ranked in questions])
        known = np.isfinite(parts)
        return {"auc": np.where(known.any(axis=0), np.nansum(parts, axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)}

    samples = bootstrap(statistics, evidence.patients, evidence.resamples, evidence.seed)["auc"]
    value = float(statistics(np.ones((len(evidence.films), 1)))["auc"][0])
    found = describe(value, samples, patient_numbers(evidence.patients)[1])
    sentence = (
        f"Among films of one class, the hospital can be told from what the network sees with an AUC of {value:.2f} "
        "(0.5 is chance): so much of the hospital is in there."
    )
    each: dict[str, Any] = {}
    for label, source, chosen, ranked in questions:
        each.setdefault(label, {})[source] = float(ranked.areas(np.ones((int(chosen.sum()), 1)))[0][0])
    return limits.judge(NAME, "AUC of the source within a class, from features", found, sentence, {"auc": each})


def _questions(evidence: Evidence, label: str) -> list[tuple[str, str, Bools, RankedScores]]:
    """Return (class, source, films of the class and of usable sources, their ranking) for each source of a class."""
    of_class = (evidence.films["label"] == label).to_numpy(bool)
    names = [
        str(name)
        for name in sorted(set(evidence.sources[of_class]))
        if len(np.unique(evidence.patients[of_class & (evidence.sources == name)])) >= 5
    ]
    chosen = of_class & np.isin(evidence.sources.astype(str), names)
    answers = evidence.sources[chosen].astype(str)
    if not chosen.any() or not enough(answers, evidence.patients[chosen]):
        return []
    probabilities, order = out_of_fold(evidence.features[chosen], answers, evidence.patients[chosen], evidence.seed)
    return [
        (label, name, chosen, RankedScores.sort(probabilities[:, place], answers == name))
        for place, name in enumerate(order)
    ]
