"""`covidcxr report` from the outside: exit codes, what is printed, where the page lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.evaluate.classification import evaluate_table

Run = Callable[..., Any]


@pytest.fixture
def judged(tmp_path: Path, phantoms: Path) -> Path:
    """Return a run folder without a model, judged on phantoms; half of the films are called wrongly."""
    films = load_manifest(phantoms)
    films = films[films["label"].isin(["normal", "covid19"])].reset_index(drop=True)
    score = np.linspace(0.05, 0.95, len(films))
    table = films[["path", "patient_id", "label", "source"]].assign(
        predicted=np.where(score >= 0.5, "covid19", "normal"), split="test", prob_normal=1 - score, prob_covid19=score
    )
    folder = tmp_path / "run"
    folder.mkdir()
    table.to_csv(folder / "predictions_test.csv", index=False)
    metrics = evaluate_table(table, "covid19", resamples=20) | {"split": "test"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    config = f'name = "phantom"\nrecipe = "covid_cxnet"\narch = "base"\n[data]\nmanifest = "{phantoms}"\n'
    (folder / "config.toml").write_text(config)
    return folder


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves have tests of their own, and take most of a run's time."""
    monkeypatch.setattr("covidcxr_tf.report.pictures.draw_evaluation", lambda *words, **more: [])


def test_a_page_with_films_and_one_without(judged: Path, tmp_path: Path, covidcxr: Run) -> None:
    done = covidcxr("report", judged, "--gallery", 2)
    assert done.code == 0
    page = (judged / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert f"report: {judged / 'report.html'}" in done.out
    assert "films in the page: 2" in done.out and "No heat maps" in done.out
    assert "missing: No audit" in done.out and "CLAIM 2024:" in done.out
    assert "not for diagnosis" in done.err
    done = covidcxr("report", judged, "--gallery", 0, "--out", tmp_path / "bare.html")
    assert done.code == 0 and "data:image/jpeg" not in (tmp_path / "bare.html").read_text()


def test_without_names_no_film_is_shown_unless_asked_for(judged: Path, tmp_path: Path, covidcxr: Run) -> None:
    assert covidcxr("report", judged, "--anonymous", "--out", tmp_path / "a.html").code == 0
    assert "data:image/jpeg" not in (tmp_path / "a.html").read_text()
    assert covidcxr("report", judged, "--anonymous", "--gallery", 1, "--out", tmp_path / "b.html").code == 0
    page = (tmp_path / "b.html").read_text()
    assert page.count("data:image/jpeg") == 1
    for path in pd.read_csv(judged / "predictions_test.csv")["path"]:
        assert path not in page


def test_json_is_one_document(judged: Path, covidcxr: Run) -> None:
    document = json.loads(covidcxr("report", judged, "--gallery", 0, "--json").out)
    assert document["report"] == str(judged / "report.html")
    assert sum(document["checklists"]["CLAIM 2024"].values()) == 44
    assert any(one["command"].startswith("covidcxr audit") for one in document["missing"])


def test_films_that_are_gone_are_said_to_be(judged: Path, covidcxr: Run) -> None:
    (judged / "config.toml").write_text('name = "x"\n[data]\nmanifest = "gone.csv"\n')
    done = covidcxr("report", judged)
    assert done.code == 0 and "--data" in done.out and "films in the page: 0" in done.out


def test_what_is_no_run_is_bad_input(judged: Path, tmp_path: Path, covidcxr: Run) -> None:
    assert covidcxr("report", tmp_path / "nowhere").code == 3
    (tmp_path / "empty").mkdir()
    done = covidcxr("report", tmp_path / "empty")
    assert done.code == 3 and "is no run folder" in done.err and "Traceback" not in done.err
    (judged / "metrics.json").write_text("{")
    done = covidcxr("report", judged)
    assert done.code == 3 and "metrics.json" in done.err
    assert not (judged / "report.html").exists()
