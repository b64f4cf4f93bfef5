"""DeLong by ranks against its definition in loops, Obuchowski's form against its equations, both at their limits."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy import stats
from statsmodels.stats.multitest import multipletests

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.bootstrap import bootstrap
from covidcxr_tf.evaluate.delong import (
    DeLong,
    bonferroni,
    clustered_delong,
    delong,
    holm,
    interval,
    paired_tests,
    standard_errors,
)
from covidcxr_tf.evaluate.roc import RankedScores, areas

Floats = npt.NDArray[np.float64]


def kernel(positive: float, negative: float) -> float:
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def components(scores: Floats, truth: npt.NDArray[np.bool_]) -> tuple[list[list[float]], list[list[float]]]:
    """V10 and V01 of each model by the definition of DeLong 1988: every pair is looked at."""
    first, second = [], []
    for row in scores:
        ahead, behind = row[truth], row[~truth]
        first.append([sum(kernel(x, y) for y in behind) / len(behind) for x in ahead])
        second.append([sum(kernel(x, y) for x in ahead) / len(ahead) for y in behind])
    return first, second


def by_definition(scores: Floats, truth: npt.NDArray[np.bool_]) -> tuple[list[float], Floats]:
    first, second = components(scores, truth)
    m, n = len(first[0]), len(second[0])
    aucs = [sum(row) / m for row in first]
    covariance = np.empty((len(scores),) * 2)
    for r, s in itertools.product(range(len(scores)), repeat=2):
        s10 = sum((first[r][i] - aucs[r]) * (first[s][i] - aucs[s]) for i in range(m)) / (m - 1)
        s01 = sum((second[r][j] - aucs[r]) * (second[s][j] - aucs[s]) for j in range(n)) / (n - 1)
        covariance[r, s] = s10 / m + s01 / n
    return aucs, covariance


def by_obuchowski(scores: Floats, truth: npt.NDArray[np.bool_], patients: list[str]) -> Floats:
    """Obuchowski 1997, equations of the covariance of two areas, patient by patient."""
    first, second = components(scores, truth)
    owners10 = [p for p, side in zip(patients, truth, strict=True) if side]
    owners01 = [p for p, side in zip(patients, truth, strict=True) if not side]
    everyone, total10, total01 = sorted(set(patients)), len(owners10), len(owners01)
    aucs = [sum(row) / total10 for row in first]

    def centred(row: list[float], owners: list[str], patient: str, area: float) -> float:
        return sum(value - area for value, owner in zip(row, owners, strict=True) if owner == patient)

    covariance = np.empty((len(scores),) * 2)
    count, count10, count01 = len(everyone), len(set(owners10)), len(set(owners01))
    for r, s in itertools.product(range(len(scores)), repeat=2):
        s10 = s01 = s11 = 0.0
        for patient in everyone:
            a_r, a_s = (centred(first[k], owners10, patient, aucs[k]) for k in (r, s))
            b_r, b_s = (centred(second[k], owners01, patient, aucs[k]) for k in (r, s))
            s10 += count10 / ((count10 - 1) * total10) * a_r * a_s
            s01 += count01 / ((count01 - 1) * total01) * b_r * b_s
            s11 += count / (count - 1) * (a_r * b_s + b_r * a_s)
        covariance[r, s] = s10 / total10 + s01 / total01 + s11 / (total10 * total01)
    return covariance


def films(seed: int, count: int, models: int = 3, levels: int = 5) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scores on few levels, so with many ties, and both sides with two films at least."""
    generator = np.random.default_rng(seed)
    truth = generator.random(count) < generator.uniform(0.2, 0.8)
    truth[:4] = (True, True, False, False)
    return generator.integers(0, levels, (models, count)) + 0.5 * truth, truth


# One model, worked by hand: positives 3, 2, 2; negatives 2, 1.
# V10 = (2/2, 1.5/2, 1.5/2) = (1, .75, .75), mean 5/6; V01 = ((1 + .5 + .5) / 3, 3/3) = (2/3, 1).
HAND = np.array([[3.0, 2.0, 2.0, 2.0, 1.0]])
HAND_TRUTH = np.array([True, True, True, False, False])


