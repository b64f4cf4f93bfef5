"""Kolmogorov-Smirnov and Wilcoxon tests: thin wrappers over SciPy, in float64, that say why there is no answer.

Source: Oh 2020, section on statistical analysis (which test for which question, and the asterisks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from covidcxr_tf.errors import DataError
from covidcxr_tf.evaluate.bootstrap import Floats

LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
Values = Sequence[float] | npt.NDArray[Any]


@dataclass(frozen=True)
class TestResult:
    """One test, two-sided.

    Attributes
    ----------
    statistic, p_value : float or None
        None where the test is undefined; `why` says why.
    n : tuple of int
        Values on each side.
    stars : str
        ``***`` p < .001, ``**`` p < .01, ``*`` p < .05, ``ns`` else, empty where undefined. Not corrected for
        how many tests were made.
    """

    __test__ = False  # the name starts as pytest's classes do

    name: str
    statistic: float | None
    p_value: float | None
    n: tuple[int, ...]
    stars: str
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, fit for JSON."""
        return asdict(self)


def asterisks(p_value: float) -> str:
    """Return the asterisks of Oh 2020 for a p-value, ``"ns"`` from .05 on."""
    return next((stars for level, stars in LEVELS if p_value < level), "ns")


def kolmogorov_smirnov(first: Values, second: Values) -> TestResult:
    """Return whether two samples come from one distribution."""
    one, other = _numbers(first), _numbers(second)
    name = "Kolmogorov-Smirnov, two samples"
    if not len(one) or not len(other):
        return _undefined(name, (len(one), len(other)), "a sample is empty")
    return _result(name, stats.ks_2samp(one, other), (len(one), len(other)))


def kolmogorov_smirnov_normal(values: Values) -> TestResult:
    """Return whether a sample is normally distributed.

    The normal curve has the sample's own mean and standard deviation, which makes the p-value too large (Lilliefors
    1967): it rejects less often than its level says.
    """
    sample = _numbers(values)
    name = "Kolmogorov-Smirnov, against a normal distribution"
    if len(sample) < 3 or np.ptp(sample) == 0:
        why = "fewer than 3 values" if len(sample) < 3 else "all values are equal"
        return _undefined(name, (len(sample),), why)
    standardised = (sample - sample.mean()) / sample.std(ddof=1)
    return _result(name, stats.kstest(standardised, "norm"), (len(sample),))


def wilcoxon_signed_rank(first: Values, second: Values) -> TestResult:
    """Return whether paired values (the same films, in the same order) differ; equal pairs are left out.

    Raises
    ------
    DataError
        If the samples are not of one length.
    """
    one, other = _numbers(first), _numbers(second)
    if len(one) != len(other):
        raise DataError(f"{len(one)} and {len(other)} values", expected="pairs, as many on each side")
    name = "Wilcoxon signed rank"
    if not np.any(one != other):
        return _undefined(name, (len(one), len(other)), "all pairs are equal" if len(one) else "no pair")
    return _result(name, stats.wilcoxon(one, other), (len(one), len(other)))


def wilcoxon_rank_sum(first: Values, second: Values) -> TestResult:
    """Return whether one of two independent samples tends to larger values.

    The statistic is Mann and Whitney's U of the first sample: the same test, and SciPy's form of it that corrects
    for ties and is exact for small samples.
    """
    one, other = _numbers(first), _numbers(second)
    name = "Wilcoxon rank sum"
    if not len(one) or not len(other):
        return _undefined(name, (len(one), len(other)), "a sample is empty")
    if np.ptp(np.concatenate([one, other])) == 0:
        return _undefined(name, (len(one), len(other)), "all values are equal")
    return _result(name, stats.mannwhitneyu(one, other), (len(one), len(other)))


def _numbers(values: Values) -> Floats:
    numbers = np.asarray(values, np.float64).ravel()
    for place in np.flatnonzero(~np.isfinite(numbers))[:1]:
        raise DataError(
            f"value {place + 1} is {numbers[place]}", expected="finite numbers", remedy="drop it beforehand"
        )
    return numbers


def _result(name: str, outcome: Any, n: tuple[int, ...]) -> TestResult:
    p_value = float(outcome.pvalue)
    return TestResult(name, float(outcome.statistic), p_value, n, asterisks(p_value))


def _undefined(name: str, n: tuple[int, ...], why: str) -> TestResult:
    return TestResult(name, None, None, n, "", why)
