"""Cross-validation, phased transfer and redrawn validation films, with the base model on phantoms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.cli.main import main
from covidcxr_tf.config import Config, check_config, load_config, merge
from covidcxr_tf.data.manifest import film_path, load_manifest, write_manifest
from covidcxr_tf.errors import ConfigError, ManifestError, SplitError, WeightsError
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.judging import judged_films
from covidcxr_tf.models.files import load_model, read_facts
from covidcxr_tf.predict import load_any
from covidcxr_tf.recipes.datasets import film_targets, open_manifest
from covidcxr_tf.recipes.execute import execute
from covidcxr_tf.recipes.folds import fold_split
from covidcxr_tf.recipes.learning_rate import find_learning_rate
from covidcxr_tf.recipes.phases import _one_split, phase_configs

#: Row of the film that cannot be read, of a label that the base model takes.
DAMAGED = 0
FINDINGS = ("Infiltration", "Pneumonia", "Hernia")


def small(phantoms: Path, **tables: dict) -> Config:
    """Return the base model's config at 64 px, one epoch, with `tables` laid over it."""
    config = load_config("base", [f"data.manifest={phantoms}", "image.size=64", "image.tiles=4", "train.epochs=1"])
    return check_config(merge(config.model_dump(mode="json"), {"train": {"batch_size": 8}, **tables}))


def phased(phantoms: Path) -> Config:
    return small(
        phantoms,
        recipe="densenet121_phased",
        run_phases=["phase_1", "phase_2"],
        phases={
            "phase_1": {
                "task": "multilabel",
                "classes": {name: [name] for name in FINDINGS},
                "train": {"loss": "binary_cross_entropy", "learning_rate": 1e-3},
            },
            "phase_2": {"model": {"normalise": "estimate", "normalise_films": 4}},
        },
    )


@pytest.fixture(scope="module")
def folds_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    shutil.copytree(phantoms.parent, folder / "films")
    manifest = folder / "films" / phantoms.name
    film_path(load_manifest(manifest), DAMAGED).write_bytes(b"no film")
    execute(small(manifest, data={"folds": 3}), folder / "run", skip_bad=1)
    return folder / "run"


@pytest.fixture(scope="module")
def phases_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "phases"
    execute(phased(phantoms), out)
    return out


def test_a_fold_tests_the_next_validates_the_rest_trains() -> None:
    folds = pd.Series(["fold_1", "fold_2", "fold_3"])
    assert fold_split(folds, 1, 3).tolist() == ["test", "validation", "train"]
    assert fold_split(folds, 3, 3).tolist() == ["validation", "train", "test"]


def test_every_film_is_tested_on_once_and_no_patient_twice(folds_run: Path) -> None:
    pooled = pd.read_csv(folds_run / "predictions_test.csv")
    films = pd.read_csv(folds_run / "split.csv")
    assert sorted(pooled["path"]) == sorted(films["path"]) and pooled["path"].is_unique
    damaged = pd.read_csv(folds_run / "fold_1" / "quarantine.csv")["path"].tolist()
    assert len(damaged) == 1 and not films["path"].isin(damaged).any()
    for number in (1, 2, 3):
        split = pd.read_csv(folds_run / f"fold_{number}" / "split.csv")
        assert split.groupby("patient_id")["split"].nunique().max() == 1
        assert set(split.loc[split["split"] == "test", "path"]) == set(
            films.loc[films["fold"] == f"fold_{number}", "path"]
        )


def test_the_pooled_figures_are_those_of_the_folds_own_tables(folds_run: Path) -> None:
    metrics = json.loads((folds_run / "metrics.json").read_text())
    tables = [read_predictions(folds_run / f"fold_{number}" / "predictions_test.csv") for number in (1, 2, 3)]
    called = pd.concat(tables)
    assert metrics["n"] == len(called)
    assert metrics["accuracy"]["value"] == pytest.approx((called["predicted"] == called["label"]).mean())
    assert sorted(metrics["folds"]["names"] if "names" in metrics["folds"] else metrics["folds"])
    assert list((folds_run / "figures").glob("*.png"))


