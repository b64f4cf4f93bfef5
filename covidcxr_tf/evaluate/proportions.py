"""Intervals of a share: Wilson, Clopper-Pearson, and both for films that cluster in patients.

Which is used where: figures of a whole set (``metrics.json``: accuracy, sensitivity, ...) have the percentile bootstrap
over patients. It collapses where a share is 0 or 1 and is too narrow for few films, so cut-offs, subgroups and
predictive values have `clustered_share`: Wilson's interval on the number of independent films that the films are worth
(Rao & Scott 1992), and Clopper-Pearson over patients where every film went the same way. `wilson` and `clopper_pearson`
themselves take films for independent: right for one film a patient.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL, patient_numbers
from covidcxr_tf.evaluate.delong import standard_errors


def wilson(hits: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Parameters
    ----------
    hits, n : float
        Hits among `n`; whole numbers, or the fractions of an effective sample size.
    level : float
        In (0, 1).

    Raises
    ------
    UsageError
        No film, or hits outside 0..n.

    Source: Wilson 1927; without continuity correction (Brown, Cai & DasGupta 2001 recommend it for small n).
    """
    _check(hits, n)
    z = standard_errors(level)
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # The bounds at 0 and n are exact zeros and ones on paper; rounding must not move them past.
    lower = 0.0 if hits == 0 else max(0.0, float(middle - reach))
    upper = 1.0 if hits == n else min(1.0, float(middle + reach))
    return lower, upper


def clopper_pearson(hits: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact binomial interval of a share; it covers at least `level`, usually more.

    Parameters and errors as `wilson`. Source: Clopper & Pearson 1934, by quantiles of the beta distribution.
    """
    _check(hits, n)
    standard_errors(level)  # refuses a wrong level
    tail = (1 - level) / 2
    lower = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, n - hits + 1))
    upper = 1.0 if hits == n else float(stats.beta.ppf(1 - tail, hits + 1, n - hits))
    return lower, upper


@dataclass(frozen=True)
class Share:
    """Hits among films, and how many independent films these are worth.

    Attributes
    ----------
    hits, n, patients : int
    design_effect : float or None
        Variance over patients by variance of independent films, at least 1; exactly 1 for one film a patient. None
        where every film went the same way: nothing to estimate it from.
    effective_n : float
        ``n / design_effect``; the number of patients where that is None, as if films of a patient were all one.
    """

    hits: int
    n: int
    patients: int
    design_effect: float | None
    effective_n: float

    @property
    def value(self) -> float:
        """Hits by films, NaN without films."""
        return self.hits / self.n if self.n else float("nan")


def clustered_share(hit: npt.ArrayLike, patient_ids: Sequence[Hashable] | npt.NDArray[Any]) -> Share:
    """Return a share over films of patients.

    Parameters
    ----------
    hit : bool [films]
        What happened in each film.
    patient_ids : sequence [films]

    Raises
    ------
    UsageError
        For another number of patients than films.

    Source: Rao & Scott 1992, section 2: the variance of a ratio of patients' sums. Differs from paper: a design effect
    below 1 counts as 1, as it is noise more often than a gain.
    """
    outcome = np.asarray(hit, bool)
    if len(patient_ids) != len(outcome):
        raise UsageError(f"{len(patient_ids)} patients of {len(outcome)} films", expected="the patient of each film")
    n, hits = len(outcome), int(outcome.sum())
    numbers, patients = patient_numbers(patient_ids)
    if patients == n:
        return Share(hits, n, patients, 1.0, float(n))
    if hits in (0, n) or patients < 2:
        return Share(hits, n, patients, None, float(patients))
    share = hits / n
    residual = np.bincount(numbers, outcome - share, minlength=patients)
    variance = patients / (patients - 1) * float(residual @ residual) / n**2
    effect = max(1.0, variance * n / (share * (1 - share)))
    return Share(hits, n, patients, effect, n / effect)


def share_metric(share: Share, level: float = LEVEL, why: str = "no film") -> dict[str, Any]:
    """Return a share as ``metrics.json`` has it.

    Parameters
    ----------
    share : Share
    level : float
    why : str
        Why it is undefined, if it has no film.

    Returns
    -------
    dict
        ``value``, ``ci95``, ``n``, ``patients``, ``design_effect``, ``method``; ``why`` where nothing or no interval
        can be given.
    """
    counts = {"n": share.n, "patients": share.patients}
    if not share.n:
        return {"value": None, "ci95": None, "why": why, **counts}
    found: dict[str, Any] = {"value": share.value, "ci95": None, **counts, "design_effect": share.design_effect}
    if share.hits in (0, share.n):
        bounds = clopper_pearson(share.patients if share.hits else 0, share.patients, level)
        return found | {"ci95": list(bounds), "method": "Clopper-Pearson over patients: every film went the same way"}
    if share.patients < 2:
        return found | {"why": "an interval over patients needs at least two of them"}
    bounds = wilson(share.value * share.effective_n, share.effective_n, level)
    return found | {"ci95": list(bounds), "method": "Wilson, films weighed by their design effect over patients"}


def _check(hits: float, n: float) -> None:
    if not (n > 0 and 0 <= hits <= n):
        raise UsageError(f"{hits:g} hits of {n:g}", expected="at least one film, and hits among them")
