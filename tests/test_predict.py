"""From films to probabilities: one path for pixels, cut-offs, two levels, the lung network that belongs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import covidcxr_tf as cxr
from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.evaluate.table import read_predictions, write_predictions
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lung_finder import Look, LungFinder
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.patches import coverage, patch_corners
from covidcxr_tf.lungs.region import lung_box, lung_region, mask_film
from covidcxr_tf.models import build
from covidcxr_tf.models.files import load_model, model_digest, save_model
from covidcxr_tf.predict import (
    NO_LUNGS,
    EnsembleModel,
    LoadedModel,
    PatchModel,
    class_labels,
    combine_levels,
    decide,
    describe,
    holds_several,
    load_any,
    load_model_for_films,
    mean_of_logits,
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


# Patches that vote


def patch_network(side: int = 16) -> keras.Model:
    """A patch's logits: class 1 is 40 times how much its mean passes 0.5."""
    image = keras.Input((side, side, 1), name="image")
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(image)))
    model.get_layer("logits").set_weights([np.array([[0.0, 40.0]]), np.array([0, -20.0])])
    return model


def patch_facts(**changes: Any) -> dict[str, Any]:
    image = ImageConfig(size=64, channels=("raw",), lungs="none")
    return {
        "name": "patches",
        "arch": "",
        "task": "classification",
        "classes": ["normal", "covid19"],
        "image": image.model_dump(mode="json"),
        "patches": {"size": 16, "votes": 41, "validation_votes": 2, "seed": 3},
    } | changes


def half_bright(share: float) -> np.ndarray:
    """A film whose left `share` is bright and whose rest is dim."""
    film = np.full((64, 64), 0.1, np.float32)
    film[:, : round(64 * share)] = 0.9
    return film


def test_a_file_with_patches_loads_as_a_model_of_patches(tmp_path: Path) -> None:
    file = save_model(patch_network(), tmp_path / "model.keras", patch_facts())
    loaded = LoadedModel.load(file)
    assert isinstance(loaded, PatchModel)
    assert (loaded.patch_size, loaded.votes, loaded.seed, loaded.films_at_once) == (16, 41, 3, 1)
    for none in (None, {"size": 0, "votes": 41}):
        whole = LoadedModel.load(save_model(patch_network(), tmp_path / "other.keras", patch_facts(patches=none)))
        assert not isinstance(whole, PatchModel)


def test_the_patches_of_a_film_vote() -> None:
    """Every second patch or so is bright; a patch is sure of what it is, but for those across the border."""
    loaded = PatchModel(patch_network(), patch_facts(), Path("model.keras"), None)
    array = loaded.film_input(half_bright(0.5)).array
    found = loaded.vote(array)
    corners = patch_corners(np.ones((64, 64), bool), 16, 41, 3)
    means = np.array([array[row : row + 16, column : column + 16].mean() / 255 for row, column in corners])
    chances = 1 / (1 + np.exp(20 - 40 * means))
    bright = int((chances > 0.5).sum())
    assert 5 < bright < 36 and found.votes.tolist() == [41 - bright, bright]
    np.testing.assert_allclose(found.probabilities[1], (bright + chances.mean()) / 42, atol=1e-6)
    assert found.coverage == coverage(np.ones((64, 64), bool), corners, 16)
    again = loaded.probabilities(array[None].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(again[0], found.probabilities)


def test_black_pixels_are_no_lung_and_get_no_patch() -> None:
    loaded = PatchModel(patch_network(), patch_facts(), Path("model.keras"), None)
    array = np.zeros((64, 64, 1), np.uint8)
    array[20:44, 20:44] = 255
    where = loaded.places(array)
    centres = where.corners + 8
    assert array[centres[:, 0], centres[:, 1], 0].all()
    np.testing.assert_array_equal(where.corners, loaded.places(array).corners)


def test_predictions_of_patches_say_what_they_covered(phantoms: Path) -> None:
    loaded = PatchModel(patch_network(), patch_facts(), Path("model.keras"), None)
    films = load_manifest(phantoms).head(3)
    films.attrs = load_manifest(phantoms).attrs
    table, bad = predict_manifest(loaded, films)
    assert bad == [] and len(table) == 3
    for row in range(3):
        found = loaded.vote(loaded.film_input(read_image(film_path(films, row))).array)
        assert table["patch_coverage"][row] == found.coverage > 0.5
        np.testing.assert_allclose(table[["prob_normal", "prob_covid19"]].iloc[row], found.probabilities)
    written = write_predictions(table, phantoms.parent / "patch_predictions.csv")
    assert pd.read_csv(written)["patch_coverage"].tolist() == pytest.approx(table["patch_coverage"].tolist())


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"task": "multilabel"}, "findings on patches"), ({"patches": {"size": 80}}, r"80 px.*at most image\.size, 64")],
)
def test_patches_that_cannot_be_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(WeightsError, match=match):
        PatchModel(patch_network(), patch_facts(**changes), Path("model.keras"), None)


