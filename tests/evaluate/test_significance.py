from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from covidcxr_tf.errors import DataError, UsageError
from covidcxr_tf.evaluate.significance import (
    asterisks,
    kolmogorov_smirnov,
    kolmogorov_smirnov_normal,
    mcnemar,
    wilcoxon_rank_sum,
    wilcoxon_signed_rank,
)


@pytest.mark.parametrize(
    ("p", "stars"),
    [(0.0, "***"), (0.000999, "***"), (0.001, "**"), (0.00999, "**"), (0.01, "*"), (0.05, "ns"), (1, "ns")],
)
def test_asterisks_of_the_paper(p: float, stars: str) -> None:
    assert asterisks(p) == stars


def test_hand_worked() -> None:
    # 3 against 3 without overlap: 2 of the 20 orders are as extreme
    assert wilcoxon_rank_sum([1, 2, 3], [4, 5, 6]).p_value == pytest.approx(0.1)
    assert wilcoxon_rank_sum([1, 2, 3], [4, 5, 6]).statistic == 0
    # 6 pairs, all in one direction: 2 of the 64 sign patterns
    signed = wilcoxon_signed_rank([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert signed.p_value == pytest.approx(2 / 64)
    assert signed.stars == "*"
    # largest distance between the two step functions: 1
    assert kolmogorov_smirnov([1, 2, 3], [4, 5, 6]).statistic == 1
    assert kolmogorov_smirnov([1, 2, 3], [4, 5, 6]).p_value == pytest.approx(0.1)


def test_agrees_with_the_normal_approximation_for_large_samples() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=400), generator.normal(0.2, 1, 500)
    result = wilcoxon_rank_sum(first, second)
    assert result.p_value == pytest.approx(stats.ranksums(first, second).pvalue, rel=1e-2)
    assert result.n == (400, 500)
    assert result.p_value == pytest.approx(wilcoxon_rank_sum(second, first).p_value)


def test_normality_is_kept_for_normal_and_rejected_for_skewed_values() -> None:
    generator = np.random.default_rng(1)
    assert kolmogorov_smirnov_normal(50 + 9 * generator.normal(size=300)).stars == "ns"
    assert kolmogorov_smirnov_normal(generator.exponential(size=300)).stars == "***"


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (wilcoxon_signed_rank([1, 2], [1, 2]), "all pairs are equal"),
        (wilcoxon_signed_rank([], []), "no pair"),
        (wilcoxon_rank_sum([], [1.0]), "empty"),
        (wilcoxon_rank_sum([3, 3], [3]), "all values are equal"),
        (kolmogorov_smirnov([1.0], []), "empty"),
        (kolmogorov_smirnov_normal([1.0, 2.0]), "fewer than 3"),
        (kolmogorov_smirnov_normal([4.0, 4.0, 4.0]), "equal"),
    ],
)
def test_undefined_is_none_with_a_reason(result: object, why: str) -> None:
    facts = result.as_dict()  # type: ignore[attr-defined]
    assert (facts["p_value"], facts["statistic"], facts["stars"]) == (None, None, "")
    assert why in facts["why"]


def test_broken_input() -> None:
    with pytest.raises(DataError, match="value 2 is nan"):
        wilcoxon_rank_sum([1.0, np.nan], [2.0])
    with pytest.raises(DataError, match="2 and 1 values"):
        wilcoxon_signed_rank([1, 2], [1])


def test_float32_does_not_round_differences_away() -> None:
    base = np.float32(1e7)
    first, second = [float(base) + k + 0.25 for k in range(8)], [float(base) + k for k in range(8)]
    assert wilcoxon_signed_rank(first, second).p_value == pytest.approx(2 / 256)