def test_folds_share_one_preparation(folds_run: Path, phantoms: Path) -> None:
    facts = [read_facts(folds_run / f"fold_{number}" / "model.keras") for number in (1, 2, 3)]
    assert len({fact["split_digest"] for fact in facts}) == 3
    assert len({fact["config_digest"] for fact in facts}) == 1


def test_the_top_folder_of_phases_is_the_last_phase(phases_run: Path) -> None:
    for name in ("model.keras", "predictions_test.csv", "card.json", "split.csv"):
        assert (phases_run / name).read_bytes() == (phases_run / "phase_2" / name).read_bytes()
    metrics = json.loads((phases_run / "metrics.json").read_text())
    assert set(metrics["phases"]) == {"phase_1", "phase_2"}
    assert metrics["n"] == metrics["phases"]["phase_2"]["n"]


def test_a_phase_starts_from_the_weights_before_with_a_new_output(
    phases_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    first, facts = load_model(phases_run / "phase_1" / "model.keras")
    assert facts["task"] == "multilabel" and tuple(facts["classes"]) == FINDINGS
    second = load_config(phases_run / "phase_2" / "config.toml")
    assert second.model.init == str(phases_run / "phase_1" / "model.keras")
    # Built as the run built it, before any step: all but the output is phase 1's.
    from covidcxr_tf.recipes.classifier import model

    start = model(second, normalise=([0.4], [0.2]))
    np.testing.assert_array_equal(start.get_layer("conv3").get_weights()[0], first.get_layer("conv3").get_weights()[0])
    assert start.output_shape == (None, 2) and first.output_shape == (None, 3)
    # The normalisation is this phase's own, not the file's.
    np.testing.assert_allclose(np.ravel(start.get_layer("normalise").mean), 0.4, rtol=1e-6)


def test_phase_1_judges_findings_and_says_what_it_cannot(phases_run: Path) -> None:
    metrics = json.loads((phases_run / "phase_1" / "metrics.json").read_text())
    assert metrics["task"] == "multilabel"
    table = pd.read_csv(phases_run / "phase_1" / "predictions_test.csv", keep_default_na=False)
    assert {f"prob_{name}" for name in FINDINGS} <= set(table.columns)
    assert "" not in set(table["findings"])  # phantoms of covid19 have unknown findings
    # No phantom has a hernia: undefined, with the reason, never 0.
    hernia = metrics["per_class"]["Hernia"]["auroc"]
    assert hernia["value"] is None and hernia["why"]


def test_phases_share_one_split_and_hand_on_what_they_saw(phases_run: Path) -> None:
    splits = [pd.read_csv(phases_run / name / "split.csv") for name in ("phase_1", "phase_2")]
    trained = set(splits[0].loc[splits[0]["split"] == "train", "patient_id"])
    assert not trained & set(splits[1].loc[splits[1]["split"] == "test", "patient_id"])
    history = read_facts(phases_run / "phase_2" / "model.keras")["history"]
    assert [record["name"] for record in history] == ["covid_base_phase_1", "covid_base_phase_2"]
    assert "history" not in json.loads((phases_run / "phase_2" / "card.json").read_text())["facts"]


def test_testing_on_patients_of_an_earlier_phase_is_refused(phases_run: Path, phantoms: Path, tmp_path: Path) -> None:
    films = pd.read_csv(phases_run / "split_manifest.csv")
    swapped = films.assign(split=films["split"].map({"train": "test", "test": "train", "validation": "validation"}))
    manifest = tmp_path / "swapped.csv"
    swapped.to_csv(manifest, index=False)
    again = small(
        phantoms,
        data={"manifest": str(manifest), "root": str(phantoms.parent)},
        model={"init": str(phases_run / "phase_1" / "model.keras")},
    )
    with pytest.raises(SplitError, match="covid_base_phase_1"):
        execute(again, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_phase_tables_are_laid_over_the_whole_config(phantoms: Path) -> None:
    phases = phase_configs(phased(phantoms))
    assert phases["phase_1"].class_names == FINDINGS and phases["phase_1"].positive_class == "Hernia"
    assert phases["phase_2"].class_names == ("normal", "covid19")
    assert phases["phase_2"].model.normalise == "estimate" and phases["phase_1"].model.normalise == "init"


def test_unknown_phases_and_folds_of_phases_are_refused(phantoms: Path) -> None:
    with pytest.raises(ConfigError, match="run_phases names phase_9"):
        small(phantoms, run_phases=["phase_9"])
    with pytest.raises(ConfigError, match="folds goes neither"):
        small(phantoms, run_phases=["a"], phases={"a": {}}, data={"folds": 3})


def test_redrawn_films_leave_no_cut_off(phantoms: Path, tmp_path: Path) -> None:
    outcome = execute(small(phantoms, data={"redraw_validation": True}), tmp_path / "run")
    facts = read_facts(outcome.run.model)
    assert facts["threshold"] is None and "trained on" in facts["threshold_from"]
    split = pd.read_csv(outcome.run.folder / "split.csv")
    judged = pd.read_csv(outcome.run.folder / "predictions_validation.csv")
    assert sorted(judged["path"]) == sorted(split.loc[split["split"] == "validation", "path"])
    pool = split[split["split"].isin(("train", "validation"))]
    assert len(facts["history"][-1]["patients"]) == pool["patient_id"].nunique()
    shutil.rmtree(tmp_path / "run")


def test_findings_are_one_zero_or_unknown(phantoms: Path) -> None:
    config = phase_configs(phased(phantoms))["phase_1"]
    films = pd.DataFrame({"findings": ["Hernia|Infiltration", "No Finding", "", "Edema"]})
    np.testing.assert_array_equal(film_targets(films, config), [[1, 0, 1], [0, 0, 0], [-1, -1, -1], [0, 0, 0]])


def test_films_without_findings_cannot_train_phase_1(phantoms: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    pd.read_csv(phantoms).drop(columns="findings").to_csv(bare, index=False)
    config = phase_configs(phased(phantoms))["phase_1"]
    table = merge(config.model_dump(mode="json"), {"data": {"manifest": str(bare), "root": str(phantoms.parent)}})
    with pytest.raises(ManifestError, match="no film has findings"):
        open_manifest(check_config(table))


def test_folds_that_cut_a_patient_are_refused_before_any_work(phantoms: Path, tmp_path: Path) -> None:
    films = pd.read_csv(phantoms)
    several = films[films["patient_id"].duplicated(keep=False)]
    films["fold"] = [1 + number % 3 for number in range(len(films))]
    films.loc[several.index[:2], "fold"] = [1, 2]
    manifest = tmp_path / "cut.csv"
    films.to_csv(manifest, index=False)
    config = small(phantoms, data={"manifest": str(manifest), "root": str(phantoms.parent), "folds": 3})
    with pytest.raises(SplitError, match="folds"):
        execute(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("own", "found"), [(4, "1, 2, 3, 4"), (2, "1, 2")])
def test_other_folds_than_data_folds_says_are_refused(phantoms: Path, tmp_path: Path, own: int, found: str) -> None:
    films = pd.read_csv(phantoms)
    patients = {patient: 1 + number % own for number, patient in enumerate(films["patient_id"].unique())}
    manifest = tmp_path / "folds.csv"
    films.assign(fold=films["patient_id"].map(patients)).to_csv(manifest, index=False)
    config = small(phantoms, data={"manifest": str(manifest), "root": str(phantoms.parent), "folds": 3})
    with pytest.raises(SplitError, match=f"folds {found}"):
        open_manifest(config)


def test_a_film_without_a_fold_is_refused(phantoms: Path, tmp_path: Path) -> None:
    films = pd.read_csv(phantoms)
    patients = {patient: 1 + number % 3 for number, patient in enumerate(films["patient_id"].unique())}
    films["fold"] = films["patient_id"].map(patients).astype("Int64")
    films.loc[films["patient_id"].eq(films["patient_id"].iloc[0]), "fold"] = pd.NA
    manifest = tmp_path / "gap.csv"
    films.to_csv(manifest, index=False)
    config = small(phantoms, data={"manifest": str(manifest), "root": str(phantoms.parent), "folds": 3})
    with pytest.raises(SplitError, match="of none"):
        open_manifest(config)


def test_a_run_of_folds_says_which_folder_to_name(folds_run: Path) -> None:
    with pytest.raises(WeightsError, match=r"one model a fold.*fold_1"):
        load_any(folds_run)


def test_a_model_of_findings_is_judged_on_films_with_findings(phases_run: Path, tmp_path: Path) -> None:
    run, manifest = phases_run / "phase_1", phases_run / "split_manifest.csv"
    root = str(load_config(run / "config.toml").data.root)
    with pytest.raises(SystemExit) as stop:
        words = ["--model", run, "--data", manifest, "--root", root, "--out", tmp_path, "--resamples", 0]
        main(["evaluate", *map(str, words)])
    assert not stop.value.code
    judged = json.loads((tmp_path / "metrics.json").read_text())
    trained = json.loads((run / "metrics.json").read_text())
    assert judged["n"] == trained["n"] and judged["auroc"]["value"] == pytest.approx(
        trained["auroc"]["value"], abs=1e-6
    )


def test_patients_of_an_earlier_phase_do_not_judge(phases_run: Path, phantoms: Path, tmp_path: Path) -> None:
    table = pd.read_csv(phases_run / "split.csv", dtype=str)
    films = load_manifest(phantoms)
    trained = table.loc[table["split"] == "train", "patient_id"]
    # As if these patients were phase 1's alone: the top folder's split does not name them.
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copyfile(phases_run / "model.keras", bare / "model.keras")
    write_manifest(films[films["patient_id"].isin(trained)], phantoms.parent / "seen.csv")
    write_manifest(films[~films["patient_id"].isin(trained)], phantoms.parent / "new.csv")
    loaded = load_any(bare)
    with pytest.raises(SplitError, match="patients that the model was trained on"):
        judged_films(loaded, str(phantoms.parent / "seen.csv"), None, None)
    assert len(judged_films(loaded, str(phantoms.parent / "new.csv"), None, None))


def test_two_folds_leave_nothing_to_train_on(phantoms: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.folds is 2"):
        small(phantoms, data={"folds": 2})


def test_folds_are_refused_before_training_where_they_cannot_be_judged(phantoms: Path) -> None:
    findings = phase_configs(phased(phantoms))["phase_1"].model_dump(mode="json")
    with pytest.raises(ConfigError, match="folds is for classification; the task is multilabel"):
        check_config(merge(findings, {"data": {"folds": 3}}))


def test_a_config_of_folds_has_its_learning_rate_found(phantoms: Path, tmp_path: Path) -> None:
    found = find_learning_rate(small(phantoms, data={"folds": 3}), tmp_path / "lr", steps=5)
    assert len(pd.read_csv(found.table)) >= 3


def test_the_range_test_is_of_one_phase(phantoms: Path, tmp_path: Path) -> None:
    config = phased(phantoms)
    with pytest.raises(ConfigError, match=r"run_phases names 2 trainings"):
        find_learning_rate(config, tmp_path / "both")
    alone = check_config(config.model_dump(mode="json") | {"run_phases": ["phase_1"]})
    found = find_learning_rate(alone, tmp_path / "one", steps=5)
    assert load_config(found.table.parent / "config.toml").task == "multilabel"


def test_phases_hold_one_source_out_of_all(phantoms: Path, tmp_path: Path) -> None:
    config = phased(phantoms)
    config = check_config(merge(config.model_dump(mode="json"), {"data": {"test_sources": ["demo-north"]}}))
    shared = _one_split(config, tmp_path / "split.csv")
    films = load_manifest(shared["manifest"], root=shared["root"])
    assert set(films.loc[films["split"] == "test", "source"]) == {"demo-north"}
    assert set(films.loc[films["split"] != "test", "source"]) == set(films["source"]) - {"demo-north"}
    part = check_config(merge(phase_configs(config)["phase_2"].model_dump(mode="json"), {"data": shared}))
    again = open_manifest(part).set_index("path")["split"]
    assert again.to_dict() == films.set_index("path")["split"].reindex(again.index).to_dict()
