"""Kusakunniran's scenarios on phantoms: which films they take, their arithmetic, what stands beside the headline."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.splits import check_split, torn_patients
from covidcxr_tf.errors import SplitError
from covidcxr_tf.models.files import read_facts
from covidcxr_tf.recipes.reproductions import resnet101_1500, resnet101_1500_films
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.resnet101_1500_films import (
    OTHER,
    POOLS,
    dataset_of,
    missing,
    missing_second_source,
    scenario_films,
    second_source,
    study_sizes,
)
from covidcxr_tf.recipes.reproductions.resnet101_1500_reading import Judged
from covidcxr_tf.recipes.reproductions.run import Reproduction, reproduce
from covidcxr_tf.recipes.reproductions.table import Row

TINY = ("model.blocks=[1,1,1]",)


@pytest.fixture(scope="module")
def smoke(lung_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reproduction]:
    """Return the whole reproduction on phantoms, with a lung network written by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVIDCXR_MODELS", str(lung_models))
        yield reproduce("resnet101_1500", out=tmp_path_factory.mktemp("resnet") / "out", smoke=True, settings=TINY)


@pytest.fixture(scope="module")
def rows(smoke: Reproduction) -> dict[str, Row]:
    return {row.fact or f"also {row.what}": row for row in smoke.rows}


def value(rows: dict[str, Row], name: str) -> float:
    measured = rows[name].measured
    assert measured is not None, rows[name].why
    return measured


def bench_of(films: pd.DataFrame, out: Path, settings: tuple[str, ...] = (), seed: int = 0) -> Bench:
    films.attrs |= {"root": str(out), "manifest": str(out / "films.csv")}
    return Bench(films, out / "films.csv", out, out, seed=seed, settings=settings)


def hospital(d1: int = 142, d2: int = 400, other: int = 200, d5: int = 60, films_each: int = 1) -> pd.DataFrame:
    """Return the paper's datasets (fewer normal films), D5 of the source ``away``."""
    labels = ["covid19"] * d1 + ["normal"] * d2 + [OTHER[k % len(OTHER)] for k in range(other)] + ["covid19"] * d5
    sources = ["home"] * (d1 + d2 + other) + ["away"] * d5
    patients = [f"{label}{source}{k // films_each}" for k, (label, source) in enumerate(zip(labels, sources))]
    return pd.DataFrame(
        {"path": [f"{k}.png" for k in range(len(labels))], "label": labels, "patient_id": patients, "source": sources}
    )


def test_each_printed_number_is_measured(rows: dict[str, Row]) -> None:
    printed = [row for name, row in rows.items() if not name.startswith("also ")]
    assert len(printed) == 55
    assert {row.fact: row.why for row in printed if row.measured is None} == {}


def test_rows_of_the_tables_fill_up_to_100(rows: dict[str, Row]) -> None:
    two = [f"table{number}.{row}" for number in (5, 6) for row in ("covid19", "normal", "other")]
    two += ["table7.covid19", "table7.other", "table8.cutoff50", "table8.cutoff90"]
    for name in two:
        assert value(rows, f"{name}.covid19") + value(rows, f"{name}.non_covid19") == pytest.approx(100)
    for true in ("covid19", "normal", "other"):
        assert sum(value(rows, f"table9.{true}.{called}") for called in ("covid19", "normal", "other")) == 100


def test_a_higher_cut_off_calls_no_more_films(rows: dict[str, Row]) -> None:
    for name in ("covid19", "normal", "other"):
        assert value(rows, f"table6.{name}.covid19") <= value(rows, f"table5.{name}.covid19")
    assert value(rows, "table8.cutoff90.covid19") <= value(rows, "table8.cutoff50.covid19")


