"""Areas inside each source: by hand, against scikit-learn, and undefined where they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covidcxr_tf.errors import ManifestError
from covidcxr_tf.evaluate.within_sources import within_source_areas

CLASSES = ("normal", "pneumonia", "covid19")


def table(seed: int = 0, films: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    shares = random.dirichlet([1, 1, 1], films)
    return pd.DataFrame(
        {
            "source": random.choice(["a", "b"], films),
            "label": random.choice(CLASSES, films),
            "patient_id": [f"p{number}" for number in random.integers(0, films // 2, films)],
            **{f"prob_{name}": shares[:, column] for column, name in enumerate(CLASSES)},
        }
    )


def test_areas_are_scikit_learn_s() -> None:
    films = table()
    found = within_source_areas(films, CLASSES).set_index(["source", "positive", "negative"])
    assert len(found) == 2 * 6
    part = films[(films["source"] == "a") & films["label"].isin(["covid19", "normal"])]
    score = part["prob_covid19"] / (part["prob_covid19"] + part["prob_normal"])
    expected = roc_auc_score(part["label"] == "covid19", score)
    assert found.loc[("a", "covid19", "normal"), "auc"] == pytest.approx(expected, abs=1e-12)
    whole = films[films["source"] == "b"]
    expected = roc_auc_score(whole["label"] == "pneumonia", whole["prob_pneumonia"])
    assert found.loc[("b", "pneumonia", "rest"), "auc"] == pytest.approx(expected, abs=1e-12)
    assert (found["low"] < found["auc"]).all()
    assert (found["auc"] < found["high"]).all()


def test_a_network_that_knows_the_hospital_alone_is_worth_nothing_inside_it() -> None:
    films = table(1)
    films["label"] = np.where(films["source"] == "a", "covid19", "normal")
    swapped = films.sample(30, random_state=0).index
    films.loc[swapped, "label"] = films.loc[swapped, "label"].map({"covid19": "normal", "normal": "covid19"})
    knows = films["source"].eq("a").to_numpy(float)
    films["prob_covid19"], films["prob_normal"], films["prob_pneumonia"] = knows, 1 - knows, 0.0
    assert roc_auc_score(films["label"] == "covid19", knows) > 0.8
    found = within_source_areas(films, ("normal", "covid19"))
    assert found["auc"].tolist() == [0.5, 0.5]
    assert found["why"].str.contains("variance is 0").all()


def test_sources_of_one_class_are_left_out_and_small_ones_undefined() -> None:
    films = table(2)
    films.loc[films["source"] == "b", "label"] = "normal"
    few = films.index[films["source"] == "b"][:3]
    films.loc[few, "label"] = "covid19"
    found = within_source_areas(films, CLASSES)
    small = found[found["source"] == "b"]
    assert set(small["positive"] + "/" + small["negative"]) == {"covid19/normal", "normal/rest", "covid19/rest"}
    assert small["auc"].isna().all()
    assert small["why"].str.contains("fewer than 5").all()


def test_other_labels_and_films_without_probabilities_are_left_out() -> None:
    films = table(3)
    more = films.head(20).assign(label="other")
    empty = films.tail(20).assign(prob_normal=np.nan)
    pd.testing.assert_frame_equal(
        within_source_areas(pd.concat([films, more, empty]), CLASSES), within_source_areas(films, CLASSES)
    )


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ManifestError, match="no column 'source'"):
        within_source_areas(table().drop(columns="source"), CLASSES)
