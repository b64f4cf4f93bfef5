"""Kolmogorov-Smirnov and Wilcoxon tests (thin wrappers over SciPy) and McNemar's: float64, and why there is no answer.

Source: Oh 2020, section on statistical analysis (which test for which question, and the asterisks).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from covidcxr_tf.errors import DataError, UsageError
from covidcxr_tf.evaluate.bootstrap import Floats, patient_numbers

LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
#: From here on the asymptotic p-value of equally many values will do: SciPy's exact sum for them can round to more than
#: 1, of which it warns.
NEARLY_ONE = 1 - 1e-9
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
    if len(one) == len(other) > 1:
        rough = stats.ks_2samp(one, other, method="asymp")
        if rough.statistic * len(one) < 1.5:  # a step apart, as any two such samples are at least
            return TestResult(name, float(rough.statistic), 1.0, (len(one), len(other)), asterisks(1.0))
        if rough.pvalue > NEARLY_ONE:
            return _result(name, rough, (len(one), len(other)))
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


def mcnemar(
    first: Values,
    second: Values,
    patient_ids: Sequence[Hashable] | npt.NDArray[Any] | None = None,
    method: Literal["exact", "mid-p"] = "exact",
) -> TestResult:
    """Return whether one of two models is right more often on the same films.

    Parameters
    ----------
    first, second : bool [films]
        Whether each model called each film right (of films with the disease only: a test of sensitivities).
    patient_ids : sequence [films], optional
        Takes patients instead of films for independent: each patient's surplus of films on which only the first model
        was right has either sign with equal chance. With one film a patient it is McNemar's test itself.
    method : str
        ``"exact"``: never rejects more often than its level says, mostly less. ``"mid-p"``: counts half of the observed
        outcome's chance, closer to the level (Fagerland 2013 recommend it).

    Returns
    -------
    TestResult
        `statistic` is the number of films on which only the first model was right less those on which only the second
        was; `n` is these two numbers.

    Raises
    ------
    DataError
        If the lengths differ.
    UsageError
        An unknown method.

    Source: McNemar 1947; Fagerland, Lydersen & Laake 2013. By patient: the sign-flip (permutation) distribution of
    the sum, computed in full.
    """
    if method not in ("exact", "mid-p"):
        raise UsageError(f"'{method}' is no form of McNemar's test", expected="exact or mid-p")
    one, other = np.asarray(first, bool), np.asarray(second, bool)
    if len(one) != len(other) or (patient_ids is not None and len(patient_ids) != len(one)):
        raise DataError(
            f"{len(one)} and {len(other)} films", expected="the same films on each side, and their patients"
        )
    counts = (int(np.sum(one & ~other)), int(np.sum(other & ~one)))
    name = f"McNemar, {method}, by {'film' if patient_ids is None else 'patient'}"
    if not sum(counts):
        return _undefined(name, counts, "both are right on the same films" if len(one) else "no film")
    surplus = one.astype(np.int64) - other
    if patient_ids is not None:
        surplus = np.rint(np.bincount(patient_numbers(patient_ids)[0], surplus)).astype(np.int64)
    surplus = surplus[surplus != 0]
    if not len(surplus):
        return _undefined(name, counts, "within each patient the models are right equally often")
    chances, total = _signed_sums(np.abs(surplus)), abs(int(surplus.sum()))
    middle = len(chances) // 2
    beyond = float(chances[middle + total :].sum())
    if method == "mid-p":
        beyond -= float(chances[middle + total]) / 2
    p_value = min(1.0, 2 * beyond)
    return TestResult(name, float(surplus.sum()), p_value, counts, asterisks(p_value))


def _signed_sums(sizes: npt.NDArray[np.int64]) -> Floats:
    """Return the chance of each sum -S..S of `sizes` (whose sum is S) with signs tossed by a fair coin."""
    values, counts = np.unique(sizes, return_counts=True)
    chances = np.ones(1)
    for size, count in zip(values.tolist(), counts.tolist(), strict=True):
        # `count` tosses of one size: binomial, a step of two sizes apart
        part = np.zeros(2 * size * count + 1)
        part[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, part)
    return chances


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
