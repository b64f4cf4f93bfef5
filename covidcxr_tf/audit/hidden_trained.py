"""Whether the answer can be learned by the model's own network from films without lungs."""

from __future__ import annotations

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits

NAME = "hidden_trained"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the AUC of the network trained anew with the lungs blacked out; ``details`` holds the model's own.

    Source: Maguolo & Nanni 2021.
    """
    if NAME not in evidence.retrained:
        return limits.skip(NAME, "it trains the network anew, which takes --retrain")
    anew, own = evidence.retrained[NAME], evidence.area(evidence.scores())
    found = evidence.area(anew.scores)
    sentence = (
        f"Trained anew for {anew.epochs} epochs on films whose lungs are blacked out, the same network ranks "
        f"{100 * (found['value'] or 0):.0f} % of pairs rightly (chance is 50 %, the model on whole films "
        f"{100 * (own['value'] or 0):.0f} %)."
    )
    details = {"whole_films": own, "epochs": anew.epochs, "films_trained_on": anew.films}
    return limits.judge(NAME, f"AUC of {evidence.positive}, learned without lungs", found, sentence, details)
