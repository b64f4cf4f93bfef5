"""Whether the answer can be learned from the films' borders alone."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.audit.evidence import Evidence, Floats
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.hiding import BORDER
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.audit.probes import enough, out_of_fold
from covidcxr_tf.audit.within_source import holding_both
from covidcxr_tf.imaging.resize import resize

NAME = "border_trained"
SIZE = 48


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the AUC of the network trained anew on borders alone, or of a simple model where that was not asked for.

    The simple model is logistic regressions on the border's grey levels, patients never in both parts. Either says of
    the *films*, not of the model, whether they leak their label; a network that is masked to the lungs need not have
    used it. ``details`` holds the simple model's, and the same within each source.

    Source: Maguolo & Nanni 2021.
    """
    return _by_simple_model(evidence, limits) if NAME not in evidence.retrained else _by_network(evidence, limits)


def _by_network(evidence: Evidence, limits: Limits) -> Finding:
    anew, own = evidence.retrained[NAME], evidence.area(evidence.scores())
    found, simple = evidence.area(anew.scores), _by_simple_model(evidence, limits)
    within = {name: evidence.area(anew.scores, chosen) for name, chosen in holding_both(evidence).items()}
    sentence = (
        f"Trained anew for {anew.epochs} epochs on nothing but the outer {100 * BORDER:.0f} % of each film, the same "
        f"network ranks {100 * (found['value'] or 0):.0f} % of pairs rightly (chance is 50 %, the model on whole films "
        f"{100 * (own['value'] or 0):.0f} %)."
    )
    details = {
        "whole_films": own,
        "epochs": anew.epochs,
        "films_trained_on": anew.films,
        "simple_model": {"value": simple.value, "ci95": simple.ci95},
        "within_sources": within,
    }
    return limits.judge(NAME, f"AUC of {evidence.positive}, learned from borders", found, sentence, details)


def _by_simple_model(evidence: Evidence, limits: Limits) -> Finding:
    answers = np.where(evidence.is_positive, "positive", "other")
    if not enough(answers, evidence.patients):
        return limits.skip(NAME, "it needs five patients with and five without the disease")
    probabilities, names = out_of_fold(_borders(evidence), answers, evidence.patients, evidence.seed)
    scores = probabilities[:, names.index("positive")]
    found = evidence.area(scores)
    within = {name: evidence.area(scores, chosen) for name, chosen in holding_both(evidence).items()}
    sentence = (
        f"A simple model that sees nothing but the outer {100 * BORDER:.0f} % of each film learns to rank "
        f"{100 * (found['value'] or 0):.0f} % of pairs rightly: that much these films give away without any lung."
    )
    return limits.judge(
        NAME, f"AUC of {evidence.positive}, learned from borders", found, sentence, {"within_sources": within}
    )


def _borders(evidence: Evidence) -> Floats:
    width = max(1, round(BORDER * SIZE))
    outside = np.ones((SIZE, SIZE), bool)
    outside[width:-width, width:-width] = False
    films = (resize(evidence.read(row), (SIZE, SIZE)) for row in range(len(evidence.films)))
    return np.stack([film[outside] for film in films]).astype(np.float64)
