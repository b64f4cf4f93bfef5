"""Printed beside measured: rows, repeats, reasons, folders, pages. Papers and experiments are made up."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf import catalog
from covidcxr_tf.errors import ConfigError, ImageError, UsageError, WeightsError
from covidcxr_tf.papers.facts import Fact, Note, Paper
from covidcxr_tf.recipes.reproductions import run
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Experiment, Measured, from_metric
from covidcxr_tf.recipes.reproductions.readme import command_line
from covidcxr_tf.recipes.reproductions.run import check_experiments, measure, reproduce
from covidcxr_tf.recipes.reproductions.table import (
    UNANSWERED,
    Row,
    as_table,
    build_rows,
    combine,
    difference_cell,
    measured_cell,
    printed_cell,
    without_folders,
)


def fact(name: str, value: float, printed: str, unit: str = "%", **more: object) -> Fact:
    values = {"what": f"the {name}", "locator": "Table 1, row 1", "role": "result"} | more
    return Fact(id=f"table1.{name}", value=value, unit=unit, printed=printed, **values)  # type: ignore[arg-type]


PAPER = Paper(
    key="fake",
    title="A made-up paper",
    authors="A. Nobody",
    year=2021,
    journal="Journal",
    doi="",
    facts=(
        fact("accuracy", 96.1, "96.10", n=120, ci95=(90.0, 99.0), interval="95 % confidence interval"),
        fact("auc", 0.998, "0.998", unit="1"),
        fact("p", 0.001, "0.001", unit="1", sign="<"),
        fact("films", 40, "40", unit="films"),
        fact("minutes", 147, "147", unit="min"),
        fact("parameters", 7.0, "7.0", unit="M", role="setting"),
        fact("rival", 91.0, "91", role="cited"),
    ),
    notes=(Note(("table1.auc",), "The text says 0.997."), Note(("table1.rival",), "Nobody's.")),
)


def score(bench: Bench) -> dict[str, Measured]:
    """Give 90 + seed per cent, so that means over seeds can be said beforehand."""
    return {
        "table1.accuracy": Measured(90.0 + bench.seed, (80.0, 95.0), n=50, note="other films"),
        "table1.films": Measured(38, n=50),
        "also AUC within demo-north": Measured(0.75, (0.7, 0.8), n=20),
    }


def broken(bench: Bench) -> dict[str, Measured]:
    raise WeightsError("is not there", where="/home/somebody/deep/chexnet.h5", remedy="supply it with model.init")


EXPERIMENTS = (
    Experiment("score", "accuracy | of all", ("table1.accuracy", "table1.films"), score),
    Experiment("area", "area under the curve", ("table1.auc", "table1.p"), broken),
    Experiment("size", "parameters", ("table1.parameters",), score, lambda bench: "not run: no network; supply one"),
    Experiment("maps", "heat maps", (), lambda bench: {}, lambda bench: "no weights"),
)

Register = Callable[..., types.ModuleType]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Return a function that puts a reproduction module in the place of the paper `fake`."""

    def register(experiments: tuple[Experiment, ...] = EXPERIMENTS, **names: object) -> types.ModuleType:
        module = types.ModuleType("fake_reproduction")
        vars(module).update({"EXPERIMENTS": experiments, "CAVEATS": ("Made up.",), "SMOKE_LABELS": ("normal", "viral")})
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, "fake_reproduction", module)
        monkeypatch.setitem(catalog.PAPERS, "fake", catalog.Entry("fake_reproduction", "made up"))
        monkeypatch.setattr(run, "load_paper", lambda key: PAPER)
        return module

    return register


def rows_of(experiment: str, rows: tuple[Row, ...]) -> dict[str, Row]:
    return {row.fact or row.what: row for row in rows if row.experiment == experiment}


def bench_of(phantoms: Path, out: Path, **more: object) -> Bench:
    films = pd.read_csv(phantoms)
    return Bench(films, phantoms, phantoms.parent, out, **more)  # type: ignore[arg-type]


# Measured


