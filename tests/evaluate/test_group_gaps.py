"""Gaps between groups: by hand, against statsmodels, and under no difference at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from covidcxr_tf.evaluate.group_gaps import group_gaps

Films = tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]


def films(seed: int = 0, worse: float = 0.0, count: int = 400) -> Films:
    """Return films of men and women, one a patient; women's scores have `worse` more noise."""
    generator = np.random.default_rng(seed)
    sick = np.arange(count) % 2 == 0
    female = generator.random(count) < 0.4
    scores = sick + generator.normal(0, 0.7, count) * (1 + worse * female)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(count)],
            "sex": np.where(female, "F", "M"),
            "age": generator.integers(20, 75, count).astype(str),
            "view": np.where(generator.random(count) < 0.5, "PA", "AP"),
        }
    )
    return table, scores, scores >= 0.5, sick


def test_shares_equal_statsmodels() -> None:
    table, scores, called, sick = films(1, 1.0)
    rows, _ = group_gaps(table, scores, called, sick, "covid19")
    (row,) = [one for one in rows if (one["group"], one["measure"]) == ("F", "sensitivity")]
    group = (table["sex"] == "F").to_numpy()
    hits = [int((called & sick & part).sum()) for part in (group, ~group)]
    n = [int((sick & part).sum()) for part in (group, ~group)]
    assert row["group_value"]["value"] == hits[0] / n[0]
    assert row["p"] == pytest.approx(proportions_ztest(hits, n)[1], abs=1e-9)
    newcombe = confint_proportions_2indep(hits[1], n[1], hits[0], n[0], method="newcomb")
    assert row["gap"]["ci95"] == pytest.approx(newcombe, abs=1e-9)
    assert row["gap"]["value"] == pytest.approx(hits[1] / n[1] - hits[0] / n[0])


def test_holm_counts_each_difference_once() -> None:
    rows, left_out = group_gaps(*films(2, 0.8), "covid19")
    assert left_out == []
    tested = {(row["measure"], round(row["p"], 12)): row for row in rows}
    # Sex and view have two groups each, one difference a figure; ages have three bands.
    assert len(tested) == 3 * (1 + 1 + 3)
    expected = multipletests([row["p"] for row in tested.values()], method="holm")[1]
    assert [row["holm"] for row in tested.values()] == pytest.approx(expected, abs=1e-9)
    women, men = (next(row for row in rows if (row["group"], row["measure"]) == (name, "auroc")) for name in ("F", "M"))
    assert women["p"] == men["p"]
    assert women["gap"]["value"] == -men["gap"]["value"]


def test_a_group_that_is_read_worse_is_found_and_others_are_not() -> None:
    rows, _ = group_gaps(*films(3, 2.0), "covid19")
    beyond = {(row["by"], row["group"]) for row in rows if row["beyond_chance"] and row["gap"]["value"] > 0}
    assert beyond == {("sex", "F")}


def test_without_any_difference_the_correction_holds_the_error() -> None:
    wrong = sum(any(row["beyond_chance"] for row in group_gaps(*films(seed, count=200), "c")[0]) for seed in range(60))
    assert wrong <= 8  # Binomial(60, .05): 9 and more have a chance of 1 in 400


def test_small_groups_are_left_out_by_name() -> None:
    table, scores, called, sick = films(4, count=100)
    table["view"] = ["LL"] * 12 + ["PA"] * 88
    table["sex"] = ""
    rows, left_out = group_gaps(table, scores, called, sick, "covid19")
    assert "view: LL" in left_out
    assert {row["by"] for row in rows} == {"age"}


def test_films_of_one_patient_count_as_one() -> None:
    table, scores, called, sick = films(5, 0.5)
    once = group_gaps(table, scores, called, sick, "covid19")[0]
    again = [np.tile(part, 3) for part in (scores, called, sick)]
    thrice = group_gaps(pd.concat([table] * 3, ignore_index=True), *again, "covid19")[0]
    for one, three in zip(once, thrice, strict=True):
        assert three["p"] == pytest.approx(one["p"], rel=0.05)
        assert three["gap"]["value"] == pytest.approx(one["gap"]["value"])


def test_full_separation_is_certain_and_equality_is_not() -> None:
    table, _, _, sick = films(6, count=80)
    table = table.assign(sex=["F"] * 40 + ["M"] * 40)
    right = np.where(table["sex"] == "F", ~sick, sick)
    rows = {
        (row["group"], row["measure"]): row
        for row in group_gaps(table, right.astype(float), right, sick, "c", by=("sex",))[0]
    }
    assert rows["F", "auroc"]["p"] == 0.0
    assert rows["F", "auroc"]["gap"]["value"] == 1.0
    same = group_gaps(table, sick.astype(float), sick, sick, "c", by=("sex",))[0]
    assert {row["p"] for row in same} == {1.0}
