"""From films to probabilities: one path for pixels, cut-offs, two levels, the lung network that belongs."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

import covidcxr_tf as cxr
from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.region import lung_box
from covidcxr_tf.models.files import model_digest, save_model
from covidcxr_tf.predict import (
    NO_LUNGS,
    LoadedModel,
    combine_levels,
    decide,
    load_model_for_films,
    predict_manifest,
    predictions_table,
    to_probabilities,
)


@pytest.fixture(scope="module")
def classifier(lung_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier file for 32 px lung crops whose logit is the mean of the raw channel."""
    image = keras.Input((32, 32, 3), name="image")
    mean = keras.layers.GlobalAveragePooling2D()(image)
    logits = keras.layers.Dense(2, name="logits")(mean)
    model = keras.Model(image, logits)
    model.get_layer("logits").set_weights([np.array([[0, 0], [0, 0], [0, 4.0]]), np.array([0, -1.0])])
    lungs = lung_models / "lung_unet" / "1" / "model.keras"
    facts = {
        "name": "mean_of_raw",
        "arch": "base",
        "task": "classification",
        "classes": ["normal", "covid19"],
        "positive": "covid19",
        "image": ImageConfig(size=32, tiles=4).model_dump(mode="json"),
        "lung_model": {"name": "lung_unet", "sha256": model_digest(lungs)},
        "threshold": 0.6,
    }
    return save_model(model, tmp_path_factory.mktemp("classifier") / "model.keras", facts)


def test_probabilities_by_hand() -> None:
    np.testing.assert_allclose(to_probabilities(np.log([[1.0, 3.0]]), "classification"), [[0.25, 0.75]])
    np.testing.assert_allclose(to_probabilities(np.array([[np.log(4.0)]]), "classification"), [[0.2, 0.8]])
    np.testing.assert_allclose(to_probabilities(np.array([[0.0, np.log(9.0)]]), "multilabel"), [[0.5, 0.9]])
    # Far logits neither overflow nor lose their sum.
    assert to_probabilities(np.array([[1e4, -1e4]]), "classification").tolist() == [[1.0, 0.0]]


