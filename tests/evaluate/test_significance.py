from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covidcxr_tf.errors import DataError
from covidcxr_tf.evaluate.significance import (
    asterisks,
    kolmogorov_smirnov,
    kolmogorov_smirnov_normal,
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