def test_the_headline_is_table_5_without_d3_and_d4_and_both_are_printed(rows: dict[str, Row]) -> None:
    sensitivity, specificity = value(rows, "table5.covid19.covid19"), value(rows, "table5.normal.non_covid19")
    d1, d2, other = (rows[f"table5.{name}.covid19"].n or 0 for name in ("covid19", "normal", "other"))
    accuracy = (d1 * sensitivity + d2 * specificity) / (d1 + d2)
    for place in (*resnet101_1500.HEADLINES, "section3_1"):
        assert (value(rows, f"{place}.sensitivity"), value(rows, f"{place}.specificity")) == (sensitivity, specificity)
    assert value(rows, "abstract.accuracy") == pytest.approx(accuracy) and rows["abstract.accuracy"].n == d1 + d2
    assert value(rows, "section3_5.average") == pytest.approx((sensitivity + specificity + accuracy) / 3)
    rest = value(rows, "table5.other.non_covid19")
    both = value(rows, "also scenario 1 with D3 and D4: specificity")
    assert both == pytest.approx((d2 * specificity + other * rest) / (d2 + other))
    assert rows["also scenario 1 with D3 and D4: accuracy"].n == d1 + d2 + other


def test_every_scenario_is_trained_as_it_says(smoke: Reproduction) -> None:
    runs = smoke.folder / "repeat_1" / "runs"
    made = {path.name: tomllib.loads((path / "config.toml").read_text()) for path in runs.iterdir()}
    assert set(made) == {
        "scenario_1", "scenario_1_one_split", "scenario_2", "scenario_2_43px", "scenario_2_32px", "scenario_4"
    }  # fmt: skip
    assert {name for name, config in made.items() if not config["data"]["redraw_validation"]} == {
        "scenario_1_one_split"
    }
    assert [len(made[name]["classes"]) for name in ("scenario_1", "scenario_2", "scenario_4")] == [2, 2, 3]
    sizes = {name: read_facts(runs / name / "model.keras")["image"]["size"] for name in made}
    assert sizes["scenario_2"] == sizes["scenario_1"] == 64
    assert (sizes["scenario_2_43px"], sizes["scenario_2_32px"]) == (43, 32)


def test_the_size_study_shares_the_run_of_scenario_2(smoke: Reproduction, rows: dict[str, Row]) -> None:
    assert value(rows, "section3_2.px1500.covid19") == value(rows, "table7.covid19.covid19")
    assert value(rows, "section3_2.px1500.non_covid19") == value(rows, "table7.other.non_covid19")
    history = pd.read_csv(smoke.folder / "repeat_1" / "runs" / "scenario_2_32px" / "history.csv")
    assert value(rows, "section3_2.px500.training_time") == pytest.approx(history["seconds"].sum() / 60)
    assert (
        "CPU" in rows["section3_2.px500.training_time"].note
        and "32 px for 500" in rows["section3_2.px500.covid19"].note
    )


def test_d5_is_tested_on_and_never_trained_on(smoke: Reproduction, rows: dict[str, Row]) -> None:
    second = rows["section3_3.sensitivity"].note.partition("D5 is the source ")[2].partition(";")[0]
    for run in ("scenario_1", "scenario_2", "scenario_4"):
        split = pd.read_csv(smoke.folder / "repeat_1" / "runs" / run / "split.csv", dtype=str)
        covid = split[split["original_label"].eq("covid19")]
        assert set(covid.loc[covid["source"].eq(second), "split"]) == {"test"}
        assert {"train", "validation"} <= set(covid["split"])


def test_confidences_are_those_of_the_films_shown(smoke: Reproduction, rows: dict[str, Row]) -> None:
    run = smoke.folder / "repeat_1" / "runs" / "scenario_1"
    table = pd.read_csv(run / "predictions_test.csv")
    normal = 100 * table.loc[table["original_label"].eq("normal"), "prob_covid19"]
    shown = value(rows, "section3_6.non_covid19_confidence")
    assert np.isclose(normal, shown).any()
    assert value(rows, "section3_6.non_covid19_certainty") == pytest.approx(100 - shown)
    assert (run / "figures" / "activation_test.png").stat().st_size > 5000
    assert [path.name for path in (smoke.folder / "figures").glob("*.png")] == ["agreement.png"]
    assert 0 < value(rows, "section2_2.lung_share") < 100