def test_outside_the_lungs_is_black_and_the_frame_is_the_films(shipped_lungs: Path, phantoms: Path) -> None:
    image = ImageConfig(size=64, channels=("raw",), lungs="mask_whole")
    facts = patch_facts(image=image.model_dump(mode="json"))
    loaded = PatchModel(patch_network(), facts, Path("model.keras"), LungFinder.load("lung_unet"))
    film = read_image(film_path(load_manifest(phantoms), 0))
    shares = np.zeros((32, 32), np.float32)
    shares[8:24, 6:26] = 1
    region = lung_region(shares)
    found = loaded.lungs
    assert found is not None
    found.look = lambda film: Look(region, mask_quality(region), region.astype(np.float32))  # type: ignore[method-assign]
    given = loaded.film_input(film)
    assert (given.box, given.status) == ((0.0, 0.0, 1.0, 1.0), 0)
    assert given.region is not None and (given.region == region).all()
    black = mask_film(np.ones((64, 64), np.float32), region) == 0
    assert black.any() and not given.array[black].any() and given.array[~black].any()
    nothing = np.zeros_like(region)
    found.look = lambda film: Look(nothing, mask_quality(nothing), nothing.astype(np.float32))  # type: ignore[method-assign]
    whole = loaded.film_input(film)
    assert whole.status == NO_LUNGS and whole.array[black].any()


# Findings


def test_findings_are_called_from_a_half_on() -> None:
    rows = pd.DataFrame({"path": ["a", "b", "c"], "findings": ["Edema", "", "No Finding"]})
    chances = np.array([[0.5, 0.9], [0.49, 0.2], [0.1, 0.6]])
    table = predictions_table(rows, chances, ("Edema", "Mass"), "multilabel")
    assert table["predicted"].tolist() == ["Edema|Mass", "No Finding", "Mass"]
    assert table["findings"].tolist() == ["Edema", "", "No Finding"]
    assert table["prob_Edema"].tolist() == [0.5, 0.49, 0.1]


def test_a_model_of_findings_predicts_a_manifest(phantoms: Path) -> None:
    image = ImageConfig(size=64, channels=("raw",), lungs="none").model_dump(mode="json")
    facts = {"name": "findings", "task": "multilabel", "classes": ["Edema", "Mass"], "image": image}
    whole = patch_network(64)
    whole.get_layer("logits").set_weights([np.array([[0.0, 0.0]]), np.array([2.0, -2.0])])
    loaded = LoadedModel(whole, facts, Path("model.keras"), None)
    films = load_manifest(phantoms)
    table, _ = predict_manifest(loaded, films)
    assert set(table["predicted"]) == {"Edema"} and len(table) == len(films)
    np.testing.assert_allclose(table["prob_Edema"] + table["prob_Mass"], 1.0)  # 1/(1+e^-2) and 1/(1+e^2)
    written = write_predictions(table, phantoms.parent / "finding_predictions.csv")
    assert read_predictions(written)["predicted"].tolist() == table["predicted"].tolist()
    assert loaded.decide([0.9, 0.7]) == "Edema|Mass" and loaded.decide([0.1, 0.2]) == "No Finding"


# Ensembles


def test_mean_of_logits_by_hand() -> None:
    members = np.array([[[0.2, 0.8]], [[0.5, 0.5]]])  # log odds log 4 and 0: their mean is log 2
    np.testing.assert_allclose(mean_of_logits(members), [[1 / 3, 2 / 3]])
    findings = np.array([[[0.8, 0.1]], [[0.5, 0.1]]])
    np.testing.assert_allclose(mean_of_logits(findings, "multilabel"), [[2 / 3, 0.1]])
    for task in ("classification", "multilabel"):
        assert np.isfinite(mean_of_logits(np.array([[[0.0, 1.0]], [[1.0, 0.0]]]), task)).all()


