"""Whether a film, or a patient, stands in two splits."""

from __future__ import annotations

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.data.duplicates import find_duplicates
from covidcxr_tf.data.fingerprints import fingerprint
from covidcxr_tf.data.splits import torn_patients
from covidcxr_tf.progress import Progress

NAME = "duplicates"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the number of picture pairs and patients that stand in more than one split of the manifest."""
    films = evidence.manifest
    if "split" not in films or films["split"].nunique() < 2:
        return limits.skip(NAME, "the manifest has no two splits")
    progress = Progress(len(films), "fingerprints")
    pairs = find_duplicates(films, fingerprints=fingerprint(films, progress=progress.advance))
    progress.close()
    across = pairs[pairs["same_split"].eq(False)]
    torn = torn_patients(films)
    value = len(across) + len(torn)
    sentence = (
        f"{len(across)} pictures and {len(torn)} patients stand in more than one of training, validation and test."
        if value
        else "No picture and no patient stands in more than one of training, validation and test."
    )
    details = {
        "pairs_across_splits": len(across),
        "patients_in_several_splits": len(torn),
        "pairs_within_a_split": len(pairs) - len(across),
        "first_pairs": across[["path_a", "path_b", "kind", "distance"]].head(20).to_dict("records"),
        "films": len(films),
    }
    return limits.judge(NAME, "films and patients in several splits", {"value": value, "ci95": None}, sentence, details)
