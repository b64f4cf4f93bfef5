"""Members that are run folders of tiny networks, judged on synthetic films."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import load_manifest, map_classes
from covidcxr_tf.data.splits import patient_digest, split_by_patient
from covidcxr_tf.errors import CovidcxrError, ManifestError, SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.table import read_predictions, write_predictions
from covidcxr_tf.evaluate.thresholds import choose_threshold
from covidcxr_tf.models.files import read_facts, save_model
from covidcxr_tf.predict import EnsembleModel, LoadedModel, load_any, predict_manifest
from covidcxr_tf.recipes.ensemble import _joint_split, ensemble
from covidcxr_tf.recipes.ensemble_members import Member

CLASSES = {"other": ("normal", "pneumonia"), "covid19": ("covid19",)}
SIDE = 16


@pytest.fixture(scope="module")
def films(phantoms: Path) -> pd.DataFrame:
    manifest = map_classes(load_manifest(phantoms), CLASSES)
    attributes = manifest.attrs
    manifest = split_by_patient(manifest, (0.4, 0.3, 0.3), 0)
    manifest.attrs = attributes
    return manifest


def part_of(films: pd.DataFrame, part: str) -> pd.DataFrame:
    rows = films[films["split"] == part].reset_index(drop=True)
    rows.attrs = films.attrs
    return rows


def write_member(folder: Path, films: pd.DataFrame, seed: int, **more: Any) -> Path:
    """Write the run folder of a network with random weights: model, split and predictions."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(seen))
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(size=weights.shape) for weights in model.get_weights()])
    settings = ImageConfig(size=SIDE, channels=("raw",), tiles=4, lungs="none").model_dump(mode="json")
    facts = {"schema_version": 1, "name": folder.name, "arch": "tiny", "task": "classification", "image": settings}
    facts |= {"classes": list(CLASSES), "positive": "covid19", "class_labels": {k: list(v) for k, v in CLASSES.items()}}
    save_model(model, folder / "model.keras", facts | more)
    loaded = LoadedModel.load(folder)
    for part in ("validation", "test"):
        table, _ = predict_manifest(loaded, part_of(films, part))
        write_predictions(table, folder / f"predictions_{part}.csv")
    films[["path", "patient_id", "label", "source", "split"]].to_csv(folder / "split.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def originals(films: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    return [write_member(folder / f"run_{seed}", films, seed) for seed in (1, 2, 3)]


@pytest.fixture
def runs(originals: list[Path], tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(original, tmp_path / original.name)) for original in originals]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take most of a run's time."""
    for name in ("draw_judgement", "write_comparison"):
        monkeypatch.setattr(f"covidcxr_tf.recipes.ensemble.{name}", lambda *words: [])


def test_the_ensemble_is_the_mean_of_logits_and_predicts_as_it_was_judged(
    runs: list[Path], films: pd.DataFrame, tmp_path: Path
) -> None:
    outcome = ensemble(runs, tmp_path / "all", resamples=30)
    table = read_predictions(tmp_path / "all" / "predictions_test.csv")
    members = [read_predictions(run / "predictions_test.csv") for run in runs]
    odds = np.mean([np.log(member["prob_covid19"] / member["prob_other"]) for member in members], axis=0)
    np.testing.assert_allclose(table["prob_covid19"], 1 / (1 + np.exp(-odds)), rtol=1e-9)
    for run in runs:  # what it was made of is not needed any more
        shutil.rmtree(run)
    loaded = load_any(tmp_path / "all")
    assert isinstance(loaded, EnsembleModel) and len(loaded.members) == 3
    again, _ = predict_manifest(loaded, part_of(films, "test"))
    np.testing.assert_allclose(again["prob_covid19"], table["prob_covid19"], rtol=1e-5)
    assert again["predicted"].tolist() == table["predicted"].tolist()
    assert loaded.threshold == outcome.metrics["threshold"]


