from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from covidcxr_tf.evaluate.delong import holm
from covidcxr_tf.evaluate.markers import (
    NORMALITY,
    RANK_SUM,
    TEST_COLUMNS,
    TWO_SAMPLES,
    marker_summary,
    marker_tests,
    patient_means,
)


def films(seed: int = 0, shift: float = 20.0) -> pd.DataFrame:
    """Two classes from two sources, one of them shared; 40 patients with two films each."""
    random = np.random.default_rng(seed)
    rows = []
    for patient in range(40):
        label = "covid19" if patient < 20 else "normal"
        source = "shared" if patient % 2 else ("a" if label == "covid19" else "b")
        for _ in range(2):
            value = random.normal(100 + shift * (label == "covid19"), 10)
            rows.append((f"p{patient:02d}", label, source, value, value if patient != 3 else np.nan))
    return pd.DataFrame(rows, columns=["patient_id", "label", "source", "one", "two"])


def test_patient_means_by_hand() -> None:
    table = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b", "c", "a"],
            "label": ["x", "x", "x", "y", "y"],
            "m": [1.0, 3.0, 5.0, np.nan, 7.0],
        }
    )
    means = patient_means(table, "m", "label")
    assert {name: values.to_dict() for name, values in means.items()} == {"x": {"a": 2.0, "b": 5.0}, "y": {"a": 7.0}}


def test_summary_by_hand() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", "b", "c"], "label": ["x", "x", "x", "y"], "m": [1, 3, 6, 9.0]})
    summary = marker_summary(table, ["m"])
    first, second = summary.to_dict("records")
    assert (first["films"], first["patients"], first["mean"], first["median"]) == (3, 2, 4.0, 4.0)
    assert first["std"] == pytest.approx(np.sqrt(8)) and (first["lower_quartile"], first["upper_quartile"]) == (3, 5)
    assert second["mean"] == 9 and np.isnan(second["std"])
    split = marker_summary(films(), ["one"], ("label", "source"))
    assert split[["label", "source", "patients"]].to_numpy().tolist() == [
        ["covid19", "a", 10],
        ["covid19", "shared", 10],
        ["normal", "b", 10],
        ["normal", "shared", 10],
    ]


def test_a_class_without_a_value_stays_in_the_summary() -> None:
    summary = marker_summary(pd.DataFrame({"patient_id": ["a"], "label": ["x"], "m": [np.nan]}), ["m"])
    assert summary["patients"].tolist() == [0] and summary["mean"].isna().all()


def test_tests_are_those_of_scipy_on_patient_means() -> None:
    table = films()
    tests = marker_tests(table, ["one"]).query("scope == 'all'").set_index("test")
    means = table.groupby(["label", "patient_id"])["one"].mean()
    covid, normal = means["covid19"].to_numpy(), means["normal"].to_numpy()
    ranked = tests.loc[RANK_SUM]
    expected = stats.mannwhitneyu(covid, normal)
    assert (ranked["first"], ranked["second"], ranked["n_first"], ranked["n_second"]) == ("covid19", "normal", 20, 20)
    assert ranked["p_value"] == expected.pvalue and ranked["stars"] == "***"
    assert ranked["first_larger"] == pytest.approx(np.mean(covid[:, None] > normal))
    assert tests.loc[TWO_SAMPLES]["p_value"] == stats.ks_2samp(covid, normal).pvalue
    standard = (covid - covid.mean()) / covid.std(ddof=1)
    normality = tests.loc[NORMALITY]
    assert normality["first"].tolist() == ["covid19", "normal"]
    assert normality["p_value"].iloc[0] == pytest.approx(stats.kstest(standard, "norm").pvalue)


def test_films_of_one_patient_do_not_count_twice() -> None:
    table = films()
    once = table.groupby(["patient_id", "label", "source"], as_index=False)[["one", "two"]].mean()
    pd.testing.assert_frame_equal(marker_tests(table, ["one"]), marker_tests(once, ["one"]))


def test_scopes() -> None:
    tests = marker_tests(films(), ["one", "two"])
    assert tuple(tests.columns) == TEST_COLUMNS
    ranks = tests[(tests["test"] == RANK_SUM) & (tests["marker"] == "one")]
    found = ranks[["scope", "within", "first", "second", "n_first", "n_second"]].to_numpy().tolist()
    assert found == [
        ["all", "", "covid19", "normal", 20, 20],
        ["within source", "shared", "covid19", "normal", 10, 10],
        ["within label", "covid19", "a", "shared", 10, 10],
        ["within label", "normal", "b", "shared", 10, 10],
    ]
    missing = tests[(tests["test"] == RANK_SUM) & (tests["marker"] == "two") & (tests["scope"] == "all")]
    assert missing["n_first"].tolist() == [19]


def test_small_groups_count_over_all_films_only() -> None:
    table = films().query("label == 'covid19' or patient_id in ['p21', 'p23']")
    tests = marker_tests(table, ["one"])
    assert set(tests["scope"]) == {"all", "within label"}
    assert set(tests.query("scope == 'within label'")["within"]) == {"covid19"}


def test_a_patient_on_both_sides_is_counted() -> None:
    table = films()
    table.loc[0, "label"] = "normal"
    pair = marker_tests(table, ["one"]).query("scope == 'all' and test == @RANK_SUM")
    assert pair["patients_in_both"].tolist() == [1] and pair["n_second"].tolist() == [21]


def test_holm_corrects_over_its_test_and_scope() -> None:
    tests = marker_tests(films(shift=6), ["one", "two"])
    for scope in ("all", "within label"):
        for test in (RANK_SUM, TWO_SAMPLES):
            family = tests[(tests["scope"] == scope) & (tests["test"] == test)]
            assert len(family) == (2 if scope == "all" else 4)
            assert family["p_holm"].to_numpy() == pytest.approx(holm(family["p_value"].to_numpy()))
    normality = tests[tests["test"] == NORMALITY]
    assert normality["p_holm"].isna().all() and set(normality["stars_holm"]) == {""}


def test_undefined_tests_say_why_and_do_not_take_part() -> None:
    table = films().assign(two=5.0)
    tests = marker_tests(table, ["one", "two"]).query("scope == 'all' and test == @RANK_SUM").set_index("marker")
    assert tests.loc["two", "why"] == "all values are equal" and pd.isna(tests.loc["two", "p_holm"])
    assert tests.loc["one", "p_holm"] == tests.loc["one", "p_value"]


def test_without_sources_or_values() -> None:
    assert set(marker_tests(films().drop(columns="source"), ["one"])["scope"]) == {"all"}
    empty = marker_tests(films().assign(one=np.nan), ["one"])
    assert empty.empty and tuple(empty.columns) == TEST_COLUMNS


def test_holm_by_hand() -> None:
    # Holm's own steps: .01 * 4, .03 * 2 (raised over .02 * 3), .04 * 1 raised to .06.
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.03]).tolist() == [0.03] and len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_value_and_bonferroni_s_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert (corrected >= np.array(p_values)).all() and (corrected <= np.minimum(1, np.array(p_values) * 12)).all()
    # Rejections step by step, as Holm states them.
    for level in (0.01, 0.05, 0.2):
        rejected, order = set(), np.argsort(p_values, kind="stable")
        for step, place in enumerate(order):
            if p_values[place] * (len(p_values) - step) > level:
                break
            rejected.add(int(place))
        assert rejected == set(np.flatnonzero(corrected <= level).tolist())
