"""Haghanifar's six models on phantoms: which films each sees, and that the table says what the runs measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import ManifestError
from covidcxr_tf.models.chexnet import Probe, probe_network
from covidcxr_tf.models.provenance import Provenance
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions import covid_cxnet, covid_cxnet_heat
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.reading_metrics import cells, within_sources
from covidcxr_tf.recipes.reproductions.run import Reproduction, reproduce
from covidcxr_tf.recipes.reproductions.samples import is_child
from covidcxr_tf.recipes.reproductions.table import Row
from covidcxr_tf.train.run_dir import RunDir


@pytest.fixture(scope="module")
def smoke(lung_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reproduction]:
    """Return the whole reproduction on phantoms, with a lung network written by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVIDCXR_MODELS", str(lung_models))
        yield reproduce("covid_cxnet", out=tmp_path_factory.mktemp("cxnet") / "out", smoke=True)


@pytest.fixture(scope="module")
def rows(smoke: Reproduction) -> dict[str, Row]:
    return {row.fact or f"also {row.what}": row for row in smoke.rows}


def films(**counts: int) -> pd.DataFrame:
    """Return films of labels, ``normal_child`` being of a child, each of its own patient, in three splits in turn."""
    table = pd.DataFrame([{"label": name.split("_")[0], "age": "7" if "child" in name else "50"}
                          for name, count in counts.items() for _ in range(count)])  # fmt: skip
    table["patient_id"] = [f"p{k}" for k in range(len(table))]
    return table.assign(path=table["patient_id"] + ".png", split=np.resize(["train", "validation", "test"], len(table)))


def bench_of(table: pd.DataFrame, out: Path, settings: tuple[str, ...] = ()) -> Bench:
    table.attrs |= {"root": str(out), "manifest": str(out / "films.csv")}
    return Bench(table, out / "films.csv", out, out, settings=settings)


def run_of(smoke: Reproduction, name: str) -> dict:
    return json.loads((smoke.folder / "repeat_1" / "runs" / name / "metrics.json").read_text())


def test_each_printed_number_is_measured_or_says_why(rows: dict[str, Row]) -> None:
    printed = [row for name, row in rows.items() if not name.startswith("also ")]
    assert len(printed) == 60 and all(row.experiment for row in printed)
    assert {row.fact for row in printed if row.measured is None} - {"section5_1.samples300.accuracy"} == set()
    assert "does not say which" in rows["section5_1.samples300.accuracy"].why


@pytest.mark.parametrize(
    ("run", "prefix"), [("base_v2", "table2"), ("cxnet_v1", "table3"), ("flat", "table4"), ("hierarchical", "table5")]
)
def test_the_tables_cells_are_the_runs_confusion(
    smoke: Reproduction, rows: dict[str, Row], run: str, prefix: str
) -> None:
    metrics = run_of(smoke, run)
    names = covid_cxnet.BINARY if len(metrics["classes"]) == 2 else covid_cxnet.THREE
    for true, line in zip(metrics["classes"], metrics["confusion"], strict=True):
        for called, count in zip(metrics["classes"], line, strict=True):
            row = rows[f"{prefix}.{names[true]}.{names[called]}"]
            assert row.measured == count and row.n == metrics["n"]
            # Sets differ in size: shares stand beside the counts, and no difference of counts.
            assert f"{100 * count / sum(line):.1f} % of {sum(line)}" in row.note
            assert "printed:" in row.note and row.difference is None


def test_accuracies_are_per_cent_of_the_runs(smoke: Reproduction, rows: dict[str, Row]) -> None:
    for run, fact in (("base_v1", "table6.base_v1.accuracy"), ("cxnet_v2", "table6.cxnet_v2.accuracy")):
        metrics = run_of(smoke, run)
        assert rows[fact].measured == pytest.approx(100 * metrics["accuracy"]["value"])
        assert rows[fact].ci95 == pytest.approx([100 * end for end in metrics["accuracy"]["ci95"]])
    lost = rows["table6.cxnet_v1.accuracy"].measured - rows["table6.cxnet_v2.accuracy"].measured  # type: ignore[operator]
    assert rows["section5_3.cxnet_v2.accuracy_drop"].measured == pytest.approx(lost)


def test_all_models_share_their_test_patients(smoke: Reproduction) -> None:
    folder = smoke.folder / "repeat_1" / "runs"
    tested, trained = set(), set()
    for run in ("base_v2", "cxnet_v1", "cxnet_v2", "flat", "hierarchical"):
        split = pd.read_csv(folder / run / "split.csv")
        tested |= set(split.loc[split["split"] == "test", "patient_id"])
        trained |= set(split.loc[split["split"] == "train", "patient_id"])
    assert tested and not tested & trained


def test_within_one_source_stands_first_in_each_experiment(smoke: Reproduction) -> None:
    for name in ("base_v2", "flat"):
        own = [row for row in smoke.rows if row.experiment == name]
        assert " within " in own[0].what


def test_children_are_told_by_source_or_age() -> None:
    table = pd.DataFrame(
        {"source": ["kermany", "nih14", "nih14", "nih14"], "age": ["", "17", "18", ""], "label": "normal"}
    )
    assert is_child(table).tolist() == [True, True, False, False]
    assert not is_child(table[["label"]]).any()
    assert is_child(table.assign(source="kermany-v3", age="")).all()  # one rule for all papers


