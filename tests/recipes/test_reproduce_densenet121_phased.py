"""Fricks' six paths: which training starts from which, on which films, and what the tables say of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import Config, load_config
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.splits import patient_digest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.models.files import read_facts, save_model
from covidcxr_tf.papers.facts import load_paper
from covidcxr_tf.recipes import classifier as recipe
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions import bench as bench_module
from covidcxr_tf.recipes.reproductions import densenet121_phased as reproduction
from covidcxr_tf.recipes.reproductions import densenet121_phased_areas as areas
from covidcxr_tf.recipes.reproductions import densenet121_phased_heat as heat
from covidcxr_tf.recipes.reproductions import densenet121_phased_paths as paths
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured
from covidcxr_tf.recipes.reproductions.run import Reproduction, check_experiments, reproduce
from covidcxr_tf.train.run_dir import RunDir

KEY = "densenet121_phased"
TINY = ("image.size=32", "model.blocks=[1,1,1,1]")
NIH, RSNA = "nih14", "rsna"


@pytest.fixture(scope="session")
def smoke(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """Return the whole reproduction on synthetic films, networks smaller still than the smoke's."""
    return reproduce(KEY, out=tmp_path_factory.mktemp("reproduce") / "fricks", smoke=True, seed=3, settings=TINY)


@pytest.fixture(scope="session")
def runs(smoke: Reproduction) -> Path:
    return smoke.folder / "repeat_1" / "runs"


def rows_of(smoke: Reproduction) -> dict[str, dict[str, Any]]:
    return {row.fact or f"also {row.what}": row.as_dict() for row in smoke.rows}


def manifest(*films: tuple[str, str, str, str, str]) -> pd.DataFrame:
    """Return films given as label, source, findings, split and patient."""
    columns = ["label", "source", "findings", "split", "patient_id"]
    table = pd.DataFrame(films, columns=columns)
    return table.assign(path=[f"{number}.png" for number in range(len(table))])