def test_worked_by_hand() -> None:
    found = delong(HAND, HAND_TRUTH)
    assert found.aucs[0] == pytest.approx(5 / 6, abs=1e-15)
    # S10 = ((1/6)^2 + 2 (1/12)^2) / 2 = 1/48, S01 = 2 (1/6)^2 / 1 = 1/18
    assert found.covariance[0, 0] == pytest.approx(1 / 48 / 3 + 1 / 18 / 2, abs=1e-15)
    assert (found.positives, found.negatives, found.disjoint_pairs) == (3, 2, 2)


def test_patients_worked_by_hand() -> None:
    # a: positives 1 and 2; b: positive 3 and negative 1; c: negative 2.
    found = clustered_delong(HAND, HAND_TRUTH, ["a", "a", "b", "b", "c"])
    sums10 = {"a": 1 / 6 - 1 / 12, "b": -1 / 12}
    sums01 = {"b": -1 / 6, "c": 1 / 6}
    expected = 2 * (sums10["a"] ** 2 + sums10["b"] ** 2) / 9 + 2 * (sums01["b"] ** 2 + sums01["c"] ** 2) / 4
    expected += 2 * (3 / 2) * sums10["b"] * sums01["b"] / 6
    assert found.covariance[0, 0] == pytest.approx(expected, abs=1e-15)
    assert found.disjoint_pairs == 1  # three patients: only two of them can make a pair


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 30))
def test_ranks_give_the_definition(seed: int, count: int) -> None:
    scores, truth = films(seed, count)
    found = delong(scores, truth)
    aucs, covariance = by_definition(scores, truth)
    np.testing.assert_allclose(found.aucs, aucs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=1e-12)
    diagonal = np.diag(covariance)
    differences = diagonal[:, None] + diagonal[None, :] - 2 * covariance
    np.testing.assert_allclose(found.difference_variance, differences, rtol=0, atol=1e-12)
    assert found.aucs[0] == pytest.approx(areas(scores[0], truth)[0], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 24), st.integers(3, 12))
def test_patients_give_obuchowskis_equations(seed: int, count: int, patients: int) -> None:
    scores, truth = films(seed, count)
    drawn = np.random.default_rng(seed + 1).integers(0, patients, count)
    names = [f"p{k}" for k in drawn]
    names[:4] = ["p0", "p1", "p0", "p2"]  # two patients on each side, one of them on both
    found = clustered_delong(scores, truth, names)
    np.testing.assert_allclose(found.covariance, by_obuchowski(scores, truth, names), rtol=0, atol=1e-12)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12


def test_one_film_a_patient_is_delong() -> None:
    scores, truth = films(3, 40)
    alone, together = delong(scores, truth), clustered_delong(scores, truth, [f"p{k}" for k in range(40)])
    np.testing.assert_allclose(together.covariance, alone.covariance, rtol=1e-12)
    np.testing.assert_allclose(together.difference_variance, alone.difference_variance, rtol=1e-12)
    assert (alone.by_patient, together.by_patient) == (False, True)


def test_copies_of_films_deceive_delong_and_not_the_patient_form() -> None:
    scores, truth = films(4, 60)
    patients = [f"p{k}" for k in range(60)]
    once = clustered_delong(scores, truth, patients)
    thrice = clustered_delong(np.tile(scores, 3), np.tile(truth, 3), patients * 3)
    np.testing.assert_allclose(thrice.covariance, once.covariance, rtol=1e-12)
    assert delong(np.tile(scores, 3), np.tile(truth, 3)).covariance[0, 0] < 0.4 * once.covariance[0, 0]