@pytest.mark.parametrize("scenario", sorted(POOLS))
@pytest.mark.parametrize("films_each", [1, 3])
def test_pools_are_as_large_as_table_4_says(scenario: int, films_each: int, tmp_path: Path) -> None:
    films = scenario_films(bench_of(hospital(films_each=films_each), tmp_path), scenario)
    check_split(films, ("train", "validation", "test"))
    assert not torn_patients(films)
    dataset = dataset_of(films["label"], films["source"], "away")
    pool = films["split"].ne("test")
    for name, (count, share) in POOLS[scenario].items():
        drawn, there = (dataset.eq(name) & pool).sum(), dataset.eq(name).sum()
        most = min(count, int(share * there))
        assert most - films_each < drawn <= most
        assert set(films.loc[dataset.eq(name) & pool, "split"]) == {"train", "validation"}
        validating = films.loc[dataset.eq(name), "split"].eq("validation").sum()
        assert validating <= max(films_each, 0.1 * drawn)
    assert not (dataset.eq("d5") & pool).any() and dataset.eq("d5").sum() == 60
    assert ("other" in POOLS[scenario]) == bool((dataset.eq("other") & pool).any())
    assert set(films["path"]) <= set(hospital()["path"]) and len(set(films["path"])) == len(films)


def test_scenario_1_has_the_papers_numbers(tmp_path: Path) -> None:
    films = scenario_films(bench_of(hospital(d1=143), tmp_path), 1)
    counts = films.groupby(["label", "split"]).size()
    assert (counts["covid19", "train"], counts["covid19", "validation"]) == (90, 10)
    assert counts["covid19", "test"] == 43 + 60
    assert (counts["normal", "train"], counts["normal", "validation"], counts["normal", "test"]) == (90, 10, 300)


def test_scenarios_share_their_covid19_films_and_seeds_do_not(tmp_path: Path) -> None:
    def pool(scenario: int, seed: int = 0) -> set[str]:
        films = scenario_films(bench_of(hospital(), tmp_path, seed=seed), scenario)
        return set(films.loc[films["label"].eq("covid19") & films["split"].ne("test"), "path"])

    assert pool(1) == pool(2) == pool(4) != pool(1, seed=1)


def test_a_patient_with_films_of_two_kinds_is_on_one_side(tmp_path: Path) -> None:
    films = hospital()
    films["patient_id"] = [f"p{k % 50}" for k in films.index]  # every patient has films of every dataset
    with pytest.raises(SplitError, match="scenario 1: 0 patient"):
        scenario_films(bench_of(films, tmp_path), 1)  # each has a D5 film, too
    films.loc[films["source"].eq("away"), "patient_id"] = "another"
    chosen = scenario_films(bench_of(films, tmp_path), 1)
    assert not torn_patients(chosen) and {"train", "validation", "test"} == set(chosen["split"])


def test_a_manifests_own_test_films_stay_the_test_films(tmp_path: Path) -> None:
    films = hospital()
    films["split"] = np.where(films.index % 4 == 0, "test", np.where(films.index % 4 == 1, "validation", "train"))
    chosen = scenario_films(bench_of(films.copy(), tmp_path), 2)
    own = films.loc[films["split"].eq("test") | films["source"].eq("away"), "path"]
    assert set(chosen.loc[chosen["split"].eq("test"), "path"]) == set(own)


def test_too_few_patients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"1 patient\(s\) of COVID-19 films"):
        scenario_films(bench_of(hospital(d1=2, d5=1), tmp_path), 1)


def test_the_second_source_has_the_fewest_covid19_films() -> None:
    films = pd.DataFrame({"label": ["covid19"] * 6 + ["normal"], "source": ["c", "c", "b", "a", "a", "", "rare"]})
    assert second_source(films) == "b"
    assert second_source(films.iloc[[0, 1, 3, 4]]) == "a"  # a tie: the first name
    assert second_source(films.iloc[:2]) == ""


def test_labels_and_source_make_the_dataset() -> None:
    labels = pd.Series(["covid19", "covid19", "normal", "viral", "tuberculosis", "sars"])
    sources = pd.Series(["home", "away", "away", "away", "home", "home"])
    assert dataset_of(labels, sources, "away").tolist() == ["d1", "d5", "d2", "other", "other", ""]
    assert dataset_of(labels, sources, "").tolist() == ["d1", "d1", "d2", "other", "other", ""]


