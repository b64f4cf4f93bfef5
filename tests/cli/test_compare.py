from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Run = Callable[..., Any]


def predictions(seed: int, splits: tuple[str, ...] = ("test",)) -> pd.DataFrame:
    truth = np.arange(40) % 2 == 0
    score = 1 / (1 + np.exp(-(truth + np.random.default_rng(seed).normal(size=40))))
    return pd.DataFrame(
        {
            "path": [f"{k}.png" for k in range(40)],
            "patient_id": [f"p{k // 2}" for k in range(40)],
            "label": np.where(truth, "covid19", "normal"),
            "split": [splits[k % len(splits)] for k in range(40)],
            "prob_normal": 1 - score,
            "prob_covid19": score,
        }
    )


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take most of a run's time."""
    monkeypatch.setattr("covidcxr_tf.report.comparison.draw_comparison", lambda *words: [])


def test_files_and_run_folders_to_tables_and_figures(tmp_path: Path, covidcxr: Run) -> None:
    predictions(1).to_csv(tmp_path / "ours.csv", index=False)
    (tmp_path / "theirs").mkdir()
    predictions(2).to_csv(tmp_path / "theirs" / "predictions_test.csv", index=False)
    done = covidcxr("compare", tmp_path / "ours.csv", tmp_path / "theirs", "--out", tmp_path / "out")
    assert done.code == 0
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [model["name"] for model in document["models"]] == ["ours", "theirs"]
    assert document["n"] == 40 and document["positive"] == "covid19"
    assert "ours - theirs" in done.out and "AUC (95 % over patients)" in done.out
    assert f"{document['models'][0]['auroc']:.3f} (" in done.out
    assert "films of one patient are not" in done.out
    assert "not for diagnosis" in done.err
    assert {path.name for path in (tmp_path / "out" / "figures").glob("*.png")} == {
        "roc_models.png",
        "intervals.png",
    }


@pytest.mark.usefixtures("undrawn")
def test_json_is_one_document_and_names_can_be_given(tmp_path: Path, covidcxr: Run) -> None:
    for number in (1, 2, 3):
        predictions(number).to_csv(tmp_path / f"{number}.csv", index=False)
    words = [tmp_path / f"{number}.csv" for number in (1, 2, 3)]
    done = covidcxr("compare", *words, "--names", "a, b,c", "--positive", "normal", "--out", tmp_path / "o", "--json")
    document = json.loads(done.out)
    assert [model["name"] for model in document["models"]] == ["a", "b", "c"]
    assert document["positive"] == "normal" and document["comparisons"] == 3
    assert document == json.loads((tmp_path / "o" / "comparison.json").read_text())


@pytest.mark.usefixtures("undrawn")
def test_the_test_films_are_compared_unless_another_split_is_asked_for(tmp_path: Path, covidcxr: Run) -> None:
    for number in (1, 2):
        predictions(number, ("train", "test", "test", "test")).to_csv(tmp_path / f"{number}.csv", index=False)
    words = ("compare", tmp_path / "1.csv", tmp_path / "2.csv", "--out", tmp_path / "o", "--json")
    counts = [json.loads(covidcxr(*words, *more).out)["n"] for more in ((), ("--split", "all"))]
    assert counts == [30, 40]


@pytest.mark.usefixtures("undrawn")
def test_common_films_are_compared_when_asked_for(tmp_path: Path, covidcxr: Run) -> None:
    predictions(1).to_csv(tmp_path / "1.csv", index=False)
    predictions(2).iloc[4:].to_csv(tmp_path / "2.csv", index=False)
    words = ("compare", tmp_path / "1.csv", tmp_path / "2.csv", "--out", tmp_path / "o")
    refused = covidcxr(*words)
    assert refused.code == 3 and "lacks 4 of the 40 films of 1" in refused.err and "--common" in refused.err
    done = covidcxr(*words, "--common")
    assert done.code == 0 and "4 of 1" in done.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("1.csv",), 2, "1 table; expected at least two"),
        (("1.csv", "none.csv"), 3, "none.csv: there is no such file"),
        (("1.csv", "1.csv"), 2, "the names 1, 1 for 2 tables"),
        (("1.csv", "2.csv", "--names", "a"), 2, "the names a for 2 tables"),
        (("1.csv", "2.csv", "--positive", "flu"), 2, "'flu' is no class"),
        (("1.csv", "2.csv", "--split", "train"), 3, "no row is in the split 'train'"),
        (("1.csv", "other.csv"), 3, "other: the film '3.png' has label 'covid19' and in 1 'normal'"),
    ],
)
def test_wrong_words_and_data_leave_one_line_and_no_file(
    tmp_path: Path, covidcxr: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    predictions(1).to_csv("1.csv", index=False)
    predictions(2).to_csv("2.csv", index=False)
    other = predictions(3)
    other.loc[3, "label"] = "covid19"
    other.to_csv("other.csv", index=False)
    done = covidcxr("compare", *words, "--out", "out")
    assert done.code == code
    assert message in done.err and "Traceback" not in done.err and done.out == ""
    assert not (tmp_path / "out").exists()
