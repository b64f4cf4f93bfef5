"""`covidcxr reproduce`: the real facts of a paper, experiments that are made up."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from covidcxr_tf import catalog
from covidcxr_tf.papers.facts import load_paper
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Experiment, Measured

KEY = "covid_cxnet"
ACCURACY, AREA = "section5_1.base_v1.accuracy", "section5_1.base_v2.auc"


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two experiments in the place of the paper's."""

    def measured(bench: Bench) -> dict[str, Measured]:
        return {ACCURACY: Measured(91.25, (80.0, 97.0), n=bench.seed + 10, note="small films")}

    module: Any = types.ModuleType("made_up_reproduction")
    module.EXPERIMENTS = (
        Experiment("base_v1", "the base model", (ACCURACY,), measured),
        Experiment("base_v2", "the other one", (AREA,), measured, lambda bench: "not run: no adults; supply NIH films"),
    )
    module.CAVEATS = ("Made up for a test.",)
    module.SMOKE_LABELS = ("normal", "covid19")
    monkeypatch.setitem(sys.modules, "made_up_reproduction", module)
    monkeypatch.setitem(catalog.PAPERS, KEY, catalog.Entry("made_up_reproduction", "made up"))


def test_printed_beside_measured_on_stdout(covidcxr: Callable[..., Any], phantoms: Path, tmp_path: Path) -> None:
    done = covidcxr("reproduce", KEY, "--data", phantoms, "--out", tmp_path / "out", "--seed", 2)
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if "91.25" in line)
    assert "paper 96.10, n = 120 " in line
    assert "91.25 (80.00 to 97.00), n = 12" in line
    assert "-4.85" in line
    assert line.endswith("small films")
    assert "accuracy [%] " in line
    assert "  not run: no adults; supply NIH films" in done.out
    assert "not run: not run" not in done.out
    results = len(load_paper(KEY).of_role("result"))
    assert f"1 of {results} printed numbers measured." in done.out
    assert "Made up for a test." in done.out
    assert "[1/2] the base model" in done.err
    assert (tmp_path / "out" / "README.md").is_file()


def test_json_is_one_document(covidcxr: Callable[..., Any], phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = covidcxr("reproduce", KEY, "--data", phantoms, "--out", out, "--repeats", 2, "--only", "base_v1", "--json")
    document = json.loads(done.out)
    assert document == json.loads((out / "reproduction.json").read_text())
    row = next(row for row in document["rows"] if row["fact"] == ACCURACY)
    assert row["interval"] == "range of 2 seeds"
    assert row["n"] is None
    assert {row["fact"] for row in document["rows"]} >= {fact.id for fact in load_paper(KEY).of_role("result")}


def test_without_films_it_says_synthetic(covidcxr: Callable[..., Any], tmp_path: Path) -> None:
    done = covidcxr("reproduce", KEY, "--smoke", "--out", tmp_path / "out")
    assert done.code == 0
    assert "SYNTHETIC" in done.err
    assert "Synthetic films" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody"], "covid_cxnet"),
        ([KEY, "--only", "base_v3"], "base_v1"),
        ([KEY, "--set", "seed=4"], "--seed"),
        ([KEY, "--repeats", "0"], "repeats"),
        ([KEY, "--root", "films"], "--data"),
        ([KEY, "--masks", "masks.csv"], "--data"),
        ([KEY, "--masks-root", "films"], "--masks"),
        ([KEY, "--set", "nobody:train.epochs=1"], "no config"),
        ([KEY, "--set", "base:seed=1"], "--seed"),
        ([KEY, "--set", "train.epoch=3"], "did you mean 'epochs'"),
        ([KEY, "--set", "base:train.epochs=many"], "train.epochs"),
        ([KEY, "--smoke", "--set", "phases.phase_1.train.epoch=3"], "unknown key 'train.epoch'"),
    ],
)
def test_what_cannot_be_asked(covidcxr: Callable[..., Any], tmp_path: Path, words: list[str], told: str) -> None:
    done = covidcxr("reproduce", *words, "--out", tmp_path / "out")
    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "out").exists()


def test_films_with_masks_may_lie_elsewhere(
    covidcxr: Callable[..., Any], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Bench] = []

    def measured(bench: Bench) -> dict[str, Measured]:
        seen.append(bench)
        return {ACCURACY: Measured(90.0)}

    one = Experiment("base_v1", "the base model", (ACCURACY,), measured)
    monkeypatch.setattr(sys.modules["made_up_reproduction"], "EXPERIMENTS", (one,))
    (tmp_path / "masks.csv").write_bytes(phantoms.read_bytes())
    words = ("--masks", tmp_path / "masks.csv", "--masks-root", phantoms.parent, "--out", tmp_path / "out")
    done = covidcxr("reproduce", KEY, "--data", phantoms, *words)
    assert done.code == 0
    drawn = seen[0].drawn()
    assert drawn is not None
    assert drawn.manifest_path == tmp_path / "masks.csv"
    assert drawn.root == phantoms.parent.resolve()
    page = (tmp_path / "out" / "README.md").read_text()
    assert "--masks masks.csv --masks-root MASKED_FILMS" in page
    assert str(tmp_path) not in page
    # Other masks are another reproduction.
    (tmp_path / "masks.csv").write_text(phantoms.read_text() + "\n")
    assert covidcxr("reproduce", KEY, "--data", phantoms, *words).code == 2


def test_help_is_running_text(covidcxr: Callable[..., Any]) -> None:
    done = covidcxr("reproduce", "--help")
    assert 'printed as "not run", with' in " ".join(done.out.split())
    assert "\n  KEY is one of the papers" in done.out


def test_a_stop_says_how_this_command_goes_on(covidcxr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from covidcxr_tf.errors import Stopped
    from covidcxr_tf.recipes.reproductions import run

    def stopped(*arguments: object) -> None:
        raise Stopped("stopped by SIGTERM after step 3", remedy="run the same command again with --resume")

    monkeypatch.setattr(run, "reproduce", stopped)
    done = covidcxr("reproduce", "vgg16_pcxr", "--smoke")
    assert done.code == 75
    assert "run the same command again" in done.err
    assert "--resume" not in done.err