def test_the_patient_form_agrees_with_the_patient_bootstrap() -> None:
    generator = np.random.default_rng(8)
    patients = np.repeat(np.arange(150), 3)
    truth = np.repeat(generator.random(150) < 0.4, 3)
    flipped = generator.random(450) < 0.1  # some patients have films on both sides
    truth = truth ^ flipped
    scores = truth + np.repeat(generator.normal(size=150), 3) + 0.5 * generator.normal(size=450)
    ranked = RankedScores.sort(scores, truth)
    drawn = bootstrap(lambda weights: {"area": ranked.areas(weights)[0]}, patients, 2000, 0)["area"]
    found = clustered_delong(scores[None], truth, patients)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(drawn.std(), rel=0.08)
    assert delong(scores[None], truth).covariance[0, 0] < 0.7 * found.covariance[0, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_only_the_order_counts_and_a_reversed_score_mirrors_the_area(seed: int) -> None:
    scores, truth = films(seed, 20, models=2)
    found = delong(np.stack([scores[0], np.exp(scores[0]) - 7, -scores[0], scores[1]]), truth)
    assert found.aucs[0] == found.aucs[1]
    assert found.aucs[2] == pytest.approx(1 - found.aucs[0], abs=1e-12)
    assert found.difference_variance[0, 1] == 0
    assert found.covariance[2, 3] == pytest.approx(-found.covariance[0, 3], abs=1e-12)


def test_the_interval_is_normal_and_stays_within_0_and_1() -> None:
    scores, truth = films(5, 50, models=1)
    found = delong(scores, truth)
    metric = interval(found, 0)
    error = np.sqrt(found.covariance[0, 0])
    assert metric["standard_error"] == pytest.approx(error)
    assert metric["ci95"] == pytest.approx(
        [found.aucs[0] - 1.959964 * error, found.aucs[0] + 1.959964 * error], abs=1e-6
    )
    near_one = interval(delong(np.array([[1.0, 3.0, 4.0, 0.0, 0.0, 2.0]]), np.array([1, 1, 1, 0, 0, 0], bool)), 0)
    assert near_one["value"] < 1 and near_one["ci95"][1] == 1.0
    assert standard_errors(0.9) == pytest.approx(1.644854, abs=1e-6)
    with pytest.raises(UsageError, match="level 1"):
        interval(found, 0, level=1)


def test_an_area_of_1_has_no_interval_but_an_exact_one() -> None:
    scores = np.array([[0.9] * 10 + [0.1] * 20])
    truth = np.arange(30) < 10
    metric = interval(delong(scores, truth), 0)
    assert metric["value"] == 1.0 and metric["ci95"] is None and "without width" in metric["why"]
    # ten disjoint pairs all in order: SciPy's own Clopper-Pearson
    exact = stats.binomtest(10, 10).proportion_ci(0.95, method="exact")
    assert metric["exact"] == pytest.approx([exact.low, 1.0])
    assert "10 pairs" in metric["exact_by"] and "no film" in metric["exact_by"]
    worst = interval(delong(-scores, truth), 0)
    assert worst["value"] == 0.0 and worst["exact"] == pytest.approx([0.0, 1 - exact.low])
    by_patient = interval(clustered_delong(scores, truth, [f"p{k // 5}" for k in range(30)]), 0)
    assert by_patient["exact"][0] == pytest.approx(0.025 ** (1 / 2))  # ten positive films of two patients
    assert "no patient" in by_patient["exact_by"]


def test_what_has_no_variance_says_so() -> None:
    truth = np.array([True, True, False, False])
    flat = interval(delong(np.zeros((1, 4)), truth), 0)
    assert flat["value"] == 0.5 and flat["ci95"] is None and "placed alike" in flat["why"] and "exact" not in flat
    one = interval(delong(np.array([[3.0, 1.0, 2.0]]), np.array([True, False, False])), 0)
    assert one["ci95"] is None and "two films" in one["why"]
    same = interval(clustered_delong(np.arange(4.0)[None], truth, ["a", "a", "b", "c"]), 0)
    assert same["ci95"] is None and "two patients" in same["why"]


def test_paired_test_worked_from_its_parts() -> None:
    scores, truth = films(6, 80)
    found = delong(scores, truth)
    tests = paired_tests(found)
    variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
    z = (found.aucs[0] - found.aucs[1]) / np.sqrt(variance)
    assert tests.z[0, 1] == pytest.approx(z) and tests.z[1, 0] == pytest.approx(-z)
    assert tests.p_values[0, 1] == pytest.approx(2 * (1 - stats.norm.cdf(abs(z))))
    np.testing.assert_array_equal(tests.p_values, tests.p_values.T)
    assert np.isnan(np.diag(tests.p_values)).all()


def test_equal_rankings_and_constant_differences_have_no_p_value() -> None:
    truth = np.arange(12) < 4
    perfect = truth.astype(float)
    for other in (perfect * 5, -perfect):  # the same order; its reverse: a difference of 1 for every film
        assert np.isnan(paired_tests(delong(np.stack([perfect, other]), truth)).p_values).all()


def test_under_equal_models_p_values_are_uniform() -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(120) < 50
    found = []
    for _ in range(400):
        shared = generator.normal(size=120) + truth
        found.append(paired_tests(delong(shared + generator.normal(size=(2, 120)), truth)).p_values[0, 1])
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_bonferroni_and_holm_worked_by_hand() -> None:
    p_values = [0.01, 0.04, 0.03, 0.4]
    np.testing.assert_allclose(bonferroni(p_values), [0.04, 0.16, 0.12, 1.0])
    # ordered .01 x 4, .03 x 3, .04 x 2 (raised to the one before), .4 x 1
    np.testing.assert_allclose(holm(p_values), [0.04, 0.09, 0.09, 0.4])
    assert bonferroni([]).shape == holm([]).shape == (0,)


def test_an_undefined_p_value_counts_and_stays() -> None:
    p_values = [np.nan, 0.01, 0.02]
    np.testing.assert_allclose(bonferroni(p_values), [np.nan, 0.03, 0.06])
    np.testing.assert_allclose(holm(p_values), [np.nan, 0.03, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_holm_lies_between_the_bare_p_values_and_bonferroni(p_values: list[float]) -> None:
    stepped = holm(p_values)
    assert (stepped >= np.array(p_values)).all()
    assert (stepped <= bonferroni(p_values)).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(stepped[order]) >= 0).all()


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros(4), [True, False, True, False], "expected \\(models, films\\)"),
        (np.zeros((2, 3)), [True, False], "expected \\(models, films\\)"),
        (np.array([[0.1, np.nan]]), [True, False], "no number"),
        (np.zeros((1, 2)), [True, True], "2 of 2 films are positive"),
        (np.zeros((1, 2)), [False, False], "0 of 2 films are positive"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: Floats, truth: list[bool], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        delong(scores, truth)
    with pytest.raises(UsageError, match=message):
        clustered_delong(scores, truth, list(range(len(truth))))


def test_each_film_has_a_patient() -> None:
    with pytest.raises(UsageError, match="3 patients of 2 films"):
        clustered_delong(np.zeros((1, 2)), [True, False], ["a", "b", "c"])


def test_infinite_scores_are_ranked_as_any_other() -> None:
    found: DeLong = delong(np.array([[np.inf, 0.0, -np.inf, -1.0]]), [True, True, False, False])
    assert found.aucs[0] == 1.0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([7, 10**6]))
def test_areas_intervals_and_test_equal_mlstatkit(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(120) < 0.4
    truth[:4] = [True, True, False, False]
    scores = generator.integers(0, levels, (2, 120)) / levels * 0.6 + 0.4 * truth * generator.random((2, 120)).round(1)
    ours, tests = delong(scores, truth), paired_tests(delong(scores, truth))
    z, p, *bounds, first, second, info = Delong_test(truth.astype(int), scores[0], scores[1])
    assert info["method"] == "delong"
    assert ours.aucs == pytest.approx([first, second], abs=1e-9)
    assert ours.difference_variance[0, 1] == pytest.approx(info["var_diff"], abs=1e-9)
    assert tests.z[1, 0] == pytest.approx(z, abs=1e-9)
    assert tests.p_values[0, 1] == pytest.approx(p, abs=1e-9)
    for model in range(2):
        assert interval(ours, model)["ci95"] == pytest.approx(list(bounds[model]), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_nothing_changes_under_a_monotone_map(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = np.arange(40) < 15
    scores = generator.integers(-20, 20, (3, 40)) / 10
    patients = generator.integers(0, 20, 40)
    mapped = np.stack([np.exp(scores[0]), 7 * scores[1] - 3, scores[2] ** 3])
    for result, same in (
        (delong(scores, truth), delong(mapped, truth)),
        (clustered_delong(scores, truth, patients), clustered_delong(mapped, truth, patients)),
    ):
        assert np.array_equal(result.aucs, same.aucs)
        assert np.array_equal(result.covariance, same.covariance)
        assert np.array_equal(result.difference_variance, same.difference_variance)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=1, max_size=8))
def test_corrections_equal_statsmodels(p_values: list[float]) -> None:
    for ours, name in ((bonferroni, "bonferroni"), (holm, "holm")):
        theirs = multipletests(p_values, method=name)[1]
        assert ours(p_values) == pytest.approx(theirs, abs=1e-12)
