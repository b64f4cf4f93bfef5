"""Whether what the network learned in one hospital holds in another."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidcxr_tf.audit.evidence import Bools, Evidence, Floats
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.audit.probes import enough, out_of_fold, probe
from covidcxr_tf.audit.within_source import holding_both
from covidcxr_tf.evaluate.bootstrap import bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import RankedScores

NAME = "cross_source"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the mean AUC lost from the source that a probe on the network's features learned on to every other.

    ``details`` holds the whole matrix: rows learned on, columns tested on; the diagonal is cross-validated by patient.

    Source: DeGrave 2021, Figure 2.
    """
    parts = {
        name: chosen
        for name, chosen in holding_both(evidence).items()
        if enough(evidence.is_positive[chosen], evidence.patients[chosen])
    }
    if len(parts) < 2:
        return limits.skip(
            NAME,
            f"it needs two sources with five patients with {evidence.positive} and five without; {len(parts)} has so",
        )
    cells = {(one, other): _ranked(evidence, parts, one, other) for one in parts for other in parts}

    def statistics(weights: Floats) -> dict[str, Floats]:
        found = {place: ranked.areas(weights[parts[place[1]]])[0] for place, ranked in cells.items()}
        own = np.mean([value for (one, other), value in found.items() if one == other], axis=0)
        return {"loss": own - np.mean([value for (one, other), value in found.items() if one != other], axis=0)}

    samples = bootstrap(statistics, evidence.patients, evidence.resamples, evidence.seed)["loss"]
    value = float(statistics(np.ones((len(evidence.films), 1)))["loss"][0])
    found = describe(value, samples, patient_numbers(evidence.patients)[1])
    matrix: dict[str, dict[str, float]] = {name: {} for name in parts}
    for (one, other), ranked in cells.items():
        matrix[one][other] = float(ranked.areas(np.ones((int(parts[other].sum()), 1)))[0][0])
    sentence = f"What is learned in one hospital loses {value:.2f} of AUC in another."
    return limits.judge(NAME, "AUC lost between sources", found, sentence, {"matrix": matrix})


def _ranked(evidence: Evidence, parts: dict[str, Bools], one: str, other: str) -> RankedScores:
    answers: Any = evidence.is_positive
    features, learned, tested = evidence.features, parts[one], parts[other]
    if one == other:
        scores = out_of_fold(features[learned], answers[learned], evidence.patients[learned], evidence.seed)[0][:, 1]
    else:
        fitted = probe(int(learned.sum()), features.shape[1], evidence.seed).fit(features[learned], answers[learned])
        scores = fitted.predict_proba(features[tested])[:, 1]
    return RankedScores.sort(scores, answers[tested])
