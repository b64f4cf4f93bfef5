from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.cli.main import main
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.evaluate.thresholds import Threshold


def predictions(splits: tuple[str, ...] = ("test",), count: int = 40) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    scores = np.round(generator.random(count), 3)
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i // 2}" for i in range(count)],
            "label": np.where(generator.random(count) < scores, "covid19", "normal"),
            "predicted": np.where(scores > 0.5, "covid19", "normal"),
            "split": [splits[i % len(splits)] for i in range(count)],
            "source": "cohen",
            "prob_normal": 1 - scores,
            "prob_covid19": scores,
        }
    )


def elsewhere(count: int) -> pd.DataFrame:
    """Films of other patients."""
    films = predictions(count=count)
    return films.assign(path="far/" + films["path"], patient_id="far" + films["patient_id"])


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, words), *([] if "--resamples" in words else ["--resamples", "50"])])
    return int(stop.value.code or 0)


def test_predictions_to_metrics_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions().to_csv(tmp_path / "p.csv", index=False)
    assert run("--predictions", tmp_path / "p.csv", "--out", tmp_path / "out", "--seed", 3) == 0
    shown = capsys.readouterr()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["bootstrap"] == {
        "unit": "patient",
        "method": "percentile",
        "level": 0.95,
        "resamples": 50,
        "seed": 3,
    }
    assert f"AUC of covid19 within cohen  {metrics['auroc']['value']:.3f} (" in shown.out
    assert str(tmp_path / "out" / "metrics.json") in shown.out
    assert "not for diagnosis" in shown.err
    assert (tmp_path / "out" / "figures" / "roc.png").is_file()


def test_json_is_one_document_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions().to_csv(tmp_path / "p.csv", index=False)
    words = ("--predictions", tmp_path / "p.csv", "--out", tmp_path / "o", "--json", "--positive", "normal")
    assert run(*words, "--threshold", "0.25") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["positive"], document["threshold"], document["threshold_from"]) == ("normal", 0.25, "given")
    assert document == json.loads((tmp_path / "o" / "metrics.json").read_text())


