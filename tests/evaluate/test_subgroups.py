from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.subgroups import age_band, subgroup_frame, subgroup_rows, with_manifest


def table(count: int = 120) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    scores = generator.random(count)
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i // 2}" for i in range(count)],
            "label": np.where(generator.random(count) < scores, "covid19", "normal"),
            "source": np.repeat(["cohen", "armiro"], count // 2),
            "prob_normal": 1 - scores,
            "prob_covid19": scores,
        }
    )


def people(films: pd.DataFrame) -> pd.DataFrame:
    patients = len(films) // 2
    sex = np.repeat(np.array(["F", "M", ""], object)[np.arange(patients) % 3], 2)
    age = np.repeat(np.where(np.arange(patients) < 3, 8.0, np.where(np.arange(patients) < 6, np.nan, 50.0)), 2)
    return films[["path", "patient_id", "label", "source"]].assign(sex=sex, age=age)


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "0-17"), (17.9, "0-17"), ("18", "18-39"), (40, "40-59"), (79, "60-79"), (80, "80+"), (104, "80+"),
     ("", "unknown"), (np.nan, "unknown"), (None, "unknown"), ("old", "unknown"), (-1, "unknown"), (np.inf, "unknown")],
)  # fmt: skip
def test_age_bands(age: object, band: str) -> None:
    assert age_band(age) == band


def test_rows_are_the_metrics_of_their_films() -> None:
    films = with_manifest(table(), people(table()))
    rows = subgroup_rows(films, "covid19", 0.4)
    assert [(row["by"], row["group"]) for row in rows] == [
        ("all", "all films"),
        ("sex", "F"), ("sex", "M"), ("sex", "unknown"),
        ("age", "0-17"), ("age", "40-59"), ("age", "unknown"),
        ("source", "armiro"), ("source", "cohen"),
    ]  # fmt: skip
    women = films[films["sex"] == "F"].reset_index(drop=True)
    theirs = evaluate_table(women, "covid19", 0.4, resamples=20)
    row = rows[1]
    assert (row["n"], row["patients"]) == (len(women), women["patient_id"].nunique())
    assert row["positives"] + row["negatives"] == row["n"]
    for name in ("auroc", "sensitivity", "specificity"):
        assert row[name]["value"] == pytest.approx(theirs["per_class"]["covid19"][name]["value"], abs=1e-9)
        assert row[name]["ci95"][0] <= row[name]["value"] <= row[name]["ci95"][1]
    sick = (women["label"] == "covid19").to_numpy()
    assert row["auroc"]["value"] == pytest.approx(roc_auc_score(sick, women["prob_covid19"]), abs=1e-12)
    for column in ("sex", "age", "source"):
        assert sum(row["n"] for row in rows if row["by"] == column) == len(films)


def test_small_groups_are_marked() -> None:
    rows = subgroup_rows(with_manifest(table(), people(table())), "covid19")
    small = {row["group"]: row for row in rows if row["small"]}
    assert "0-17" in small
    assert "too few" in small["0-17"]["note"]
    assert not rows[0]["small"]
    assert "note" not in rows[0]


def test_undefined_is_null_with_a_reason() -> None:
    films = table().assign(view=["PA"] * 20 + ["AP"] * 100)
    films.loc[:19, "label"] = "covid19"
    only = next(row for row in subgroup_rows(films, "covid19") if row["group"] == "PA")
    assert (only["auroc"]["value"], only["auroc"]["ci95"], only["auroc"]["why"]) == (
        None,
        None,
        "every film is covid19",
    )
    assert only["specificity"]["why"] == "every film is covid19"
    assert only["small"]
    films.loc[:19, "label"] = "normal"
    none = next(row for row in subgroup_rows(films, "covid19") if row["group"] == "PA")
    assert none["auroc"]["why"] == none["sensitivity"]["why"] == "no film is covid19"
    frame = subgroup_frame([none])
    assert frame.loc[0, ["auroc", "auroc_lower", "sensitivity"]].isna().all()
    assert frame.loc[0, "specificity"] == none["specificity"]["value"]


def test_without_a_threshold_the_most_probable_of_three_is_called() -> None:
    films = table()
    films["prob_flu"] = 0.0
    films.loc[0, ["prob_normal", "prob_covid19", "prob_flu"]] = [0.2, 0.3, 0.5]
    rows = subgroup_rows(films, "covid19")
    called = films[["prob_normal", "prob_covid19", "prob_flu"]].to_numpy().argmax(axis=1) == 1
    sick = (films["label"] == "covid19").to_numpy()
    assert rows[0]["sensitivity"]["value"] == pytest.approx(called[sick].mean())
    with pytest.raises(UsageError, match="3 classes"):
        subgroup_rows(films, "covid19", 0.5)
    with pytest.raises(UsageError, match="'ebola' is no class"):
        subgroup_rows(films, "ebola")


def test_a_column_of_blanks_makes_no_groups() -> None:
    rows = subgroup_rows(table().assign(sex="", view=None))
    assert {row["by"] for row in rows} == {"all", "source"}


def test_films_are_found_in_any_order_and_others_left_out() -> None:
    films = table()
    manifest = pd.concat([people(films), people(films).assign(source="third", sex="M")], ignore_index=True)
    joined = with_manifest(films, manifest.sample(frac=1, random_state=1))
    assert joined["sex"].tolist() == people(films)["sex"].tolist()
    assert joined["path"].tolist() == films["path"].tolist()
    blank = films.assign(source="")
    assert with_manifest(blank, people(films).assign(source=np.nan))["sex"].tolist() == joined["sex"].tolist()


def test_films_that_do_not_fit_are_named() -> None:
    films = table()
    with pytest.raises(ManifestError, match=r"'3\.png' of cohen is not in the manifest \(1 such films\)"):
        with_manifest(films, people(films).drop(index=3))
    with pytest.raises(ManifestError, match=r"'5\.png' stands there twice"):
        with_manifest(films, pd.concat([people(films), people(films).iloc[[5]]]))
    other = people(films)
    other.loc[4, "patient_id"] = "stranger"
    with pytest.raises(ManifestError, match=r"'4\.png' is of 'stranger' and in the predictions of 'p2'"):
        with_manifest(films, other)