@pytest.mark.parametrize("n", [5, 7, 60, 150, 300, 1000])
def test_samples_that_hardly_differ_leave_no_warning(n: int) -> None:
    # Equally many values, one step apart at most three times: SciPy's exact sum rounds to above 1 here and there.
    first = np.arange(n, dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in (0.5, 1.5, 2.5):
            result = kolmogorov_smirnov(first, first + step)
            assert result.statistic == pytest.approx(np.ceil(step) / n)
            assert result.p_value is not None and 0.3 < result.p_value <= 1 and result.stars == "ns"
        assert kolmogorov_smirnov(first, first + 0.5).p_value == 1  # no two samples are less far apart


def test_the_exact_value_stands_where_samples_differ() -> None:
    first, second = np.arange(30.0), np.arange(20.0) + 11.2
    found = kolmogorov_smirnov(first, second)
    assert found.p_value == stats.ks_2samp(first, second, method="exact").pvalue
    assert found.p_value != stats.ks_2samp(first, second, method="asymp").pvalue


def test_mcnemar_by_hand() -> None:
    # 6 films only the first had right, 1 only the second: two-sided 2 (1 + 7) / 128; mid-p takes half of the 7 away
    first = np.array([True] * 6 + [False] + [True] * 20 + [False] * 5)
    second = np.array([False] * 6 + [True] + [True] * 20 + [False] * 5)
    exact, middle = mcnemar(first, second), mcnemar(first, second, method="mid-p")
    assert (exact.statistic, exact.n) == (5, (6, 1))
    assert exact.p_value == pytest.approx(2 * 8 / 128)
    assert middle.p_value == pytest.approx(2 * (1 + 7 / 2) / 128)
    assert (exact.stars, middle.stars) == ("ns", "ns")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400), st.floats(0.05, 0.95))
def test_mcnemar_is_that_of_statsmodels_and_scipy(seed: int, films: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.random(films) < share, generator.random(films) < 0.6
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    exact, middle = mcnemar(first, second), mcnemar(first, second, np.arange(films), "mid-p")
    if not only_first + only_second:
        assert (exact.p_value, middle.p_value) == (None, None)
        return
    theirs = statsmodels_mcnemar([[0, only_first], [only_second, 0]], exact=True)
    assert exact.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    # Fagerland 2013, equation 3: the exact p-value less the chance of the outcome itself
    if only_first != only_second:
        chance = stats.binom.pmf(only_first, only_first + only_second, 0.5)
        assert middle.p_value == pytest.approx(theirs.pvalue - chance, abs=1e-9)
    else:
        assert middle.p_value == pytest.approx(1)
    swapped = mcnemar(second, first)
    assert swapped.p_value == pytest.approx(exact.p_value)
    assert swapped.statistic == -(exact.statistic or 0)


def test_mcnemar_over_patients_tosses_whole_patients() -> None:
    # surplus of 3, 2 and 1 films: sums of 6, 4 .. -6 with eight outcomes; 6 or more in one of them
    first = np.array([True] * 3 + [True] * 2 + [True] + [True])
    second = np.array([False] * 3 + [False] * 2 + [False] + [True])
    found = mcnemar(first, second, ["a"] * 3 + ["b"] * 2 + ["c", "d"])
    assert found.p_value == pytest.approx(2 / 8)
    assert mcnemar(first, second).p_value == pytest.approx(2 / 64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_mcnemar_over_patients_by_all_tosses(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second, patients = (generator.integers(0, high, 30) for high in (2, 2, 8))
    surplus = np.bincount(patients, first - second, minlength=8)
    sums = np.array([np.dot(signs, surplus) for signs in itertools.product((-1, 1), repeat=8)])
    total = abs(surplus.sum())
    found = mcnemar(first, second, patients)
    if not np.any(surplus):
        assert found.why == "within each patient the models are right equally often"
    else:
        assert found.p_value == pytest.approx(np.mean(np.abs(sums) >= total - 1e-9), abs=1e-12)


def test_mcnemar_without_an_answer() -> None:
    same = mcnemar([True, False], [True, False])
    assert (same.p_value, same.why) == (None, "both are right on the same films")
    level = mcnemar([True, False], [False, True], ["p", "p"])
    assert (level.statistic, level.why) == (None, "within each patient the models are right equally often")
    assert mcnemar([], []).why == "no film"
    with pytest.raises(DataError, match="3 and 2 films"):
        mcnemar([True] * 3, [True] * 2)
    with pytest.raises(UsageError, match="'chi'"):
        mcnemar([True], [False], method="chi")  # type: ignore[arg-type]
