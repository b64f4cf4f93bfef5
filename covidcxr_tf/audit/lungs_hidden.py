"""Whether the model still knows the answer when the lungs are blacked out."""

from __future__ import annotations

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.hiding import hide_lungs
from covidcxr_tf.audit.limits import Limits, information

NAME = "lungs_hidden"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the AUC on films whose lungs are hidden, at inference: the network is the one that was trained.

    Source: Maguolo & Nanni 2021.
    """
    found, whole = evidence.area(evidence.scores(NAME, hide_lungs)), evidence.area(evidence.scores())
    unseen = sum(look.lungs is None for look in evidence.looks)
    sentence = (
        f"With the lungs blacked out the model still ranks {100 * (found['value'] or 0):.0f} % of pairs rightly "
        f"(chance is 50 %, whole films {100 * (whole['value'] or 0):.0f} %)."
    )
    details = {"whole_films": whole, "films_without_lungs_found": unseen}
    quantity = f"AUC of {evidence.positive} with the lungs hidden"
    return limits.judge(NAME, quantity, found, sentence, details, judged=information(found["value"]))