def test_levels_multiply_along_the_tree() -> None:
    first, second = np.array([[0.2, 0.8], [1.0, 0.0]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    combined = combine_levels(first, second)
    np.testing.assert_allclose(combined, [[0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(combined.sum(axis=1), 1)


def test_a_cut_off_decides_between_two_classes_only() -> None:
    rows = pd.DataFrame({"path": ["a", "b", "c"]})
    table = predictions_table(rows, np.array([[0.45, 0.55], [0.4, 0.6], [0.1, 0.9]]), ("normal", "covid19"))
    assert table["predicted"].tolist() == ["covid19"] * 3
    cut = decide(table, ("normal", "covid19"), "covid19", 0.6)
    assert cut["predicted"].tolist() == ["normal", "covid19", "covid19"]
    assert decide(table, ("normal", "covid19"), "covid19", None) is table
    assert decide(table, ("a", "b", "c"), "c", 0.6) is table


def test_predictions_equal_the_network_worked_by_hand(classifier: Path, shipped_lungs: Path, phantoms: Path) -> None:
    loaded = LoadedModel.load(classifier)
    films = load_manifest(phantoms)
    film = read_image(film_path(films, 0))
    given = loaded.film_input(film)
    logit = 4 * (given.array[..., 2].astype(np.float64) / 255).mean() - 1
    np.testing.assert_allclose(loaded.predict([film])[0, 1], 1 / (1 + np.exp(-logit)), atol=1e-6)
    table, bad = predict_manifest(loaded, films.head(5))
    assert bad == []
    np.testing.assert_allclose(table["prob_covid19"][0], loaded.predict([film])[0, 1], atol=1e-6)
    wanted = np.where(table["prob_covid19"] >= 0.6, "covid19", "normal")
    assert table["predicted"].tolist() == wanted.tolist()
    for row, probabilities in enumerate(table[["prob_normal", "prob_covid19"]].to_numpy()):
        assert loaded.decide(probabilities) == table["predicted"][row]


def test_the_crop_is_the_lungs(classifier: Path, shipped_lungs: Path, phantoms: Path) -> None:
    loaded = LoadedModel.load(classifier)
    given = loaded.film_input(read_image(film_path(load_manifest(phantoms), 0)))
    assert given.status == 0
    assert given.region is not None
    assert given.box == lung_box(given.region, loaded.image.lung_margin)
    film = read_image(film_path(load_manifest(phantoms), 0))
    np.testing.assert_array_equal(given.array, model_input(film, loaded.image, box=given.box))
    assert given.quality is not None
    assert 0 <= given.quality["score"] <= 1


def test_a_film_without_lungs_is_used_whole_and_says_so(classifier: Path, shipped_lungs: Path) -> None:
    loaded = LoadedModel.load(classifier)
    film = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    loaded.lungs._call = NothingFound  # type: ignore[union-attr]
    given = loaded.film_input(film)
    assert given.status == NO_LUNGS
    assert given.box == (0.0, 0.0, 1.0, 1.0)


class NothingFound:
    """Stands for a network that finds nothing."""

    def __init__(self, batch: np.ndarray) -> None:
        self.zeros = np.zeros((1, *batch.shape[1:3], 1), np.float32)

    def numpy(self) -> np.ndarray:
        return self.zeros


def test_another_lung_network_is_refused_and_one_beside_the_model_wins(
    classifier: Path, shipped_lungs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = shipped_lungs / "lung_unet" / "1" / "model.keras"
    other = tmp_path / "models" / "lung_unet" / "1" / "model.keras"
    finder = LungFinder.load(right)
    finder.model.get_layer("logits").set_weights([np.full((1, 1, 1, 1), -1.0), np.zeros(1)])
    save_model(finder.model, other, {"name": "lung_unet", "task": "segmentation", "image": finder.image.model_dump()})
    monkeypatch.setenv("COVIDCXR_MODELS", str(tmp_path / "models"))
    with pytest.raises(WeightsError, match="the same lung network"):
        LoadedModel.load(classifier)
    moved = tmp_path / "run" / "model.keras"
    moved.parent.mkdir()
    shutil.copyfile(classifier, moved)
    shutil.copyfile(right, moved.parent / "lung_model.keras")
    assert LoadedModel.load(moved.parent).lungs is not None


def test_wrong_kinds_and_missing_models_are_named(
    classifier: Path, shipped_lungs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="expected a classifier"):
        LoadedModel.load("lung_unet")
    with pytest.raises(WeightsError, match="expected a lung network"):
        LungFinder.load(classifier)
    with pytest.raises(WeightsError, match=r"no model\.keras"):
        LoadedModel.load(tmp_path)
    with pytest.raises(WeightsError, match="no such file"):
        LoadedModel.load(tmp_path / "nothing.keras")
    monkeypatch.setenv("COVIDCXR_MODELS", str(tmp_path))
    monkeypatch.setattr("covidcxr_tf.predict.shipped_models", dict)
    monkeypatch.setattr("covidcxr_tf.models.shipped.model_folders", lambda: [tmp_path])
    with pytest.raises(WeightsError, match="covid_classifier"):
        load_model_for_films(None)


def test_python_api(classifier: Path, shipped_lungs: Path, phantoms: Path) -> None:
    films = load_manifest(phantoms)
    path = film_path(films, 0)
    run = cxr.load(classifier)
    assert run.classes == ("normal", "covid19")
    by_path, by_array = run.predict(path), run.predict([cxr.read_image(path)])
    np.testing.assert_array_equal(by_path, by_array)
    np.testing.assert_allclose(by_path.sum(), 1)
    mask = cxr.segment(cxr.read_image(path))
    assert mask.dtype == np.uint8
    assert mask.shape == cxr.read_image(path).shape
    with pytest.raises(UsageError, match=r"float32 \(H, W\)"):
        run.predict(np.zeros((4, 4), np.uint8))
