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
    """Return the AUC of logistic regressions on the border's grey levels, patients never in both parts.

    It says of the *films*, not of the model, whether they leak their label; a network that is masked to the lungs need
    not have used it. ``details`` holds the same within each source.
    """
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