EVERYTHING = (
    ("normal", NIH, "No Finding", "train", "n1"),
    ("pneumonia", NIH, "Pneumonia", "train", "n2"),
    ("other", NIH, "Mass", "validation", "n3"),
    ("pneumonia", NIH, "Edema|Pneumonia", "test", "n4"),
    ("normal", RSNA, "", "train", "n1"),
    ("pneumonia", RSNA, "", "train", "n5"),
    ("covid19", "cohen", "", "train", "c1"),
    ("covid19", "cohen", "", "test", "c2"),
    ("normal", "cohen", "", "test", "c3"),
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Bench]:
    """Return a function that makes a bench of films that are nowhere on disk."""

    def build(*films: tuple[str, str, str, str, str], **more: Any) -> Bench:
        table = manifest(*(films or EVERYTHING)) if "table" not in more else more.pop("table")
        return Bench(table, tmp_path / "manifest.csv", tmp_path, tmp_path / "out", **more)

    return build


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Replace training by a note of the config; the run folder gets a model file and metrics."""
    done: list[Config] = []

    def execute(config: Config, out: Path, **how: object) -> Outcome:
        done.append(config)
        run = RunDir.create(out, config)
        run.model.write_text(f"{config.name} from {Path(config.model.init).parent.name}, {len(done)}")
        metrics = {"split": "test", "validation": {"auroc": {"value": 0.5}}}
        (run.folder / "metrics.json").write_text(json.dumps(metrics))
        return Outcome(run, metrics)

    monkeypatch.setattr(bench_module, "execute", execute)
    return done


# The whole reproduction


def test_every_printed_result_has_an_experiment() -> None:
    paper = load_paper(KEY)
    check_experiments(paper, reproduction.EXPERIMENTS)
    answered = {fact for one in reproduction.EXPERIMENTS for fact in one.facts}
    assert answered == {fact.id for fact in paper.of_role("result")}


def test_the_smoke_run_measures_every_path_on_the_same_films(smoke: Reproduction, runs: Path) -> None:
    rows = rows_of(smoke)
    tables = {path: read_predictions(runs / f"path_{path}" / "predictions_test.csv") for path in paths.PATHS}
    for path, table in tables.items():
        assert table["path"].tolist() == tables["f"]["path"].tolist()
        row = rows[f"table3.path_{path}.auroc"]
        positive = table["label"].eq("covid19")
        scores = table["prob_covid19"]
        # The definition, pair by pair.
        pairs = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
        assert row["measured"] == pytest.approx(np.mean(pairs))
        assert row["n"] == len(table)
        assert "random first weights" in row["note"]
        assert "phantoms" in row["note"]
    assert rows["abstract.control_auroc"]["measured"] == rows["table3.path_f.auroc"]["measured"]
    assert rows["abstract.best_auroc"]["measured"] == rows["table3.path_b.auroc"]["measured"]
    assert rows["abstract.best_auroc"]["note"].startswith("path (b), as printed")
    for path in "adbe":
        assert rows[f"table2.path_{path}.auroc"]["measured"] is not None
    assert rows["table1.pneumonia.ours"]["measured"] is not None
    assert rows["table1.hernia.ours"]["why"] == "no film has Hernia"
    assert "not published" in rows["section3_4.patient30.output"]["why"]


def test_phase_1_is_trained_once_and_handed_on(runs: Path) -> None:
    trained = sorted(path.name for path in runs.iterdir())
    second = [f"path_{path}_phase_2" for path in "abde"]
    assert trained == sorted(["ensemble", "phase_1", *second, *(f"path_{path}" for path in paths.PATHS)])
    names = {
        path: [record["name"] for record in read_facts(runs / f"path_{path}" / "model.keras")["history"]]
        for path in paths.PATHS
    }
    first = "densenet121_phase_1_phase_1"
    assert names == {
        "a": [first, "densenet121_path_a_phase_2_phase_2", "densenet121_path_a_phase_3"],
        "b": [first, "densenet121_path_b_phase_2_phase_2", "densenet121_path_b_phase_3"],
        "c": [first, "densenet121_path_c_phase_3"],
        "d": ["densenet121_path_d_phase_2_phase_2", "densenet121_path_d_phase_3"],
        "e": ["densenet121_path_e_phase_2_phase_2", "densenet121_path_e_phase_3"],
        "f": ["densenet121_path_f_phase_3"],
    }


def test_no_test_patient_was_trained_on_in_any_phase(runs: Path) -> None:
    for path in paths.PATHS:
        history = read_facts(runs / f"path_{path}" / "model.keras")["history"]
        seen = {digest for record in history for digest in record["patients"]}
        tested = set(read_predictions(runs / f"path_{path}" / "predictions_test.csv")["patient_id"].map(patient_digest))
        assert seen and tested and not seen & tested


def test_the_pairs_are_those_of_the_comparison(smoke: Reproduction) -> None:
    rows = rows_of(smoke)
    document = json.loads((smoke.folder / "repeat_1" / "comparison" / "comparison.json").read_text())
    assert document["comparisons"] == 15
    defined = 0
    for pair in document["pairs"]:
        letters = "_".join(pair[side][6] for side in ("first", "second"))
        table4, table5 = (rows[f"table{number}.path_{letters}.p"] for number in (4, 5))
        p = pair["by_film"]["p"]
        assert table4["measured"] == p
        if p is None:
            assert table4["why"].startswith("not defined: both models place") or "variance" in table4["why"]
            continue
        defined += 1
        assert table5["measured"] == min(1.0, 15 * p)
        assert table4["note"].startswith(f"difference {pair['difference']:+.3f}")
    assert defined


def test_figures_and_further_rows(smoke: Reproduction, runs: Path) -> None:
    rows, out = rows_of(smoke), smoke.folder / "repeat_1"
    for name in ("roc_models", "p_values", "p_values_by_film", "intervals"):
        assert (out / "comparison" / "figures" / f"{name}.png").stat().st_size > 5000
    assert (runs / "phase_1" / "figures" / "findings.png").is_file()
    shown = [path for path in paths.PATHS if (runs / f"path_{path}" / "figures" / heat.FIGURE).is_file()]
    assert len(shown) == 1
    assert any(name.startswith(f"also path ({shown[0]}): median network output") for name in rows)
    within = [name for name in rows if ": AUC within " in name and name.startswith("also path (")]
    assert len(within) >= 6
    ensemble = rows["also ensemble of the paths run: AUROC of COVID-19"]
    assert "mean of logits of paths a, b, c, d, e, f" in ensemble["note"]


def test_the_ensemble_is_the_mean_of_the_logits(smoke: Reproduction, runs: Path) -> None:
    members = [read_predictions(runs / f"path_{path}" / "predictions_test.csv")["prob_covid19"] for path in paths.PATHS]
    logits = np.mean([np.log(one) - np.log1p(-one) for one in members], axis=0)
    found = read_predictions(runs / "ensemble" / "predictions_test.csv")["prob_covid19"]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_the_same_command_again_trains_nothing(
    smoke: Reproduction, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    before = rows_of(smoke)
    monkeypatch.setattr(bench_module, "execute", refuse)
    again = reproduce(
        KEY, out=smoke.folder, smoke=True, seed=3, settings=TINY, only=["phase_1", "phase_2_nih", "phase_3"]
    )
    for name, row in rows_of(again).items():
        if row["experiment"] in ("phase_1", "phase_2_nih", "phase_3"):
            assert row["measured"] == before[name]["measured"], name


# Which training starts from which


def test_the_users_first_weights_reach_the_first_phase_only(make: Callable[..., Bench], trained: list[Config]) -> None:
    bench = make(settings=("model.init=imagenet", "train.epochs=7"))
    outcomes = paths.all_paths(bench)
    assert not outcomes.whys
    by_name = {config.name.removeprefix("densenet121_"): config for config in trained}
    assert len(trained) == len(by_name) == 11
    start = {name: config.model.init.removeprefix(f"{bench.out}/runs/") for name, config in by_name.items()}
    assert start == {
        "phase_1": "imagenet",
        "path_a_phase_2": "phase_1/model.keras",
        "path_b_phase_2": "phase_1/model.keras",
        "path_d_phase_2": "imagenet",
        "path_e_phase_2": "imagenet",
        "path_a": "path_a_phase_2/model.keras",
        "path_b": "path_b_phase_2/model.keras",
        "path_c": "phase_1/model.keras",
        "path_d": "path_d_phase_2/model.keras",
        "path_e": "path_e_phase_2/model.keras",
        "path_f": "imagenet",
    }
    assert {config.train.epochs for config in trained} == {7}
    assert {config.compat for config in trained} == {"paper"}
    phases = {name: config.run_phases for name, config in by_name.items()}
    assert phases["phase_1"] == ("phase_1",)
    assert phases["path_b_phase_2"] == ("phase_2",)
    assert phases["path_b"] == ("phase_3",)


def test_each_phase_takes_its_own_films(make: Callable[..., Bench], trained: list[Config]) -> None:
    bench = make()
    paths.all_paths(bench)
    films = {
        config.name.removeprefix("densenet121_"): pd.read_csv(config.data.manifest, dtype=str, keep_default_na=False)
        for config in trained
    }
    assert set(films["phase_1"]["source"]) == {NIH}
    assert len(films["phase_1"]) == 4
    assert set(films["path_b_phase_2"]["source"]) == set(films["path_e_phase_2"]["source"]) == {NIH}
    assert set(films["path_a_phase_2"]["source"]) == set(films["path_d_phase_2"]["source"]) == {RSNA}
    assert len(films["path_f"]) == len(EVERYTHING)
    for table in films.values():
        merged = table.merge(bench.manifest, on="path", suffixes=("", "_before"))
        assert merged["split"].tolist() == merged["split_before"].tolist()


def test_a_new_phase_1_is_a_new_start_for_the_rest(make: Callable[..., Bench], trained: list[Config]) -> None:
    bench = make()
    paths.phase_3(bench, "c")
    assert len(trained) == 2
    paths.phase_3(bench, "c")
    assert len(trained) == 2
    # Trained again, as after an interruption: other weights in the same place.
    (bench.out / "runs" / "phase_1" / "finished.json").unlink()
    paths.phase_3(bench, "c")
    assert [config.name for config in trained[2:]] == ["densenet121_phase_1", "densenet121_path_c"]


def test_a_reproduction_that_was_moved_trains_nothing_again(
    make: Callable[..., Bench], trained: list[Config], tmp_path: Path
) -> None:
    bench = make()
    paths.phase_3(bench, "b")
    assert len(trained) == 3
    bench.out.rename(tmp_path / "elsewhere")
    paths.phase_3(replace(bench, out=tmp_path / "elsewhere"), "b")
    assert len(trained) == 3


# What is missing


def why_of(bench: Bench) -> dict[str, str]:
    return {path: paths.missing_path(bench, path) for path in paths.PATHS}


def without(*sources: str) -> tuple[tuple[str, str, str, str, str], ...]:
    return tuple(film for film in EVERYTHING if film[1] not in sources)


def test_without_rsna_films_paths_a_and_d_do_not_run(make: Callable[..., Bench], trained: list[Config]) -> None:
    bench = make(*without(RSNA))
    whys = why_of(bench)
    assert all("source rsna" in whys[path] and "data import rsna" in whys[path] for path in "ad")
    assert not any(whys[path] for path in "bcef")
    outcomes = paths.all_paths(bench)
    assert list(outcomes.outcomes) == list("bcef")
    assert set(outcomes.whys) == set("ad")
    by_name = {one.name: one for one in reproduction.EXPERIMENTS}
    assert "source rsna" in by_name["phase_2_rsna"].missing(bench)
    assert not by_name["phase_2_nih"].missing(bench)
    assert not by_name["phase_3"].missing(bench)


def test_rsna_films_alone_leave_paths_d_and_f(make: Callable[..., Bench]) -> None:
    whys = why_of(make(*without(NIH)))
    assert [path for path, why in whys.items() if not why] == ["d", "f"]
    assert whys["a"].startswith("not run: no film of NIH ChestX-ray14")
    bench = make(*without(NIH))
    by_name = {one.name: one for one in reproduction.EXPERIMENTS}
    assert not by_name["phase_2_rsna"].missing(bench)  # path d's row can be measured
    assert by_name["phase_1"].missing(bench)


def test_films_of_a_source_that_lack_what_a_phase_needs_are_told(make: Callable[..., Bench]) -> None:
    bare = make(*((*film[:2], "", *film[3:]) for film in EVERYTHING))
    assert "(source nih-cxr14 or nih14) has findings" in why_of(bare)["c"]
    assert not why_of(bare)["e"]
    healthy = make(*(film for film in EVERYTHING if film[:2] != ("pneumonia", NIH)))
    assert "a label of the class pneumonia" in why_of(healthy)["b"]
    assert not why_of(healthy)["c"]


def test_without_covid19_or_without_the_rest_there_is_no_phase_3(make: Callable[..., Bench]) -> None:
    none = make(*(film for film in EVERYTHING if film[0] != "covid19"))
    assert set(why_of(none).values()) == {"not run: no film is covid19; supply a manifest with that label"}
    only = make(*(film for film in EVERYTHING if film[0] == "covid19"))
    assert all("every film is covid19" in why for why in why_of(only).values())


def test_rsna_films_of_unknown_patients_are_not_mixed_with_nih(make: Callable[..., Bench]) -> None:
    renamed = tuple((*film[:4], f"r-{film[4]}") if film[1] == RSNA else film for film in EVERYTHING)
    assert "share no patient_id" in why_of(make(*renamed))["a"]
    assert "share no patient_id" in why_of(make(*renamed))["d"]
    known = manifest(*renamed)
    known["nih_image"] = np.where(known["source"].eq(RSNA), "00000001_000.png", "")
    assert not why_of(make(table=known))["a"]
    alone = tuple(film for film in renamed if film[1] != NIH)
    assert not why_of(make(*alone))["d"]


def test_a_path_that_fails_on_its_films_stops_no_other(
    make: Callable[..., Bench], trained: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench_module.execute

    def execute(config: Config, out: Path, **how: object) -> Outcome:
        if config.name == "densenet121_path_e_phase_2":
            raise SplitError("the split 'validation' is empty")
        return whole(config, out)

    monkeypatch.setattr(bench_module, "execute", execute)
    outcomes = paths.all_paths(make())
    assert list(outcomes.outcomes) == list("abcdf")
    assert "'validation' is empty" in outcomes.whys["e"]


# Areas and tests


def predictions(scores: Sequence[float], labels: Sequence[str], patients: Sequence[str] = ()) -> pd.DataFrame:
    names = list(patients) or [f"p{number}" for number in range(len(scores))]
    values = np.asarray(scores, float)
    return pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(len(scores))],
            "patient_id": names,
            "label": labels,
            "source": "cohen",
            "prob_negative": 1 - values,
            "prob_covid19": values,
        }
    )


LABELS = ["covid19"] * 4 + ["negative"] * 4


def delong_by_definition(table: pd.DataFrame) -> tuple[float, float]:
    """Return area and variance from the placements, pair by pair (DeLong 1988)."""
    scores, positive = table["prob_covid19"].to_numpy(), table["label"].eq("covid19").to_numpy()
    order = np.array([[(p > n) + 0.5 * (p == n) for n in scores[~positive]] for p in scores[positive]])
    m, n = order.shape
    variance = order.mean(axis=1).var(ddof=1) / m + order.mean(axis=0).var(ddof=1) / n
    return float(order.mean()), float(variance)


def test_an_area_has_delongs_interval() -> None:
    table = predictions([0.9, 0.4, 0.6, 0.55, 0.5, 0.45, 0.2, 0.1], LABELS)
    value, variance = delong_by_definition(table)
    found = areas.area(table, "a note")
    assert found.value == pytest.approx(value)
    reach = 1.959963984540054 * math.sqrt(variance)
    assert found.ci95 is not None
    assert found.ci95 == pytest.approx((value - reach, min(1.0, value + reach)))
    assert found.n == 8
    # One film a patient: both ways are the same.
    assert found.note == "a note; over patients {:.3f} to {:.3f}".format(*found.ci95)


def test_an_area_of_one_claims_no_interval() -> None:
    found = areas.area(predictions([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1], LABELS))
    assert found.value == 1.0
    assert found.ci95 is None
    assert "exact" in found.note
    assert "no interval" in found.note
    nothing = areas.area(predictions([0.9, 0.8], ["covid19", "covid19"]))
    assert nothing.value is None
    assert nothing.why == "2 of 2 test films are covid19"


def test_table_5_is_table_4_times_fifteen_whatever_was_run(tmp_path: Path) -> None:
    one = predictions([0.9, 0.8, 0.7, 0.2, 0.6, 0.3, 0.25, 0.1], LABELS)
    other = predictions([0.5, 0.8, 0.3, 0.2, 0.6, 0.7, 0.25, 0.1], LABELS)
    found = areas.pair_tests({"b": one, "f": other}, dict.fromkeys("acde", "not run: no films"), tmp_path)
    assert len(found) == 30
    p = found["table4.path_b_f.p"]
    assert p.value is not None and 0 < p.value < 1
    fifteen = found["table5.path_b_f.p"]
    assert fifteen.value == min(1.0, 15 * p.value)
    assert "times 15, the paper's pairs; times 1, those run" in fifteen.note
    assert found["table4.path_a_b.p"] == Measured(None, why="not run: no films")
    same = areas.pair_tests({"b": one, "f": one}, dict.fromkeys("acde", "not run: no films"), tmp_path)
    assert same["table4.path_b_f.p"].why == "not defined: both models place every film alike: there is nothing to test"


def test_the_best_path_is_chosen_on_validation_films(tmp_path: Path) -> None:
    def outcome(validation: float | None, test: float) -> Outcome:
        return Outcome(RunDir(tmp_path), {"auroc": {"value": test}, "validation": {"auroc": {"value": validation}}})

    trained = paths.Trained({"a": outcome(0.7, 0.9), "b": outcome(0.8, 0.6), "c": outcome(None, 1.0)}, {})
    assert areas.best_path(trained) == "b"
    assert areas.best_path(paths.Trained({"c": outcome(None, 1.0)}, {})) == ""


def test_films_are_shown_by_rule() -> None:
    scores = [0.9, 0.1, 0.6, 0.7, 0.2, 0.8, 0.3, 0.4]
    chosen = dict(heat.chosen_films(predictions(scores, LABELS)))
    assert [scores[row] for row, reason in chosen.items() if reason == "covid19, median output"] == [0.6, 0.7]
    assert [scores[row] for row, reason in chosen.items() if reason == "negative, median output"] == [0.3, 0.4]
    assert [scores[row] for row, reason in chosen.items() if reason == "covid19, lowest output"] == [0.1]
    assert [scores[row] for row, reason in chosen.items() if reason == "negative, highest output"] == [0.8]
    few = heat.chosen_films(predictions([0.9, 0.2], ["covid19", "negative"]))
    assert few == [(0, "covid19, median output"), (1, "negative, median output")]


# The recipe


@pytest.fixture(scope="module")
def pneumonia_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny DenseNet for pneumonia, with a bias that tells it from a fresh one."""
    config = load_config("densenet121", [*TINY, "compat=paper", "seed=5"])
    model = recipe.model(config)
    model.get_layer("logits").bias.assign([3.0])
    model.get_layer("conv1_conv").kernel.assign_add(np.ones((7, 7, 1, 64), np.float32))
    facts = {"classes": ["no_pneumonia", "pneumonia"], "task": "classification"}
    return save_model(model, tmp_path_factory.mktemp("handed") / "model.keras", facts)