def test_no_value_without_a_reason_and_no_nan() -> None:
    with pytest.raises(ValueError, match="reason"):
        Measured(None)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="cannot stand"):
            Measured(bad)
    with pytest.raises(ValueError, match="cannot stand"):
        Measured(1.0, (0.0, math.nan))


def test_numpy_scalars_become_json() -> None:
    one = Measured(np.float32(0.5), (np.float64(0.25), np.float64(0.75)))  # type: ignore[arg-type]
    assert json.dumps([one.value, one.ci95]) == "[0.5, [0.25, 0.75]]"


def test_a_metric_in_per_cent_with_its_interval() -> None:
    got = from_metric({"value": 0.5, "ci95": [0.25, 0.75]}, percent=True, n=8)
    assert got == Measured(50.0, (25.0, 75.0), 8)
    assert (
        from_metric({"value": 0.5, "ci95": None, "why": "one patient"}, note="a").note == "a; no interval: one patient"
    )
    assert from_metric({"value": None, "why": "no films"}) == Measured(None, why="no films")


# Repeats


def test_repeats_give_mean_and_range_and_say_so() -> None:
    three = [Measured(value, (0.0, 100.0), n=10, note="x") for value in (90.0, 96.0, 93.0)]
    got, interval = combine(three)
    assert (got.value, got.ci95, got.n, got.note) == (93.0, (90.0, 96.0), 10, "x")
    assert interval == "range of 3 seeds"
    assert combine(three[:1]) == (three[0], "95 % interval")
    assert combine([Measured(1.0)])[1] == ""


def test_repeats_that_could_not_run_are_told_and_not_averaged() -> None:
    none = Measured(None, why="no film")
    got, interval = combine([Measured(4.0, n=3), none, Measured(8.0, n=5)])
    assert (got.value, got.ci95, got.n, interval) == (6.0, (4.0, 8.0), None, "range of 2 seeds")
    assert "2 of 3 seeds; the others: no film" in got.note
    assert "n from 3 to 5" in got.note
    assert combine([none, none]) == (none, "")
    alone, interval = combine([none, Measured(4.0, (3.0, 5.0))])
    assert (alone.value, alone.ci95, interval) == (4.0, (3.0, 5.0), "95 % interval")


# Rows and cells


def built() -> dict[str, Row]:
    results: dict[str, list[dict[str, Measured]]] = {
        "score": [
            {
                "table1.accuracy": Measured(97.126, (95.0, 98.5), n=50),
                "table1.films": Measured(38.0),
                "also AUC within x": Measured(0.75),
            }
        ],
        "area": [{"table1.auc": Measured(1.0), "table1.p": Measured(0.04)}],
        "size": [{"table1.parameters": Measured(None, why="not run: no network")}],
        "maps": [{}],
    }
    rows = build_rows(PAPER, EXPERIMENTS, results)
    return {row.fact or row.what: row for row in rows}


def test_each_printed_result_has_one_row() -> None:
    rows = built()
    # A setting only because an experiment answers it; another author's number never.
    wanted = {"accuracy", "auc", "p", "films", "minutes", "parameters"}
    assert set(rows) == {f"table1.{name}" for name in wanted} | {"AUC within x"}
    assert rows["table1.minutes"].why == UNANSWERED
    assert rows["table1.minutes"].measured is None
    assert rows["table1.minutes"].experiment == ""


def test_difference_is_measured_less_printed_and_none_beside_a_bound() -> None:
    rows = built()
    assert rows["table1.accuracy"].difference == pytest.approx(1.026)
    assert rows["table1.films"].difference is None  # sets differ in size
    assert rows["table1.p"].difference is None
    assert rows["AUC within x"].difference is None


def test_cells_show_a_digit_more_than_the_paper_and_not_too_many() -> None:
    rows = built()
    assert printed_cell(rows["table1.accuracy"]) == "96.10 (90 to 99), n = 120"
    assert measured_cell(rows["table1.accuracy"]) == "97.13 (95.00 to 98.50), n = 50"
    assert difference_cell(rows["table1.accuracy"]) == "+1.03"
    assert printed_cell(rows["table1.p"]) == "< 0.001"
    assert measured_cell(rows["table1.auc"]) == "1.0000"
    assert measured_cell(replace(rows["table1.p"], measured=2e-9, n=None)) == "2.0e-09"
    assert measured_cell(rows["table1.films"]) == "38"
    assert difference_cell(rows["table1.films"]) == ""
    assert measured_cell(rows["table1.parameters"]) == "not run: no network"
    assert printed_cell(rows["AUC within x"]) == "-"
    assert difference_cell(replace(rows["table1.accuracy"], difference=-0.0001)) == "+0.00"