def test_the_run_folder_holds_what_a_run_holds(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all"
    outcome = ensemble(runs, out, names=["x", "y", "z"], resamples=30)
    stored = json.loads((out / "ensemble.json").read_text())
    assert [(one["folder"], one["name"]) for one in stored["members"]] == [
        ("member_a", "x"), ("member_b", "y"), ("member_c", "z"),
    ]  # fmt: skip
    assert stored["rule"] == "mean of logits" and stored["arch"] == "ensemble of 3: tiny"
    for name in ("split.csv", "environment.json", "card.json", "comparison.json", "predictions_validation.csv"):
        assert (out / name).is_file()
    figures = {path.name for path in (out / "figures").glob("*.png")}
    assert {"roc_test.png", "confusion_validation.png", "roc_models.png", "p_values.png"} < figures
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == outcome.metrics and metrics["split"] == "test"
    validation = choose_threshold(read_predictions(out / "predictions_validation.csv"), "covid19")
    assert metrics["threshold"] == validation.value and metrics["threshold_from"] == validation.threshold_from
    names = [model["name"] for model in json.loads((out / "comparison.json").read_text())["models"]]
    assert names == ["all", "x", "y", "z"]
    assert str(tmp_path) not in (out / "ensemble.json").read_text()


@pytest.mark.usefixtures("undrawn")
def test_the_cut_off_comes_from_films_that_no_member_trained_on(
    runs: list[Path], films: pd.DataFrame, tmp_path: Path
) -> None:
    patients = sorted(set(part_of(films, "validation")["patient_id"]))
    split = pd.read_csv(runs[1] / "split.csv", dtype=str)
    split.loc[split["patient_id"] == patients[0], "split"] = "train"
    split.to_csv(runs[1] / "split.csv", index=False)
    ensemble(runs, tmp_path / "some", resamples=10)
    used = read_predictions(tmp_path / "some" / "predictions_validation.csv")
    assert set(used["patient_id"]) == set(patients[1:])
    joint = pd.read_csv(tmp_path / "some" / "split.csv", dtype=str)
    assert set(joint.loc[joint["patient_id"] == patients[0], "split"]) == {"train"}
    assert len(joint) == len(films)
    split.loc[split["split"] == "validation", "split"] = "train"
    split.to_csv(runs[1] / "split.csv", index=False)
    outcome = ensemble(runs, tmp_path / "none", resamples=10)
    assert not (tmp_path / "none" / "predictions_validation.csv").exists()
    stored = json.loads((tmp_path / "none" / "ensemble.json").read_text())
    assert stored["threshold"] is None and "no validation film" in stored["threshold_from"]
    assert outcome.metrics["validation"] is None and outcome.metrics["threshold_from"] == "argmax"


def of_split(run: Path, films: pd.DataFrame) -> None:
    split = pd.read_csv(run / "split.csv", dtype=str)
    split.loc[split["split"] == "test", "split"] = "train"
    split.to_csv(run / "split.csv", index=False)


def of_an_earlier_phase(run: Path, films: pd.DataFrame) -> None:
    tested = part_of(films, "test")["patient_id"].iloc[0]
    facts = read_facts(run / "model.keras")
    record = {"name": "phase_1", "split_digest": "0" * 64, "patients": [patient_digest(tested)]}
    save_model(LoadedModel.load(run).model, run / "model.keras", facts | {"history": [record]})


def of_fewer_films(run: Path, films: pd.DataFrame) -> None:
    table = read_predictions(run / "predictions_test.csv")
    write_predictions(table.iloc[1:], run / "predictions_test.csv")


def of_another_label(run: Path, films: pd.DataFrame) -> None:
    table = read_predictions(run / "predictions_test.csv")
    table.loc[0, "label"] = "other" if table.loc[0, "label"] == "covid19" else "covid19"
    write_predictions(table, run / "predictions_test.csv")


def of_another_patient(run: Path, films: pd.DataFrame) -> None:
    table = read_predictions(run / "predictions_test.csv")
    table.loc[0, "patient_id"] = "somebody else"
    write_predictions(table, run / "predictions_test.csv")


def of_another_validation_film(run: Path, films: pd.DataFrame) -> None:
    table = read_predictions(run / "predictions_validation.csv")
    table.loc[0, "patient_id"] = "somebody else"
    write_predictions(table, run / "predictions_validation.csv")


def of_the_first_ones_model(run: Path, films: pd.DataFrame) -> None:
    shutil.copyfile(run.with_name("run_1") / "model.keras", run / "model.keras")


def of_other_classes(run: Path, films: pd.DataFrame) -> None:
    facts = read_facts(run / "model.keras") | {"classes": ["covid19", "other"]}
    save_model(LoadedModel.load(run).model, run / "model.keras", facts)


def of_another_task(run: Path, films: pd.DataFrame) -> None:
    facts = read_facts(run / "model.keras") | {"task": "segmentation"}
    save_model(LoadedModel.load(run).model, run / "model.keras", facts)


def of_no_model(run: Path, films: pd.DataFrame) -> None:
    (run / "model.keras").unlink()


def of_no_test(run: Path, films: pd.DataFrame) -> None:
    (run / "predictions_test.csv").unlink()


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (of_split, SplitError, "run_2: was trained on .* of the .* patients that are tested on"),
        (of_an_earlier_phase, SplitError, "run_2: was trained on 1 of the "),
        (of_fewer_films, ManifestError, "other test films than run_1: 1 stand in one of the two only"),
        (of_another_label, ManifestError, "predictions_test.csv: the film '.*' has the label '"),
        (of_another_patient, ManifestError, "predictions_test.csv: the film '.*' has the patient_id 'somebody else'"),
        (of_another_validation_film, ManifestError, "predictions_validation.csv: the film '.*' has the patient_id"),
        (of_the_first_ones_model, UsageError, "run_2: run_2 is the same model as run_1"),
        (of_other_classes, WeightsError, "run_2: classes "),
        (of_another_task, WeightsError, "run_2: is a model for segmentation"),
        (of_no_model, WeightsError, "run_2: holds no model.keras"),
        (of_no_test, WeightsError, "run_2: holds no predictions_test.csv"),
    ],
)
def test_members_that_cannot_be_averaged_are_refused(
    runs: list[Path],
    films: pd.DataFrame,
    tmp_path: Path,
    spoil: Callable[[Path, pd.DataFrame], None],
    kind: type[CovidcxrError],
    message: str,
) -> None:
    spoil(runs[1], films)
    with pytest.raises(kind, match=message):
        ensemble(runs, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_wrong_calls_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 run\(s\)"):
        ensemble(runs[:1], tmp_path / "all")
    with pytest.raises(UsageError, match="the names run_1, run_1 for 2 runs"):
        ensemble([runs[0], runs[0]], tmp_path / "all")
    with pytest.raises(UsageError, match="the names a for 3 runs"):
        ensemble(runs, tmp_path / "all", names=["a"])
    with pytest.raises(UsageError, match="not empty"):
        ensemble(runs, runs[0])


def test_folds_of_one_cross_validation_are_no_members(runs: list[Path], tmp_path: Path) -> None:
    for number, run in enumerate(runs, start=1):
        run.rename(run.with_name(f"fold_{number}"))
    folds = [tmp_path / f"fold_{number}" for number in (1, 2)]
    with pytest.raises(UsageError, match=r"fold_1 and fold_2 are folds of one cross-validation: .*data\.folds=0"):
        ensemble(folds, tmp_path / "all", names=["a", "b"])


def test_one_path_of_two_patients_is_two_films(films: pd.DataFrame) -> None:
    def member(name: str, **split: str) -> Member:
        rows = [{"path": path, "patient_id": f"{name}{path}", "split": part} for path, part in split.items()]
        shared = {"path": "s", "patient_id": "p", "split": "test" if name == "x" else "train"}
        return Member(name, Path(name), {}, pd.DataFrame([*rows, shared]), {})

    joint = _joint_split([member("x", a="train", b="validation"), member("y", a="test")])
    assert joint[["path", "patient_id", "split"]].to_numpy().tolist() == [
        ["a", "xa", "train"], ["b", "xb", "validation"], ["s", "p", "train"], ["a", "ya", "test"],
    ]  # fmt: skip


def test_a_folder_whose_writing_fails_goes_again(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("covidcxr_tf.recipes.ensemble.draw_judgement", full)
    with pytest.raises(OSError, match="disk full"):
        ensemble(runs, tmp_path / "all", resamples=5)
    assert not (tmp_path / "all").exists()


def test_findings_are_averaged_one_by_one(originals: list[Path], films: pd.DataFrame, tmp_path: Path) -> None:
    runs = []
    for number, original in enumerate(originals[:2]):
        run = Path(shutil.copytree(original, tmp_path / f"multi_{number}"))
        facts = read_facts(run / "model.keras") | {
            "task": "multilabel",
            "classes": ["Edema", "Mass"],
            "positive": "Mass",
        }
        save_model(LoadedModel.load(run).model, run / "model.keras", facts)
        for part in ("validation", "test"):
            rows = part_of(films, part)
            rows["findings"] = np.where(np.arange(len(rows)) % 2 == 0, "Edema", "Mass")
            table, _ = predict_manifest(LoadedModel.load(run), rows)
            write_predictions(table, run / f"predictions_{part}.csv")
        runs.append(run)
    outcome = ensemble(runs, tmp_path / "all", resamples=10)
    table = read_predictions(tmp_path / "all" / "predictions_test.csv")
    chances = [read_predictions(run / "predictions_test.csv")["prob_Mass"] for run in runs]
    logits = np.mean([np.log(chance / (1 - chance)) for chance in chances], axis=0)
    np.testing.assert_allclose(table["prob_Mass"], 1 / (1 + np.exp(-logits)), rtol=1e-6)
    assert outcome.metrics["task"] == "multilabel" and not (tmp_path / "all" / "comparison.json").exists()
    assert (tmp_path / "all" / "figures" / "findings_test.png").is_file()


@pytest.mark.usefixtures("undrawn")
def test_the_command(runs: list[Path], tmp_path: Path, covidcxr: Callable[..., Any]) -> None:
    done = covidcxr("ensemble", *runs, "--out", tmp_path / "all", "--resamples", 20, "--names", "a, b, c")
    assert done.code == 0
    assert "for research, not for diagnosis" in done.err and f"run folder: {tmp_path / 'all'}" in done.out
    assert "films, patients" in done.out and "member b: AUC " in done.out
    told = covidcxr("ensemble", *runs, "--out", tmp_path / "other", "--resamples", 20, "--json")
    assert json.loads(told.out)["metrics"]["n"] == json.loads((tmp_path / "all" / "metrics.json").read_text())["n"]
    again = covidcxr("ensemble", *runs, "--out", tmp_path / "all")
    assert again.code == 2 and "not empty" in again.err
