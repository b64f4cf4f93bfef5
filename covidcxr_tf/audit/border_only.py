"""Whether the model knows the answer from the film's border alone."""

from __future__ import annotations

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.hiding import BORDER, keep_border
from covidcxr_tf.audit.limits import Limits, information

NAME = "border_only"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the AUC on films of which the outer tenth alone is left, at inference.

    Source: Maguolo & Nanni 2021.
    """
    found = evidence.area(evidence.scores(NAME, keep_border))
    sentence = (
        f"From the outer {100 * BORDER:.0f} % of the films alone the model ranks "
        f"{100 * (found['value'] or 0):.0f} % of pairs rightly (chance is 50 %)."
    )
    quantity = f"AUC of {evidence.positive} from the border alone"
    return limits.judge(NAME, quantity, found, sentence, judged=information(found["value"]))