def test_the_csv_has_an_interval_in_two_columns_and_whole_counts() -> None:
    table = as_table(built().values())
    row = table[table["fact"] == "table1.accuracy"].iloc[0].to_dict()
    assert (row["printed_ci95_low"], row["ci95_high"]) == (90.0, 98.5)
    assert ",120," in table.to_csv()
    assert table[table["fact"] == "table1.minutes"]["measured"].isna().all()
    assert table[table["fact"] == "table1.auc"]["measured"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/x/films/a.csv: is not there", "a.csv: is not there"),
        ("model.init=chexnet:/home/x/w.h5", "model.init=chexnet:w.h5"),
        ("see '/a/b/c' and /d/e.", "see 'c' and e."),
        ("normal/bacterial/viral, 1/2/3", "normal/bacterial/viral, 1/2/3"),
        ("https://site.org/a/b.html", "https://site.org/a/b.html"),
        ("runs/one/model.keras ../up/x", "runs/one/model.keras ../up/x"),
    ],
)
def test_absolute_paths_are_cut_and_nothing_else(text: str, short: str) -> None:
    assert without_folders(text) == short


# One experiment


def test_data_reasons_are_told_and_defects_go_on(phantoms: Path, tmp_path: Path) -> None:
    bench = bench_of(phantoms, tmp_path)
    got = measure(EXPERIMENTS[1], bench)
    assert "chexnet.h5" in got["table1.auc"].why
    assert "supply it with model.init" in got["table1.p"].why
    for wrong in (ConfigError("unknown key"), KeyError("x"), RuntimeError("x")):

        def fail(bench: Bench, wrong: Exception = wrong) -> dict[str, Measured]:
            raise wrong

        with pytest.raises(type(wrong)):
            measure(Experiment("e", "e", ("table1.auc",), fail), bench)


def test_what_an_experiment_leaves_out_or_makes_up(phantoms: Path, tmp_path: Path) -> None:
    bench = bench_of(phantoms, tmp_path)
    empty = Experiment("e", "e", ("table1.auc",), lambda bench: {})
    assert measure(empty, bench)["table1.auc"].why == run.NO_VALUE
    with pytest.raises(ValueError, match=r"table1\.accuracy"):
        measure(Experiment("e", "e", ("table1.auc",), score), bench)


def test_missing_is_asked_before_anything_runs(phantoms: Path, tmp_path: Path) -> None:
    def image(bench: Bench) -> str:
        raise ImageError("cannot be read", where="film.png")

    never = Experiment("e", "e", ("table1.auc",), lambda bench: 1 / 0, image)  # type: ignore[arg-type,return-value]
    assert measure(never, bench_of(phantoms, tmp_path))["table1.auc"].why == "film.png: cannot be read"


def test_experiments_that_do_not_fit_the_paper() -> None:
    one = EXPERIMENTS[0]
    with pytest.raises(ValueError, match="experiment score"):
        check_experiments(PAPER, (one, replace(one, facts=())))
    with pytest.raises(ValueError, match=r"fact table1\.accuracy"):
        check_experiments(PAPER, (one, replace(one, name="other")))
    with pytest.raises(ValueError, match="another author"):
        check_experiments(PAPER, (replace(one, facts=("table1.rival",)),))
    with pytest.raises(UsageError, match=r"table1\.aucc"):
        check_experiments(PAPER, (replace(one, facts=("table1.aucc",)),))


# The whole