def test_a_new_task_gets_a_new_output_layer_and_keeps_the_rest(pneumonia_model: Path) -> None:
    changes = [*TINY, "compat=paper", "seed=6", f'model.init="{pneumonia_model}"']
    covid = recipe.model(load_config("densenet121", changes))
    fresh = recipe.model(load_config("densenet121", [*changes, "model.init=none"]))
    kernel, bias = covid.get_layer("logits").get_weights()
    assert bias.tolist() == [0.0]
    np.testing.assert_array_equal(kernel, fresh.get_layer("logits").get_weights()[0])
    first = covid.get_layer("conv1_conv").get_weights()[0]
    assert first.mean() > 0.9  # handed over
    assert abs(fresh.get_layer("conv1_conv").get_weights()[0].mean()) < 0.1


def test_the_same_task_goes_on_with_its_output_layer(pneumonia_model: Path) -> None:
    config = load_config(
        "densenet121",
        [
            *TINY,
            "compat=paper",
            "positive=pneumonia",
            'classes={no_pneumonia=["normal"], pneumonia=["pneumonia"]}',
            f'model.init="{pneumonia_model}"',
        ],
    )
    assert not recipe.other_task(config)
    assert recipe.model(config).get_layer("logits").get_weights()[1].tolist() == [3.0]


@pytest.mark.parametrize("init", ["none", "imagenet", "chexnet:somewhere.h5", "nowhere.keras"])
def test_weights_that_are_no_model_of_ours_are_no_other_task(init: str) -> None:
    assert not recipe.other_task(load_config("densenet121", [f"model.init={init}"]))


def test_the_synthetic_films_carry_findings(smoke: Reproduction) -> None:
    films = load_manifest(smoke.folder / "synthetic" / "manifest.csv")
    assert set(films["label"]) == set(reproduction.SMOKE_LABELS)
    assert films.loc[films["label"].eq("covid19"), "findings"].eq("").all()