def test_mean_of_logits_is_that_of_the_logits_themselves() -> None:
    """Softmax forgets one constant a film and member; averaging and softmax forget it again."""
    logits = np.random.default_rng(0).normal(0, 4, (3, 20, 5))
    members = np.stack([to_probabilities(values, "classification") for values in logits])
    np.testing.assert_allclose(mean_of_logits(members), to_probabilities(logits.mean(axis=0), "classification"))
    members = np.stack([to_probabilities(values, "multilabel") for values in logits])
    np.testing.assert_allclose(
        mean_of_logits(members, "multilabel"), to_probabilities(logits.mean(axis=0), "multilabel"), rtol=1e-6
    )


@pytest.fixture
def ensemble(classifier: Path, shipped_lungs: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "both"
    for name in ("member_a", "member_b"):
        (folder / name).mkdir(parents=True)
        shutil.copyfile(classifier, folder / name / "model.keras")
    model, facts = load_model(classifier)
    model.get_layer("logits").set_weights([np.array([[0, 0], [0, 0], [0, 8.0]]), np.array([0, -3.0])])
    save_model(model, folder / "member_b" / "model.keras", facts)
    stored = {"name": "both", "threshold": 0.4, "members": [{"folder": "member_a"}, {"folder": "member_b"}]}
    (folder / "ensemble.json").write_text(json.dumps(stored))
    return folder


def test_an_ensemble_predicts_as_one(ensemble: Path, phantoms: Path) -> None:
    loaded = load_any(ensemble)
    assert isinstance(loaded, EnsembleModel) and holds_several(ensemble)
    assert (loaded.name, loaded.threshold, loaded.classes) == ("both", 0.4, ("normal", "covid19"))
    films = load_manifest(phantoms)
    table, _ = predict_manifest(loaded, films)
    parts = [predict_manifest(LoadedModel.load(ensemble / name), films)[0] for name in ("member_a", "member_b")]
    odds = np.mean([np.log(part["prob_covid19"] / part["prob_normal"]) for part in parts], axis=0)
    np.testing.assert_allclose(table["prob_covid19"], 1 / (1 + np.exp(-odds)), atol=1e-9)
    wanted = np.where(table["prob_covid19"] >= 0.4, "covid19", "normal")
    assert table["predicted"].tolist() == wanted.tolist()
    assert class_labels(loaded) == {"normal": ["normal"], "covid19": ["covid19"]}
    assert describe(loaded).startswith("both, ensemble of mean_of_raw, ") and describe(loaded).count("sha256") == 2


def test_an_ensemble_has_no_single_model(ensemble: Path, phantoms: Path) -> None:
    run = cxr.load(ensemble)
    film = read_image(film_path(load_manifest(phantoms), 0))
    np.testing.assert_allclose(run.predict(film).sum(), 1)
    for ask in (lambda: run.model, lambda: run.explain(film)):
        with pytest.raises(UsageError, match=r"both: .*made of several.*load the folder of one"):
            ask()
    with pytest.raises(WeightsError, match=r"an ensemble.*one of its members"):
        load_model_for_films(ensemble)


def test_broken_ensembles_are_named(ensemble: Path) -> None:
    file = ensemble / "ensemble.json"
    for content, match in [
        ("{", "names no members"),
        ('{"members": [1]}', "names no members"),
        ('{"members": []}', "has no member"),
        ('{"members": ["member_c"]}', "no such file"),
    ]:
        file.write_text(content)
        with pytest.raises(WeightsError, match=match):
            load_any(ensemble)
    model, facts = load_model(ensemble / "member_b" / "model.keras")
    save_model(model, ensemble / "member_b" / "model.keras", facts | {"classes": ["covid19", "normal"]})
    file.write_text('{"members": ["member_a", "member_b"]}')
    with pytest.raises(WeightsError, match=r"different classes.*normal, covid19"):
        load_any(ensemble)


def test_large_films_are_held_one_by_one() -> None:
    sizes = {320: 40, 512: 16, 1024: 4, 1500: 1, 4096: 1}
    for side, films in sizes.items():
        image = ImageConfig(size=side, lungs="none").model_dump(mode="json")
        loaded = LoadedModel(patch_network(), patch_facts(image=image, patches=None), Path("x"), None)
        assert loaded.films_at_once == films


def test_mirror_images_count_among_what_is_held() -> None:
    small = {"input_shape": (16, 16, 1), "blocks": (1,), "width": 0.1}
    image = ImageConfig(size=512, lungs="none").model_dump(mode="json")
    found = []
    for mirrored in (False, True):
        network = build("efficientnet-lite0", 2, mirrored=mirrored, **small)
        found.append(LoadedModel(network, patch_facts(image=image, patches=None), Path("x"), None).films_at_once)
    assert found == [16, 8]