def test_a_reproduction_leaves_table_page_figure_and_document(fake: Register, phantoms: Path, tmp_path: Path) -> None:
    fake()
    done = reproduce("fake", phantoms, out=tmp_path / "out", seed=3, settings=["model.init=/home/me/w.h5"])
    got = rows_of("score", done.rows)
    assert got["table1.accuracy"].measured == 93.0
    assert got["AUC within demo-north"].n == 20
    assert rows_of("size", done.rows)["table1.parameters"].why == "no network; supply one"
    assert rows_of("maps", done.rows)["heat maps"].why == "no weights"
    document = json.loads((done.folder / "reproduction.json").read_text())
    assert document == json.loads(json.dumps(done.document))
    assert document["finished"]
    assert document["schema_version"] == 1
    assert document["manifest"]["films"] == len(pd.read_csv(phantoms))
    assert len(document["rows"]) == len(done.rows) == len(pd.read_csv(done.folder / "table.csv"))
    page = (done.folder / "README.md").read_text()
    for text in (page, json.dumps(document)):
        assert str(tmp_path) not in text
        assert "/home" not in text
    assert "2 of 6 printed numbers measured." in page
    assert "| Table 1, row 1 | the accuracy | % | 96.10 (90 to 99), n = 120 | 93.00" in page
    assert "chexnet.h5: is not there" in page
    assert page.count("chexnet.h5") == 1  # the reason once, above the table
    assert "The text says 0.997." in page
    assert "Nobody's" not in page
    assert "Synthetic films" in page  # told by the films' licence, not by the missing --data
    assert (done.folder / "figures" / "agreement.png").stat().st_size > 1000
    drawn = pd.read_csv(done.folder / "figures" / "agreement.csv")
    assert drawn["fact"].tolist() == ["table1.accuracy"]


def test_repeats_take_seeds_one_after_the_other(fake: Register, phantoms: Path, tmp_path: Path) -> None:
    places: list[tuple[int, str]] = []

    def look(bench: Bench) -> dict[str, Measured]:
        places.append((bench.seed, bench.out.name))
        return score(bench)

    fake((replace(EXPERIMENTS[0], run=look),))
    done = reproduce("fake", phantoms, out=tmp_path / "out", seed=5, repeats=3)
    assert places == [(5, "repeat_1"), (6, "repeat_2"), (7, "repeat_3")]
    row = rows_of("score", done.rows)["table1.accuracy"]
    assert (row.measured, row.ci95, row.interval) == (96.0, (95.0, 97.0), "range of 3 seeds")
    assert "range of 3 seeds: 95.00 to 97.00" in (done.folder / "README.md").read_text()
    assert done.document["seeds"] == [5, 6, 7]


def test_only_the_named_experiments_run(fake: Register, phantoms: Path, tmp_path: Path) -> None:
    fake()
    done = reproduce("fake", phantoms, out=tmp_path / "out", only=["area"])
    assert "not asked for (--only area)" in rows_of("score", done.rows)["table1.accuracy"].why
    assert "chexnet.h5" in rows_of("area", done.rows)["table1.auc"].why
    with pytest.raises(UsageError, match="scor"):
        reproduce("fake", phantoms, out=tmp_path / "other", only=["scor"])
    assert not (tmp_path / "other").exists()


def test_the_command_in_the_page_is_the_one_that_was_given(fake: Register, phantoms: Path, tmp_path: Path) -> None:
    fake()
    done = reproduce(
        "fake", phantoms, phantoms.parent, tmp_path / "out", True, 2, 7, ["data.sources=['a b']"], ["score"]
    )
    line = command_line(done.document)
    assert line == (
        "covidcxr reproduce fake --data manifest.csv --root FILMS --smoke --repeats 2 --seed 7 --set "
        "'data.sources=['\"'\"'a b'\"'\"']' --only score"
    )
    assert line in (done.folder / "README.md").read_text()


