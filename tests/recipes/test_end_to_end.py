"""The commands in the order in which a person uses them, on synthetic films, in one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import load_config
from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import UsageError
from covidcxr_tf.models.files import load_model
from covidcxr_tf.predict import combine_levels
from covidcxr_tf.recipes.covid_cxnet import level_configs

RUN_FILES = {
    "config.toml", "environment.json", "split.csv", "history.csv", "checkpoints", "model.keras", "metrics.json",
    "predictions_validation.csv", "predictions_test.csv", "figures", "card.json", "train.log", "tensorboard",
    "report.html",
}  # fmt: skip
SMALL = ("--set", "image.size=32", "--set", "image.tiles=4", "--set", "train.batch_size=8")


def test_a_run_folder_holds_what_the_contract_says(base_run: Path) -> None:
    assert {path.name for path in base_run.iterdir()} >= RUN_FILES
    for name in ("environment.json", "metrics.json", "card.json"):
        assert json.loads((base_run / name).read_text())["schema_version"] == 1
    assert load_config(base_run / "config.toml").train.epochs == 2
    figures = {path.name for path in (base_run / "figures").glob("*.png")}
    assert {"history.png", "roc_test.png", "confusion_test.png", "calibration_validation.png"} <= figures


def test_the_split_holds_patients_together_and_every_film_once(base_run: Path, phantoms: Path) -> None:
    split = pd.read_csv(base_run / "split.csv")
    assert split.groupby("patient_id")["split"].nunique().max() == 1
    used = load_manifest(phantoms)
    used = used[used["label"].isin(["normal", "covid19"])]
    assert sorted(split["path"]) == sorted(used["path"])


def test_predictions_of_the_run_equal_the_predict_command(
    base_run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    done = covidcxr("predict", phantoms, "--model", base_run, "--out", out)
    assert done.code == 0, done.err
    assert "not for diagnosis" in done.err
    fresh = pd.read_csv(out).set_index("path")
    stored = pd.concat([pd.read_csv(base_run / f"predictions_{s}.csv") for s in ("validation", "test")])
    stored = stored.set_index("path")
    columns = ["prob_normal", "prob_covid19"]
    np.testing.assert_allclose(fresh.loc[stored.index, columns], stored[columns], atol=1e-5)
    assert (fresh.loc[stored.index, "predicted"] == stored["predicted"]).all()


def test_metrics_follow_from_the_predictions_table(base_run: Path) -> None:
    metrics = json.loads((base_run / "metrics.json").read_text())
    table = pd.read_csv(base_run / "predictions_test.csv")
    assert metrics["split"] == "test"
    assert metrics["n"] == len(table)
    assert metrics["accuracy"]["value"] == pytest.approx((table["label"] == table["predicted"]).mean())
    low, high = metrics["accuracy"]["ci95"]
    assert low <= metrics["accuracy"]["value"] <= high
    # The cut-off is the validation films' own, not the test films'.
    assert metrics["threshold"] == metrics["validation"]["threshold"]
    assert "validation" in metrics["threshold_from"]


def test_evaluate_with_a_model_equals_the_runs_own_metrics(
    base_run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    split = pd.read_csv(base_run / "split.csv").set_index("path")["split"]
    films = pd.read_csv(phantoms, dtype=str, keep_default_na=False)
    films = films[films["path"].isin(split.index)].assign(split=lambda rows: rows["path"].map(split))
    films.to_csv(tmp_path / "split.csv", index=False)
    words = ("--data", tmp_path / "split.csv", "--root", phantoms.parent, "--split", "test", "--out", tmp_path / "out")
    done = covidcxr("evaluate", "--model", base_run, *words)
    assert done.code == 0, done.err
    ours, theirs = (json.loads((f / "metrics.json").read_text()) for f in (tmp_path / "out", base_run))
    assert ours["confusion"] == theirs["confusion"]
    assert ours["auroc"]["value"] == pytest.approx(theirs["auroc"]["value"])


def test_evaluate_refuses_the_patients_of_the_training(
    base_run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    done = covidcxr("evaluate", "--model", base_run, "--data", phantoms, "--out", tmp_path / "out")
    assert done.code == 3
    assert "patients that the model was trained on" in done.err
    assert not (tmp_path / "out").exists()


def test_films_of_one_class_can_be_judged(base_run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    split = pd.read_csv(base_run / "split.csv").set_index("path")["split"]
    films = pd.read_csv(phantoms, dtype=str, keep_default_na=False)
    held_out = films["path"].map(split).isin(["validation", "test"])
    films[held_out & (films["label"] == "covid19")].to_csv(tmp_path / "one.csv", index=False)
    words = ("--data", tmp_path / "one.csv", "--root", phantoms.parent, "--out", tmp_path / "out")
    done = covidcxr("evaluate", "--model", base_run / "model.keras", *words)
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["auroc"]["value"] is None
    assert metrics["auroc"]["why"]
    # The cut-off travels in the model file, not only in the run folder.
    assert metrics["threshold"] == json.loads((base_run / "metrics.json").read_text())["threshold"]


def test_a_lung_network_is_judged_by_its_masks(
    shipped_lungs: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    done = covidcxr("evaluate", "--model", "lung_unet", "--data", phantoms, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    table = pd.read_csv(tmp_path / "out" / "overlap.csv")
    assert metrics["dice"]["value"] == pytest.approx(table["dice"].mean())
    assert (tmp_path / "out" / "figures" / "overlap.png").is_file()


def test_cards_of_synthetic_films_say_so(base_run: Path) -> None:
    card = json.loads((base_run / "card.json").read_text())
    assert any("synthetic films" in limit for limit in card["limits"])
    assert not any("public collections" in limit for limit in card["limits"])
    assert load_model(base_run / "model.keras")[1]["epoch"] in (1, 2)


def test_explain_puts_the_heat_on_the_film(base_run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    film = film_path(load_manifest(phantoms), 0)
    done = covidcxr("explain", film, "--model", base_run, "--out", tmp_path)
    assert done.code == 0, done.err
    heat = np.load(tmp_path / f"{film.stem}_gradcam.npy")
    assert heat.shape == cv2.imread(str(film), cv2.IMREAD_UNCHANGED).shape[:2]
    assert heat.dtype == np.float32
    assert 0 <= heat.min() <= heat.max() <= 1
    document = json.loads((tmp_path / f"{film.stem}_gradcam.json").read_text())
    assert set(document["probabilities"]) == {"normal", "covid19"}
    cut = json.loads((base_run / "metrics.json").read_text())["threshold"]
    assert document["called_from"] == {"class": "covid19", "probability": cut}
    called = "covid19" if document["probabilities"]["covid19"] >= cut else "normal"
    assert document["predicted"] == called
    assert f"covid19 is called from {cut:.3f}" in done.out


def test_the_main_job_on_synthetic_films_says_what_it_is(
    shipped_lungs: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    done = covidcxr("train", "--arch", "chexnet", "--smoke", "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    assert "SYNTHETIC" in done.err
    assert json.loads(done.out)["metrics"]["classes"] == ["normal", "covid19"]
    assert (tmp_path / "run" / "lung_model.keras").is_file()
    again = covidcxr("train", "--arch", "chexnet", "--smoke", "--out", tmp_path / "run")
    assert again.code == 2
    assert "not empty" in again.err


def test_lung_network_from_training_to_masks(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    run = tmp_path / "lungs"
    done = covidcxr("train", "--arch", "unet", "--data", phantoms, "--smoke", "--epochs", 2, "--out", run)
    assert done.code == 0, done.err
    metrics = json.loads((run / "metrics.json").read_text())
    table = pd.read_csv(run / "overlap_test.csv")
    assert metrics["test"]["dice"]["value"] == pytest.approx(table["dice"].mean())
    done = covidcxr("segment", phantoms, "--model", run, "--out", tmp_path / "masks", "--json")
    assert done.code == 0, done.err
    films = json.loads(done.out)["films"]
    assert len(films) == len(load_manifest(phantoms))
    made = load_manifest(tmp_path / "masks" / "manifest.csv", root=tmp_path.root, require=("path",))
    assert len(made) == len(films)
    for film in films[:3]:
        mask = cv2.imread(str(tmp_path / "masks" / film["mask_path"]), cv2.IMREAD_UNCHANGED)
        assert list(mask.shape) == film["size"]
        assert set(np.unique(mask)) <= {0, 255}


def test_two_levels_become_one_model(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    plain = ("--set", "arch=base", "--set", "image.lungs=none", "--set", "image.channels=['raw']", *SMALL)
    run = tmp_path / "tree"
    size = ("--set", "image.size=64")
    done = covidcxr(
        "train", "--config", "chexnet_hierarchical", "--smoke", *plain, *size, "--data", phantoms, "--out", run
    )
    assert done.code == 0, done.err
    assert {"level_1", "level_2"} <= {path.name for path in run.iterdir()}
    table = pd.read_csv(run / "predictions_test.csv")
    probabilities = table[["prob_normal", "prob_pneumonia", "prob_covid19"]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    out = tmp_path / "level.csv"
    parts = []
    for level in ("level_1", "level_2"):
        assert covidcxr("predict", phantoms, "--model", run / level, "--out", out).code == 0
        level_table = pd.read_csv(out).set_index("path").loc[table["path"]]
        parts.append(level_table[[name for name in level_table if name.startswith("prob_")]].to_numpy())
    np.testing.assert_allclose(probabilities, combine_levels(*parts), atol=1e-5)


def test_levels_inherit_and_override() -> None:
    levels = level_configs(load_config("chexnet_hierarchical"))
    assert levels["level_1"].class_names == ("normal", "pneumonia_or_covid19")
    assert levels["level_2"].class_names == ("pneumonia", "covid19")
    assert (levels["level_1"].train.epochs, levels["level_2"].train.epochs) == (10, 20)
    assert levels["level_1"].task == "classification"


def test_range_test_command_draws_its_curve(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    small = ("--set", "image.size=64", "--set", "image.tiles=4")
    done = covidcxr("train", "--arch", "base", "--data", phantoms, *small, "--find-lr", "--out", tmp_path / "lr")
    assert done.code == 0, done.err
    assert "steepest fall" in done.out
    curve = pd.read_csv(tmp_path / "lr" / "lr_range.csv")
    assert curve["learning_rate"].is_monotonic_increasing
    assert (tmp_path / "lr" / "figures" / "lr_range.png").is_file()


def test_either_arch_or_config(covidcxr: Callable) -> None:
    for words in ((), ("--arch", "base", "--config", "base")):
        done = covidcxr("train", *words)
        assert done.code == UsageError.exit_code
        assert "either --arch or --config" in done.err
    done = covidcxr("train", "--arch", "chexnett")
    assert done.code == 2
    assert "did you mean 'chexnet'" in done.err
