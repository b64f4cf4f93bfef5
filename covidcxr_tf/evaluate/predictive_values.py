"""What a call is worth where the disease is as common as stated: PPV and NPV from sensitivity and specificity.

A test set is collected, not sampled: its share of positives says nothing about a ward or a country, and so neither does
its precision. Sensitivity and specificity carry over (as far as the spectrum of patients does), prevalence is stated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL
from covidcxr_tf.evaluate.delong import standard_errors
from covidcxr_tf.evaluate.proportions import Share

METHOD = "logit of the ratio of rates, delta method (Mercaldo 2007), films weighed by their design effect over patients"


def predictive_values(
    sensitivity: Share, specificity: Share, prevalence: float, level: float = LEVEL
) -> dict[str, dict[str, Any]]:
    """Return ``ppv`` and ``npv`` at a prevalence, each with its interval.

    Parameters
    ----------
    sensitivity, specificity : Share
        Of the films with and without the disease (``clustered_share``). The two are taken for independent, which is
        slightly cautious or bold where patients have films on both sides.
    prevalence : float
        Share of people with the disease where the test is to be used, in (0, 1).
    level : float

    Returns
    -------
    dict
        Each ``{"value", "ci95", "prevalence", "method"}``, null with ``why`` where undefined. Where a rate is 0 or 1
        its logit is infinite: the interval is then that of rates with z^2 / 2 hits and misses added (Mercaldo's
        adjusted logit), widened to the value, which is that of the rates themselves.

    Raises
    ------
    UsageError
        A prevalence outside (0, 1).

    Source: Mercaldo, Lau & Zhou 2007, equations 4 to 7.
    """
    if not 0 < prevalence < 1:
        raise UsageError(f"prevalence {prevalence:g}", expected="a number between 0 and 1, as 0.05")
    missing = [side for side, share in (("with", sensitivity), ("without", specificity)) if not share.n]
    if missing:
        nothing = {"value": None, "ci95": None, "why": f"no film {missing[0]} the disease", "prevalence": prevalence}
        return {"ppv": dict(nothing), "npv": dict(nothing)}
    sick, well = sensitivity.value, specificity.value
    ppv = _metric(sick * prevalence, (1 - well) * (1 - prevalence), "no film was called positive")
    npv = _metric(well * (1 - prevalence), (1 - sick) * prevalence, "no film was called negative")
    counts = [(share.value * share.effective_n, share.effective_n) for share in (sensitivity, specificity)]
    if {sick, well} & {0.0, 1.0}:
        extra = standard_errors(level) ** 2
        counts = [(hits + extra / 2, n + extra) for hits, n in counts]
    rates = [hits / n for hits, n in counts]
    ends = {
        "ppv": (rates[0], 1 - rates[1], prevalence, (counts[0][1], counts[1][1])),
        "npv": (rates[1], 1 - rates[0], 1 - prevalence, (counts[1][1], counts[0][1])),
    }
    found = {"ppv": ppv, "npv": npv}
    for name, (right, wrong, share, sizes) in ends.items():
        if found[name]["value"] is not None:
            bounds, value = _logit_interval(right, wrong, share, sizes, level), found[name]["value"]
            found[name] |= {"ci95": [min(bounds[0], value), max(bounds[1], value)], "method": METHOD}
        found[name]["prevalence"] = prevalence
    return found


def _metric(right: float, wrong: float, why: str) -> dict[str, Any]:
    if right + wrong == 0:
        return {"value": None, "ci95": None, "why": why}
    return {"value": right / (right + wrong), "ci95": None}


def _logit_interval(right: float, wrong: float, share: float, sizes: tuple[float, float], level: float) -> list[float]:
    """Return the interval of right*share / (right*share + wrong*(1-share)) for two independent rates."""
    centre = np.log(right * share / (wrong * (1 - share)))
    error = np.sqrt((1 - right) / (right * sizes[0]) + (1 - wrong) / (wrong * sizes[1]))
    reach = standard_errors(level) * error
    return [float(1 / (1 + np.exp(-(centre + side * reach)))) for side in (-1, 1)]