def test_a_folder_goes_on_only_with_what_it_was_begun_for(fake: Register, phantoms: Path, tmp_path: Path) -> None:
    fake()
    out = tmp_path / "out"
    first = reproduce("fake", phantoms, out=out)
    assert reproduce("fake", phantoms, out=out, repeats=2).document["identity"] == first.document["identity"]
    for other in ({"seed": 1}, {"smoke": True}, {"settings": ["train.epochs=2"]}):
        with pytest.raises(UsageError, match="--out"):
            reproduce("fake", phantoms, out=out, **other)  # type: ignore[arg-type]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        reproduce("fake", phantoms, out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_mistyped_setting_does_not_cost_the_folder(fake: Register, tmp_path: Path) -> None:
    def train(bench: Bench) -> dict[str, Measured]:
        bench.films(bench.manifest, "all")
        bench.config("base")
        (bench.out / "runs" / "base").mkdir(parents=True)
        return score(bench)

    fake((replace(EXPERIMENTS[0], run=train),))
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="epoks"):
        reproduce("fake", out=out, smoke=True, settings=["train.epoks=1"])
    with pytest.raises(ConfigError, match="epocs"):
        reproduce("fake", out=out, smoke=True, seed=1, settings=["train.epocs=1"])
    done = reproduce("fake", out=out, smoke=True, seed=2, settings=["train.epochs=1"])
    assert json.loads((out / "synthetic.json").read_text())["seed"] == 2
    # From the first run on, the folder belongs to these settings, also while it is unfinished.
    (out / "reproduction.json").write_text(json.dumps(done.document | {"finished": False}))
    with pytest.raises(UsageError, match="--out"):
        reproduce("fake", out=out, smoke=True, seed=2)


def test_the_default_folder_is_taken_again_while_unfinished(
    fake: Register, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(bench: Bench) -> dict[str, Measured]:
        (bench.out / "runs" / "base").mkdir(parents=True)
        raise KeyboardInterrupt

    fake((replace(EXPERIMENTS[0], run=stop),))
    with pytest.raises(KeyboardInterrupt):
        reproduce("fake", phantoms)
    fake()
    assert reproduce("fake", phantoms, seed=1).folder == Path("runs/reproduce_fake_2")  # another one
    assert reproduce("fake", phantoms).folder == Path("runs/reproduce_fake")  # goes on
    assert reproduce("fake", phantoms).folder == Path("runs/reproduce_fake_3")  # the first is finished


def test_synthetic_films_have_the_modules_labels_and_are_made_once(
    fake: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Bench] = []

    def look(bench: Bench) -> dict[str, Measured]:
        seen.append(bench)
        return score(bench)

    fake((replace(EXPERIMENTS[0], run=look),))
    reproduce("fake", out=tmp_path / "out", smoke=True, repeats=2)
    assert "SYNTHETIC" in capsys.readouterr().err
    assert set(seen[0].manifest["label"]) == {"normal", "viral"}
    assert seen[0].synthetic
    assert seen[0].manifest_path == seen[1].manifest_path
    before = seen[0].manifest_path.stat().st_mtime_ns
    reproduce("fake", out=tmp_path / "out", smoke=True)
    assert seen[-1].manifest_path.stat().st_mtime_ns == before


def test_a_module_may_make_its_own_films(fake: Register, phantoms: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def own(folder: Path, seed: int) -> Path:
        calls.append(seed)
        folder.mkdir()
        films = pd.read_csv(phantoms).head(3)
        films.to_csv(folder / "mine.csv", index=False)
        return folder / "mine.csv"

    fake(smoke_films=own)
    for _ in range(2):
        done = reproduce("fake", out=tmp_path / "out", smoke=True, seed=4)
    assert calls == [4]
    assert not done.document["manifest"]["name"].startswith("mine")
    assert done.document["manifest"]["films"] == 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"repeats": 0}, "repeats 0"),
        ({"seed": -1}, "seed -1"),
        ({"settings": ["seed=3"]}, "--seed"),
        ({"settings": ["data.manifest=x.csv"]}, "--data"),
        ({"root": "films"}, "--root"),
    ],
)
def test_requests_that_cannot_be_met(fake: Register, tmp_path: Path, wrong: dict[str, object], told: str) -> None:
    fake()
    with pytest.raises(UsageError, match=told):
        reproduce("fake", out=tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_faulty_manifest_is_told_before_any_folder_is_made(fake: Register, tmp_path: Path) -> None:
    fake()
    (tmp_path / "bad.csv").write_text("path,label\na.png,normal\n")
    with pytest.raises(run.DataError, match="patient_id"):
        reproduce("fake", tmp_path / "bad.csv", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