def test_base_v1_learns_childrens_films_and_v2_adults(tmp_path: Path) -> None:
    bench = bench_of(films(normal_child=6, normal_adult=9, covid19=6, pneumonia=3), tmp_path)
    first = covid_cxnet._two_classes(bench, "children")
    second = covid_cxnet._two_classes(bench, "adults")
    assert first["label"].value_counts().to_dict() == {"normal": 6, "covid19": 6}
    assert set(first.loc[first["label"] == "normal", "age"]) == {"7"}
    assert set(second.loc[second["label"] == "normal", "age"]) == {"50"}


@pytest.mark.parametrize(
    ("counts", "experiment", "said"),
    [
        ({"normal_adult": 3, "covid19": 3}, "base_v1", "Kermany"),
        ({"normal_child": 3, "covid19": 3}, "base_v2", "NIH"),
        ({"normal_adult": 3}, "cxnet_v2", "no film is covid19"),
        ({"normal_adult": 3, "covid19": 3}, "flat", "no film is pneumonia"),
    ],
)
def test_what_is_missing_is_named(counts: dict[str, int], experiment: str, said: str, tmp_path: Path) -> None:
    chosen = next(one for one in covid_cxnet.EXPERIMENTS if one.name == experiment)
    assert said in chosen.missing(bench_of(films(**counts), tmp_path))
    assert chosen.missing(bench_of(films(normal_child=3, normal_adult=3, covid19=3, pneumonia=3), tmp_path)) == ""


def test_a_split_that_is_there_is_kept(tmp_path: Path) -> None:
    table = films(normal_adult=6, covid19=6)
    pd.testing.assert_frame_equal(bench_of(table, tmp_path).split_films(), table)
    drawn = bench_of(table.drop(columns="split"), tmp_path).split_films()
    assert set(drawn["split"]) == {"train", "validation", "test"}
    partly = table.assign(split=table["split"].where(table.index != 2, ""))
    with pytest.raises(ManifestError, match=r"1 of 12 films have no split"):
        bench_of(partly, tmp_path).split_films()


def test_cells_by_hand() -> None:
    metrics = {"classes": ["a", "b", "c"], "confusion": [[3, 1, 5], [0, 0, 0], [1, 1, 1]], "n": 12}
    counts = cells(metrics, {"a": "x", "b": "y"}, "t")
    assert set(counts) == {"t.x.x", "t.x.y", "t.y.x", "t.y.y"}
    assert (counts["t.x.y"].value, counts["t.x.y"].n) == (1, 12) and "11.1 % of 9" in counts["t.x.y"].note
    assert counts["t.y.x"].value is None and "no test film is b" in counts["t.y.x"].why
    shares = cells(metrics, {"a": "x"}, "t", percent=True)
    assert shares["t.x.x"].value == pytest.approx(100 / 3) and shares["t.x.x"].n == 9


def test_areas_within_sources_leave_out_what_is_undefined() -> None:
    metric = {"value": 0.4, "ci95": [0.1, 0.8], "positives": 5, "rest": 2}
    metrics = {"positive": "covid19", "within_source": {"east": metric, "west": {"value": None, "why": "no film"}}}
    found = within_sources(metrics, "model")
    assert list(found) == ["also model: AUC within east"] and found["also model: AUC within east"].n == 7
    none = within_sources({"within_source": {}}, "model")
    assert none["also model: AUC within one source"].value is None


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        ((), ""),
        (("model.init=chexnet:a b.h5",), "a b.h5"),
        (('chexnet:model.init="chexnet:c.h5"', "image.size=64"), "c.h5"),
    ],
)
def test_the_chexnet_file_comes_from_the_settings(settings: tuple[str, ...], file: str, tmp_path: Path) -> None:
    bench = bench_of(films(covid19=3), tmp_path, settings)
    assert covid_cxnet_heat.chexnet_file(bench) == file
    assert ("CheXNet weight file" in covid_cxnet_heat.missing_chexnet(bench)) == (not file)


def test_chexnets_heat_stands_beside_ours(smoke: Reproduction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ("Mass", "Pneumonia")
    known = Provenance(
        "chexnet-keras", "made.h5", "0" * 64, labels, "layout", 3, (0.5,) * 3, (0.2,) * 3, (1, 1, 1, 1), 8, 16, True
    )
    monkeypatch.setattr(
        covid_cxnet_heat, "build_probe", lambda path, shape: Probe(probe_network(known, shape), labels, known)
    )
    run = smoke.folder / "repeat_1" / "runs" / "cxnet_v2"
    manifest = smoke.folder / "synthetic" / "manifest.csv"
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table.attrs |= {"root": str(manifest.parent), "manifest": str(manifest)}
    bench = Bench(table, manifest, manifest.parent, tmp_path, settings=("model.init=chexnet:made.h5",))
    found = covid_cxnet_heat.compare_heat(replace(bench), Outcome(RunDir(run), run_of(smoke, "cxnet_v2")))
    assert set(found) == {
        f"also {name}: mean share of Grad-CAM's heat in the lungs" for name in ("CheXNet", "COVID-CXNet")
    }
    for measured in found.values():
        assert measured.value is None or 0 <= measured.value <= 1
    assert (tmp_path / "figures" / "chexnet_beside_covid_cxnet.png").stat().st_size > 5000