def test_sizes_keep_their_proportions_and_settings_rule(tmp_path: Path) -> None:
    assert study_sizes(bench_of(hospital(), tmp_path)) == {1500: 1500, 1000: 1000, 500: 500}
    assert study_sizes(bench_of(hospital(), tmp_path, ("image.size=300",))) == {1500: 300, 1000: 200, 500: 100}
    assert study_sizes(bench_of(hospital(), tmp_path, ("image.size=48",))) == {1500: 48, 1000: 32, 500: 32}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    films = hospital()
    assert (
        missing(bench_of(films, tmp_path), ("d1", "d2", "other"))
        == missing_second_source(bench_of(films, tmp_path))
        == ""
    )
    home = films[films["source"].eq("home")].reset_index(drop=True)
    assert "second one" in missing_second_source(bench_of(home, tmp_path))
    assert "second one" in missing_second_source(bench_of(home.drop(columns="source"), tmp_path))
    assert "second one" in missing_second_source(bench_of(films, tmp_path, ('data.sources=["home"]',)))
    assert "normal" in missing(bench_of(films[films["label"].ne("normal")].reset_index(drop=True), tmp_path))
    bare = films[~films["label"].isin(OTHER)].reset_index(drop=True)
    assert missing(bench_of(bare, tmp_path)) == ""
    assert "tuberculosis" in missing(bench_of(bare, tmp_path), ("d1", "d2", "other"))


def judged() -> Judged:
    """Return ten test films of eight patients."""
    dataset = ["d1", "d1", "d1", "d2", "d2", "d2", "d2", "other", "other", "d5"]
    confidence = [0.95, 0.6, 0.5, 0.1, 0.2, 0.7, 0.91, 0.99, 0.3, 0.8]
    table = pd.DataFrame(
        {
            "path": [f"{k}.png" for k in range(10)],
            "patient_id": ["a", "a", "b", "c", "d", "e", "f", "g", "g", "h"],
            "label": ["covid19" if name in ("d1", "d5") else "non_covid19" for name in dataset],
            "source": "home",
            "prob_non_covid19": 1 - np.array(confidence),
            "prob_covid19": confidence,
        }
    )
    return Judged(table, np.array(dataset), "away", 0, "so trained")


def test_shares_by_hand() -> None:
    tested = judged()
    # A confidence of exactly the cut-off is not higher than it.
    assert tested.positive("d1").value == pytest.approx(100 * 2 / 3)
    assert tested.positive("d1", 0.9).value == pytest.approx(100 / 3)
    assert tested.negative("d2").value == pytest.approx(50)
    assert tested.negative("d2", cut=0.9).value == pytest.approx(75)
    assert tested.negative("d2", "other").value == pytest.approx(50)
    assert tested.accuracy("d1", "d2").value == pytest.approx(100 * 4 / 7)
    found = tested.positive("d1", note="here")
    assert found.n == 3 and found.note.startswith("2 of 3 films, 2 patients; here; so trained") and found.unit == "%"
    assert found.ci95 is not None and found.ci95[0] == 0 and found.ci95[1] == pytest.approx(100)
    assert tested.positive("d5").ci95 is None and "1 patient" in tested.positive("d5").note
    # D1 above D2: 0.95 beats 4, 0.6 and 0.5 beat 2
    assert tested.area("d1", "d2").value == pytest.approx(8 / 12)
    assert tested.area("d2", "other").value is None


def test_a_dataset_without_films_says_so() -> None:
    tested = judged()
    kept = tested.dataset != "d5"
    without = Judged(tested.table[kept].reset_index(drop=True), tested.dataset[kept], "", 0, "")
    assert without.positive("d5").value is None and "no test film" in without.positive("d5").why


def test_the_classes_cover_the_datasets() -> None:
    assert set(resnet101_1500_films.TWO["non_covid19"]) == {"normal", *OTHER}
    assert tuple(resnet101_1500_films.THREE) == ("normal", "other", "covid19")
