"""Whether the answer hangs on what stands in the corners of the film."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.hiding import cover_corners
from covidcxr_tf.audit.limits import Limits

NAME = "corner_text"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the share of films that are called otherwise when their corners are covered.

    ``details`` holds the mean change of the positive class's probability, and the AUC with corners covered.
    """
    before, after = evidence.probabilities(), evidence.probabilities(NAME, cover_corners)
    found = evidence.share(evidence.called(before) != evidence.called(after))
    moved = np.abs(evidence.scores() - evidence.scores(NAME))
    sentence = (
        f"Covering the four corners, where burnt-in text stands, changes the answer on {100 * found['value']:.0f} % of "
        "films."
    )
    details = {
        "mean_change": float(moved.mean()),
        "largest_change": float(moved.max()),
        "auc_covered": evidence.area(evidence.scores(NAME)),
    }
    return limits.judge(NAME, "share of films called otherwise", found, sentence, details)
