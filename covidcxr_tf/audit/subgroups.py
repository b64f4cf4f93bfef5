"""Whether the model does worse in some group of people, or of films, than in all others."""

from __future__ import annotations

from typing import Any

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.evaluate.group_gaps import group_gaps
from covidcxr_tf.evaluate.subgroups import FEW_PATIENTS

NAME = "subgroups"
WORDS = {"auroc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return how far the worst group of sex, age band, view or source lies behind all other films.

    In AUC, sensitivity or specificity, whichever is worst. The verdict is about the worst gap that is more than chance
    after Holm's correction over all groups and figures; there is none: 0. ``details`` holds each group with intervals,
    the worst group of each figure, and the groups that are too small.

    Source: Seyyed-Kalantari et al. 2021.
    """
    called = evidence.called(evidence.probabilities()) == evidence.positive
    gaps, left_out = group_gaps(evidence.films, evidence.scores(), called, evidence.is_positive, evidence.positive)
    details: dict[str, Any] = {"groups": gaps, "too_small": left_out, "least_patients_a_side": FEW_PATIENTS}
    if not gaps:
        why = f"no group of sex, age, view or source, and its rest, have {FEW_PATIENTS} patients with and without"
        return limits.skip(NAME, f"{why} {evidence.positive}", details)
    # A group that is ahead of the rest beyond chance is no group left behind.
    beyond = [row for row in gaps if row["beyond_chance"] and _behind(row) > 0]
    worst = max(beyond or gaps, key=_behind)
    details["worst"] = {
        name: max((row for row in gaps if row["measure"] == name), key=_behind)["group_value"]
        | {"group": _name(max((row for row in gaps if row["measure"] == name), key=_behind))}
        for name in WORDS
    }
    figure, tests = WORDS[worst["measure"]], len({(row["p"], row["measure"], row["by"]) for row in gaps})
    chance = "more than chance would explain" if beyond else "no more than chance"
    sentence = (
        f"Furthest behind is the group {_name(worst)}: {figure} {worst['group_value']['value']:.2f}, in all others "
        f"{worst['rest']['value']:.2f}; of {tests} differences looked at together this is {chance}."
    )
    judged = max((_behind(row) for row in beyond), default=0.0)
    return limits.judge(
        NAME, f"{figure} of all others less that of {_name(worst)}", worst["gap"], sentence, details, judged=judged
    )


def _behind(row: dict[str, Any]) -> float:
    return float(row["gap"]["value"])


def _name(row: dict[str, Any]) -> str:
    return f"{row['by']} {row['group']}"
