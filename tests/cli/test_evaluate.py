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
    module.load_for_judging = lambda model: SimpleNamespace(name=model, positive="covid19", task="classification")  # type: ignore[attr-defined]
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