@pytest.mark.usefixtures("undrawn")
def test_test_films_are_judged_where_a_table_holds_several_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions(("train", "test", "test", "test")).to_csv(tmp_path / "p.csv", index=False)
    words = ("--predictions", tmp_path / "p.csv", "--out", tmp_path / "o", "--json")
    counts = []
    for extra in ((), ("--split", "train"), ("--split", "all")):
        assert run(*words, *extra) == 0
        shown = capsys.readouterr()
        counts.append(json.loads(shown.out)["n"])
        assert ("judging 'test'" in shown.err) == (not extra)
    assert counts == [30, 10, 40]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "name what to judge"),
        (("--predictions", "p.csv", "--model", "m"), 2, "name what to judge"),
        (("--model", "m"), 2, "name what to judge"),
        (("--predictions", "p.csv", "--data", "m.csv"), 2, "name what to judge"),
        (("--predictions", "p.csv", "--root", "."), 2, "--root goes with --data"),
        (("--predictions", "p.csv", "--threshold", "high"), 2, "threshold 'high'; expected a number from 0 to 1"),
        (("--predictions", "p.csv", "--threshold", "2"), 2, "threshold 2.0"),
        (("--predictions", "p.csv", "--threshold", "nan"), 2, "threshold nan"),
        (("--predictions", "p.csv", "--positive", "flu"), 2, "'flu' is no class"),
        (("--predictions", "p.csv", "--manifest", "m.csv"), 3, "m.csv"),
        (("--model", "m", "--data", "m.csv", "--manifest", "m.csv"), 2, "--manifest goes with --predictions"),
        (("--predictions", "p.csv", "--threshold", "youden"), 2, "no validation films to choose a cut-off on"),
        (("--predictions", "p.csv", "--threshold", "sensitivity=x", "--validation", "v.csv"), 2, "a number after"),
        (("--predictions", "p.csv", "--threshold", "youden", "--validation", "p.csv"), 3, "also stand in those that"),
        (("--predictions", "p.csv", "--prevalence", "0"), 2, "prevalence 0"),
        (("--predictions", "p.csv", "--recalibrate", "p.csv"), 3, "also stand in those for recalibration"),
        (("--predictions", "p.csv", "--recalibrate", "few.csv"), 3, "at least 10 on each side"),
        (("--predictions", "none.csv"), 3, "none.csv: there is no such file"),
        (("--predictions", "p.csv", "--split", "train"), 3, "no row is in the split 'train'"),
        (("--predictions", "nan.csv"), 3, "nan.csv, row 4, column prob_covid19: 'nan' is no probability"),
        (("--predictions", "p.csv", "--resamples", "-1"), 2, "-1"),
    ],
)
def test_wrong_words_and_data_leave_one_line_and_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    predictions().to_csv("p.csv", index=False)
    elsewhere(12).to_csv("few.csv", index=False)
    elsewhere(40).assign(split="validation").to_csv("v.csv", index=False)
    broken = predictions().astype({"prob_covid19": object})
    broken.loc[2, "prob_covid19"] = "nan"
    broken.to_csv("nan.csv", index=False)
    assert run(*words, "--out", "out") == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take most of a run's time."""
    monkeypatch.setattr("covidcxr_tf.report.evaluation.draw_evaluation", lambda *words, **more: [])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A `predict_table_for` that notes what it was asked; the real one needs TensorFlow and a model."""
    calls: list[tuple[Any, ...]] = []

    def predict_table_for(loaded: Any, manifest: str, split: str | None, root: str | None) -> pd.DataFrame:
        calls.append((loaded.name, manifest, split, root))
        table = predictions(("test", "train"))
        return table if split is None else table[table["split"] == split].reset_index(drop=True)

    stored = Threshold(0.8, "stored", "the model's own: validation, Youden index", "covid19")
    module = ModuleType("covidcxr_tf.judging")
    module.predict_table_for = predict_table_for  # type: ignore[attr-defined]
    several = {"findings": ("multilabel", ("Edema", "Mass")), "three": ("classification", ("a", "b", "covid19"))}

    def load_for_judging(model: str) -> SimpleNamespace:
        task, classes = several.get(model, ("classification", ("normal", "covid19")))
        return SimpleNamespace(name=model, positive="covid19", task=task, classes=classes)

    module.load_for_judging = load_for_judging  # type: ignore[attr-defined]
    module.model_threshold = lambda loaded: stored  # type: ignore[attr-defined]
    module.judge_masks = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "covidcxr_tf.judging", module)
    return calls


@pytest.mark.usefixtures("undrawn")
def test_model_and_manifest(tmp_path: Path, asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    predictions(("test", "train"))[["path", "label", "patient_id", "split", "source"]].to_csv(manifest, index=False)
    words = ("--model", "model", "--data", manifest, "--out", out, "--json")
    assert run(*words) == 0
    first = json.loads(capsys.readouterr().out)
    # the films are chosen before the model runs, and the model's own cut-off is used
    assert asked == [("model", str(manifest), "test", None)]
    assert (first["n"], first["splits"], first["threshold"]) == (20, ["test"], 0.8)
    assert first["threshold_from"] == "the model's own: validation, Youden index"
    assert len(read_predictions(out / "predictions.csv")) == 20
    for extra, expected in (
        (("--threshold", "0.3"), 0.3),
        (("--threshold", "argmax"), None),
        (("--positive", "normal"), None),
    ):
        assert run(*words, *extra) == 0
        assert json.loads(capsys.readouterr().out)["threshold"] == expected
    assert run(*words, "--split", "all", "--root", tmp_path) == 0
    assert asked[-1][2:] == (None, str(tmp_path))


@pytest.mark.usefixtures("undrawn")
def test_predictions_of_a_run_are_judged_by_the_runs_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions().to_csv(tmp_path / "predictions_test.csv", index=False)
    stored = {"threshold": 0.8, "threshold_from": "validation, Youden index", "positive": "covid19"}
    (tmp_path / "metrics.json").write_text(json.dumps(stored))
    words = ("--predictions", tmp_path / "predictions_test.csv", "--out", tmp_path / "out", "--json")
    assert run(*words) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["threshold"] == 0.8
    assert "cut-off 0.8000: the run's own" in shown.err
    assert run(*words, "--threshold", "argmax") == 0
    assert json.loads(capsys.readouterr().out)["threshold"] is None


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        ("findings", ("--threshold", "0.5"), "findings is a model of findings"),
        ("findings", ("--threshold", "youden"), "neither --positive nor --threshold"),
        ("findings", ("--positive", "Edema"), "findings is a model of findings"),
        ("three", ("--threshold", "0.5"), "a threshold with 3 classes"),
        ("model", ("--threshold", "2"), "threshold 2.0"),
        ("model", ("--threshold", "nan"), "threshold nan"),
    ],
)
def test_a_cut_off_that_a_model_cannot_have_is_told_before_it_predicts(
    tmp_path: Path,
    asked: list[tuple[Any, ...]],
    capsys: pytest.CaptureFixture[str],
    model: str,
    words: tuple[str, ...],
    message: str,
) -> None:
    manifest = tmp_path / "m.csv"
    predictions()[["path", "label", "patient_id", "split", "source"]].to_csv(manifest, index=False)
    assert run("--model", model, "--data", manifest, "--out", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert asked == [] and not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("words", "aim"),
    [
        ("youden", "Youden index"),
        ("sensitivity=.9", "sensitivity of at least 0.9"),
        ("specificity=0.8", "specificity of at least 0.8"),
    ],
)
def test_a_cut_off_is_chosen_on_validation_films(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, aim: str
) -> None:
    both = pd.concat([predictions(), elsewhere(60).assign(split="validation")], ignore_index=True)
    both.to_csv(tmp_path / "both.csv", index=False)
    predictions().to_csv(tmp_path / "alone.csv", index=False)
    elsewhere(60).assign(split="validation").to_csv(tmp_path / "named.csv", index=False)
    found = []
    for extra in (
        ("--predictions", "both.csv"),
        ("--predictions", "alone.csv", "--validation", tmp_path / "named.csv"),
    ):
        option, name, *more = extra
        assert run(option, tmp_path / str(name), *more, "--out", tmp_path / "o", "--threshold", words, "--json") == 0
        shown = capsys.readouterr()
        found.append(json.loads(shown.out))
        assert f"validation, {aim} (60 films of 30 patients)" in shown.err
    first, second = found
    assert first["threshold_from"] == f"validation, {aim} (60 films of 30 patients)"
    assert first["operating_points"][0]["threshold"] == first["threshold"] == second["threshold"]
    assert first["n"] == second["n"] == 40


def test_people_prevalence_and_recalibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = predictions()
    films.to_csv(tmp_path / "p.csv", index=False)
    elsewhere(100).to_csv(tmp_path / "local.csv", index=False)
    manifest = films[["path", "label", "patient_id", "source"]].assign(sex=["F", "F", "M", "M"] * 10, age=50, view="PA")
    manifest.to_csv(tmp_path / "m.csv", index=False)
    words = ("--predictions", tmp_path / "p.csv", "--manifest", tmp_path / "m.csv", "--prevalence", "0.05")
    assert run(*words, "--out", tmp_path / "o", "--threshold", "0.5") == 0
    shown = capsys.readouterr().out
    metrics = json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert [row["group"] for row in metrics["subgroups"]] == ["all films", "F", "M", "40-59", "PA", "cohen"]
    assert pd.read_csv(tmp_path / "o" / "subgroups.csv")["n"].tolist() == [40, 20, 20, 40, 40, 40]
    for name in ("decision", "subgroups", "calibration"):
        assert (tmp_path / "o" / "figures" / f"{name}.png").is_file()
    assert f"PPV from 0.5 on, prevalence 0.05  {metrics['operating_points'][0]['ppv']['value']:.3f} (" in shown
    assert "calibration slope   " in shown
    assert "recalibration" not in metrics
    assert run(*words, "--out", tmp_path / "r", "--recalibrate", tmp_path / "local.csv") == 0
    assert "recalibrated (slope and intercept: logit x" in capsys.readouterr().err
    mended = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert mended["recalibration"]["films"] == 100
    assert mended["auroc"]["value"] == pytest.approx(metrics["auroc"]["value"])
    assert mended["brier"]["value"] != metrics["brier"]["value"]
