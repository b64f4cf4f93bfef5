"""Whether age, sex or view tell the label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.audit.association import cramers_v
from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits

NAME = "age_and_view"
#: Lower bounds of age groups in years, and their names.
AGES = ((0, "under 18"), (18, "18 to 39"), (40, "40 to 64"), (65, "65 and over"))


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the largest Cramer's V of the label with age group, sex and view, over the films of the manifest.

    Films of which a column is not known are left out of that column. ``details`` holds each column, and how many films
    it is known of.
    """
    films = evidence.manifest
    labels, patients = films["label"].to_numpy(str), films["patient_id"].to_numpy(str)
    found = {}
    for name, column in _columns(films).items():
        known = column != ""
        value = cramers_v(column[known], labels[known], patients[known], evidence.resamples, evidence.seed)
        found[name] = value | {"films": int(known.sum())}
    defined = {name: one for name, one in found.items() if one["value"] is not None}
    if not defined:
        return limits.skip(NAME, "the manifest knows no age, sex or view that differs between films", found)
    largest = max(defined, key=lambda name: defined[name]["value"])
    sentence = (
        f"Of age, sex and view, {largest} goes most with the label: V = {defined[largest]['value']:.2f} of 1, known of "
        f"{defined[largest]['films']} of {len(films)} films."
    )
    chosen = {key: defined[largest][key] for key in ("value", "ci95")}
    return limits.judge(NAME, f"Cramer's V of label and {largest}", chosen, sentence, {"columns": found})


def _columns(films: pd.DataFrame) -> dict[str, npt.NDArray[np.str_]]:
    columns = {}
    if "age" in films:
        ages = pd.to_numeric(films["age"], errors="coerce")
        columns["age group"] = np.array([_group(age) for age in ages])
    for name in ("sex", "view"):
        if name in films:
            columns[name] = films[name].fillna("").astype(str).str.strip().to_numpy(str)
    return columns


def _group(age: float) -> str:
    return "" if not age >= 0 else next(name for least, name in reversed(AGES) if age >= least)
