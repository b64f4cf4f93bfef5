"""How far each group of people falls behind all others, and whether that is more than chance over all groups looked at.

Each group is held against the rest of the films in AUC, sensitivity and specificity. The intervals of the two sides are
joined to one of their difference, and p-values are corrected for the number of differences (Holm 1979): of twenty
groups without any true difference one would else look worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from covidcxr_tf.evaluate.bootstrap import Floats
from covidcxr_tf.evaluate.delong import clustered_delong, holm
from covidcxr_tf.evaluate.proportions import clustered_share
from covidcxr_tf.evaluate.subgroups import BY, FEW_PATIENTS, group_figures, group_films

MEASURES = ("auroc", "sensitivity", "specificity")
ALPHA = 0.05
Bools = npt.NDArray[np.bool_]


def group_gaps(
    table: pd.DataFrame,
    scores: Floats,
    called: Bools,
    is_positive: Bools,
    positive: str,
    by: Sequence[str] = BY,
    least: int = FEW_PATIENTS,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return how far each group is behind the rest, and the groups that are too small to say.

    Parameters
    ----------
    table : DataFrame
        The films, with ``patient_id`` and any of the columns `by`.
    scores : float64 [films]
    called, is_positive : bool [films]
    positive : str
        What the positive class is called.
    by : sequence of str
    least : int
        Patients with and without the class that a group and its rest need.

    Returns
    -------
    gaps : list of dict
        ``by``, ``group``, ``measure``, ``group_value`` and ``rest`` (each ``value`` and ``ci95``), ``gap`` (rest less
        group: above 0 the group is behind; ``value`` and ``ci95``), ``p``, ``holm``, ``beyond_chance``. Of a column
        with two groups each difference is tested once.
    left_out : list of str
        ``"column: group"``.
    """
    patients = table["patient_id"].to_numpy(str)
    found: list[dict[str, Any]] = []
    tests: dict[tuple[bytes, str], float] = {}
    keys: list[tuple[bytes, str]] = []
    left_out = []
    for column, group, inside in group_films(table, by)[1:]:
        sides = [
            group_figures(scores[part], called[part], is_positive[part], patients[part], positive)
            for part in (inside, ~inside)
        ]
        if any(_patients_of_smaller_side(patients, is_positive, part) < least for part in (inside, ~inside)):
            left_out.append(f"{column}: {group}")
            continue
        # A group and its rest are one pair, whichever is looked at.
        pair = min(inside.tobytes(), (~inside).tobytes())
        for measure in MEASURES:
            value = {"group_value": _plain(sides[0][measure]), "rest": _plain(sides[1][measure])}
            found.append({"by": column, "group": group, "measure": measure, **value, "gap": _gap(**value)})
            keys.append((pair, measure))
            if keys[-1] not in tests:
                tests[keys[-1]] = _p_value(measure, inside, scores, called, is_positive, patients)
    corrected = dict(zip(tests, holm(list(tests.values())).tolist(), strict=True)) if tests else {}
    for row, key in zip(found, keys, strict=True):
        row |= {"p": tests[key], "holm": corrected[key], "beyond_chance": bool(corrected[key] < ALPHA)}
    return found, left_out


def _patients_of_smaller_side(patients: npt.NDArray[Any], is_positive: Bools, part: Bools) -> int:
    return min(len(np.unique(patients[part & side])) for side in (is_positive, ~is_positive))


def _plain(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metric[key] for key in ("value", "ci95")}


def _gap(group_value: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return rest less group with the interval that theirs give: Zou & Donner 2008, equation 3 (MOVER)."""
    value = rest["value"] - group_value["value"]
    if group_value["ci95"] is None or rest["ci95"] is None:
        return {"value": value, "ci95": None, "why": "on one side every pair of films is in one order: no variance"}
    (low, high), (rest_low, rest_high) = group_value["ci95"], rest["ci95"]
    down = np.hypot(rest["value"] - rest_low, high - group_value["value"])
    up = np.hypot(rest_high - rest["value"], group_value["value"] - low)
    return {"value": value, "ci95": [float(value - down), float(value + up)]}


def _p_value(
    measure: str, inside: Bools, scores: Floats, called: Bools, is_positive: Bools, patients: npt.NDArray[Any]
) -> float:
    """Return the two-sided p-value of equal figures in a group and its rest, taken for independent.

    Patients with films on both sides make the two alike, so that it errs to the larger.
    """
    if measure == "auroc":
        areas = [clustered_delong(scores[None, part], is_positive[part], patients[part]) for part in (inside, ~inside)]
        difference = float(areas[0].aucs[0] - areas[1].aucs[0])
        variance = sum(float(area.covariance[0, 0]) for area in areas)
    else:
        judged, hit = (is_positive, called) if measure == "sensitivity" else (~is_positive, ~called)
        one, other = (clustered_share(hit[judged & part], patients[judged & part]) for part in (inside, ~inside))
        difference = one.value - other.value
        common = (one.hits + other.hits) / (one.n + other.n)
        variance = common * (1 - common) * (1 / one.effective_n + 1 / other.effective_n)
    if difference == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(difference) / np.sqrt(variance))) if variance > 0 else 0.0
