from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import DataError, ManifestError, SplitError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.folds import evaluate_folds, mean_sd, pool_folds, read_folds
from covidcxr_tf.evaluate.table import write_predictions
from covidcxr_tf.files import plain

CLASSES = ("normal", "viral", "covid19")


def fold(number: int, count: int = 24, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    generator = np.random.default_rng(number)
    truth = np.arange(count) % len(classes)
    raised = np.exp(generator.normal(size=(count, len(classes))) + 1.5 * np.eye(len(classes))[truth])
    probs = raised / raised.sum(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "path": [f"{number}_{k}.png" for k in range(count)],
            "patient_id": [f"{number}_p{k // 2}" for k in range(count)],
            "label": [classes[k] for k in truth],
            "predicted": [classes[k] for k in probs.argmax(axis=1)],
            "split": "test",
            **{f"prob_{name}": probs[:, k] for k, name in enumerate(classes)},
        }
    )


def folds(count: int = 3, **more: object) -> dict[str, pd.DataFrame]:
    return {f"fold_{k}": fold(k, **more) for k in range(1, count + 1)}  # type: ignore[arg-type]


def test_pooled_and_fold_wise() -> None:
    tables = folds()
    found = evaluate_folds(tables, "covid19", resamples=30, seed=1)
    pooled = evaluate_table(pd.concat(tables.values()), "covid19", resamples=30, seed=1)
    for key in ("n", "patients", "confusion", "accuracy", "auroc", "per_class", "brier"):
        assert found[key] == pooled[key]
    assert (found["n"], found["folds"]["names"]) == (72, ["fold_1", "fold_2", "fold_3"])
    alone = [evaluate_table(table, "covid19", resamples=30, seed=1) for table in tables.values()]
    assert [part["auroc"] for part in found["folds"]["per_fold"].values()] == [part["auroc"] for part in alone]
    spread = found["folds"]["mean_sd"]["accuracy"]
    values = [part["accuracy"]["value"] for part in alone]
    assert list(spread["values"].values()) == values
    assert (spread["mean"], spread["sd"]) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    viral = found["folds"]["mean_sd_per_class"]["viral"]["specificity"]["values"]["fold_2"]
    assert viral == alone[1]["per_class"]["viral"]["specificity"]["value"]
    json.dumps(plain(found), allow_nan=False)


def test_films_are_judged_as_each_fold_called_them() -> None:
    tables = folds(2, classes=("normal", "covid19"))
    # the folds' own cut-offs: the first calls everybody covid19, the second by 0.5
    tables["fold_1"] = tables["fold_1"].assign(predicted="covid19")
    found = evaluate_folds(tables, resamples=10)
    first = found["folds"]["per_fold"]["fold_1"]["per_class"]["covid19"]
    assert (first["sensitivity"]["value"], first["specificity"]["value"]) == (1.0, 0.0)
    assert found["confusion"][0][1] >= 12 and found["predicted_changed"] == 0
    assert found["threshold"] is None and found["threshold_from"] == "each fold's own call"
    bare = {name: table.drop(columns="predicted") for name, table in tables.items()}
    assert evaluate_folds(bare, resamples=10)["threshold_from"] == "argmax"


def test_mean_and_spread_worked_by_hand() -> None:
    found = mean_sd({"a": {"value": 0.5}, "b": {"value": 0.7}, "c": {"value": 0.9}})
    assert (found["mean"], found["sd"], found["n"]) == (pytest.approx(0.7), pytest.approx(0.2), 3)
    missing = mean_sd({"a": {"value": 0.5}, "b": {"value": None, "why": "no film is viral"}})
    assert missing["mean"] is None and missing["sd"] is None and missing["n"] == 1
    assert missing["why"] == "undefined in b: no film is viral"
    assert missing["values"] == {"a": 0.5, "b": None}
    alone = mean_sd({"a": {"value": 0.5}})
    assert alone["mean"] == 0.5 and alone["sd"] is None and "two folds" in alone["why"]


def test_a_fold_without_a_class_is_null_there_and_defined_when_pooled() -> None:
    tables = folds()
    tables["fold_2"] = tables["fold_2"][tables["fold_2"]["label"] != "viral"]
    found = evaluate_folds(tables, resamples=10)
    spread = found["folds"]["mean_sd_per_class"]["viral"]["auroc"]
    assert spread["values"]["fold_2"] is None and spread["mean"] is None and "fold_2: no film is viral" in spread["why"]
    assert found["per_class"]["viral"]["auroc"]["value"] is not None


def test_what_is_no_cross_validation_is_refused() -> None:
    one, two = fold(1), fold(2)
    with pytest.raises(SplitError, match=r"1 fold\(s\)"):
        pool_folds({"fold_1": one})
    shared = two.assign(patient_id=two["patient_id"].replace("2_p0", "1_p3"))
    with pytest.raises(SplitError, match="the patient 1_p3 stands in fold_1 and fold_2"):
        evaluate_folds({"fold_1": one, "fold_2": shared})
    with pytest.raises(ManifestError, match="fold_2: has the classes normal, covid19; expected normal, viral, covid19"):
        evaluate_folds({"fold_1": one, "fold_2": fold(2, classes=("normal", "covid19"))})
    film = two.assign(path=two["path"].replace("2_0.png", "1_0.png"))
    with pytest.raises(ManifestError, match=r"'1_0\.png' stands there twice"):
        evaluate_folds({"fold_1": one, "fold_2": film})


def test_folds_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_predictions(fold(number), tmp_path / f"fold_{number}" / "predictions_test.csv")
    write_predictions(fold(7), tmp_path / "fold_old" / "predictions_test.csv")
    found = read_folds(tmp_path)
    assert list(found) == ["fold_1", "fold_2", "fold_10"]
    pd.testing.assert_frame_equal(found["fold_2"].astype(object), fold(2).astype(object), check_like=True)
    with pytest.raises(DataError, match="holds no fold"):
        read_folds(tmp_path, "validation")
