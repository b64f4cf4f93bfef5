"""Shares against statsmodels, SciPy and hand-worked design effects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.proportions import clopper_pearson, clustered_share, share_metric, wilson


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_both_equal_statsmodels(n: int, share: float, level: float) -> None:
    hits = round(share * n)
    for ours, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        theirs = proportion_confint(hits, n, alpha=1 - level, method=name)
        assert ours(hits, n, level) == pytest.approx(theirs, abs=1e-9)


def test_clopper_pearson_is_what_scipy_calls_exact_and_its_bounds_are_tails() -> None:
    theirs = stats.binomtest(7, 20).proportion_ci(0.95, "exact")
    lower, upper = clopper_pearson(7, 20)
    assert (lower, upper) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    # at the lower bound 7 or more of 20 come up in 2.5 %, at the upper one 7 or fewer
    assert stats.binom.sf(6, 20, lower) == pytest.approx(0.025)
    assert stats.binom.cdf(7, 20, upper) == pytest.approx(0.025)


def test_wilson_by_hand() -> None:
    # z = 1: centre (.5 + 1/8) / (5/4), reach sqrt(.25/4 + 1/64) / (5/4)
    level = float(stats.norm.cdf(1) - stats.norm.cdf(-1))
    reach = np.sqrt(0.0625 + 1 / 64) / 1.25
    assert wilson(2, 4, level) == pytest.approx((0.5 - reach, 0.5 + reach))


def test_at_the_ends_bounds_are_exact() -> None:
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    # "rule of three": the exact upper bound of no hit is 1 - .025^(1/n)
    assert clopper_pearson(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1))


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 3), (4, 3), (float("nan"), 3)])
def test_impossible_counts_are_refused(hits: float, n: float) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(UsageError, match="hits of"):
            interval(hits, n)
    with pytest.raises(UsageError, match="level 1"):
        clopper_pearson(1, 2, 1.0)


def test_one_film_a_patient_is_plain_wilson() -> None:
    hit = np.arange(30) % 3 == 0
    share = clustered_share(hit, [f"p{i}" for i in range(30)])
    assert (share.design_effect, share.effective_n) == (1.0, 30.0)
    assert share_metric(share)["ci95"] == pytest.approx(proportion_confint(10, 30, method="wilson"), abs=1e-9)


def test_films_that_all_agree_within_patients_are_worth_their_patients() -> None:
    # ten patients of four equal films, 3 of them hit: sum of r^2 = 3 (4 x .7)^2 + 7 (4 x .3)^2 = 33.6, times 10/9,
    # by 40^2: .02333; of 40 independent films .21 / 40 = .00525
    hit = np.repeat(np.arange(10) < 3, 4)
    share = clustered_share(hit, np.repeat(np.arange(10), 4))
    assert (share.hits, share.n, share.patients) == (12, 40, 10)
    assert share.design_effect == pytest.approx(33.6 * 10 / 9 / 1600 / 0.00525)
    assert share.effective_n == pytest.approx(9.0)  # the patients, less one for the mean
    metric = share_metric(share)
    assert metric["value"] == 0.3
    assert metric["ci95"] == pytest.approx(wilson(2.7, 9.0))


def test_the_variance_is_that_of_a_clustered_mean_in_statsmodels() -> None:
    import statsmodels.api as sm

    generator = np.random.default_rng(0)
    patients = generator.integers(0, 25, 90)
    hit = generator.random(90) < generator.random(25)[patients]
    share = clustered_share(hit, patients)
    fit = sm.OLS(hit.astype(float), np.ones(90)).fit(
        cov_type="cluster", cov_kwds={"groups": patients, "use_correction": False}
    )
    groups = len(set(patients))
    variance = fit.cov_params()[0, 0] * groups / (groups - 1)
    assert share.design_effect is not None and share.design_effect > 1
    assert share.design_effect * share.value * (1 - share.value) / 90 == pytest.approx(variance, abs=1e-9)


def test_a_gain_by_clustering_is_not_believed() -> None:
    # one hit and one miss in each patient: the ratio never varies
    share = clustered_share(np.tile([True, False], 10), np.repeat(np.arange(10), 2))
    assert share.design_effect == 1.0


@pytest.mark.parametrize("went", [True, False])
def test_where_all_went_the_same_way_patients_count(went: bool) -> None:
    metric = share_metric(clustered_share(np.full(40, went), np.repeat(np.arange(10), 4)))
    assert metric["ci95"] == pytest.approx(clopper_pearson(10 if went else 0, 10))
    assert metric["design_effect"] is None
    assert "Clopper-Pearson over patients" in metric["method"]


def test_undefined_says_why() -> None:
    nothing = share_metric(clustered_share([], []), why="no film is covid19")
    assert (nothing["value"], nothing["ci95"], nothing["why"]) == (None, None, "no film is covid19")
    single = share_metric(clustered_share([True, False, True], ["p", "p", "p"]))
    assert single["value"] == pytest.approx(2 / 3)
    assert single["ci95"] is None
    assert "at least two" in single["why"]
    with pytest.raises(UsageError, match="2 patients of 3 films"):
        clustered_share([True, False, True], ["a", "b"])


def test_coverage_over_patients_holds_where_plain_wilson_fails() -> None:
    # 60 patients of five films that share a patient's own rate: the truth is .8
    generator = np.random.default_rng(1)
    held = {"clustered": 0, "plain": 0}
    for _ in range(400):
        rate = generator.beta(1.6, 0.4, 60)
        hit = generator.random((60, 5)) < rate[:, None]
        ours = share_metric(clustered_share(hit.ravel(), np.repeat(np.arange(60), 5)))["ci95"]
        held["clustered"] += ours[0] <= 0.8 <= ours[1]
        plain = wilson(int(hit.sum()), 300)
        held["plain"] += plain[0] <= 0.8 <= plain[1]
    assert held["clustered"] / 400 > 0.92
    assert held["plain"] / 400 < 0.85
