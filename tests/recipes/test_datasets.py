"""From config to batches: class weights by hand, sources, splits, the synthetic default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import Config, PatchConfig, load_config
from covidcxr_tf.data.manifest import load_manifest, write_manifest
from covidcxr_tf.errors import ManifestError, SplitError
from covidcxr_tf.models.losses import build_loss
from covidcxr_tf.recipes.datasets import (
    Datasets,
    build_datasets,
    class_numbers,
    demo_manifest,
    open_manifest,
)
from covidcxr_tf.recipes.execute import _normalisation
from covidcxr_tf.recipes.film_weights import loss_weights, with_source_priors


def config_for(manifest: Path | str, *changes: str) -> Config:
    return load_config("base", [f"data.manifest={manifest}", "image.size=64", "image.tiles=4", *changes])


def test_balanced_weights_by_hand() -> None:
    # Training films: 3 of class 0, 1 of class 1. Weights 4 / (2 * 3) and 4 / (2 * 1); their mean over the four is 1.
    targets = np.array([0, 0, 0, 1, 1, 1, 1], np.int32)
    train = np.array([True] * 4 + [False] * 3)
    films = pd.DataFrame(index=range(7))
    weights = loss_weights(targets, train, load_config("base"), films)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2, 2, 2, 2])
    assert np.mean(weights[train]) == pytest.approx(1)
    assert loss_weights(targets, train, load_config("base", ["train.class_weights=none"]), films) is None


def test_a_class_without_training_films_is_named() -> None:
    with pytest.raises(ManifestError, match="no training film of the class 'covid19'"):
        films = pd.DataFrame(index=range(3))
        loss_weights(np.array([0, 0, 1]), np.array([True, True, False]), load_config("base"), films)


def test_source_balanced_weights_by_hand() -> None:
    # Class 0: three films of a, one of b; class 1: two of b. Classes sum up to the same, and sources within a class.
    targets = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    films = pd.DataFrame({"source": ["a", "a", "a", "b", "b", "b", "c"]})
    train = np.array([True] * 6 + [False])
    config = load_config("base", ["train.class_weights=source_balanced", "train.most_weight=100"])
    weights = loss_weights(targets, train, config, films)
    # Of a whole of 6: 3 a class; class 0 gives 1.5 to a (0.5 a film) and 1.5 to b; class 1 gives 1.5 to each film of b.
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 0.0], rtol=1e-6)


def test_no_film_weighs_more_than_the_most() -> None:
    targets = np.repeat([0, 1], 50).astype(np.int32)
    films = pd.DataFrame({"source": ["a"] * 49 + ["b"] * 51})
    config = load_config("base", ["train.class_weights=source_balanced", "train.most_weight=3"])
    weights = loss_weights(targets, np.ones(100, bool), config, films)
    # Alone of its class in b: 25 of the weight 100, cut at 3, and the rest scaled up to the mean 1.
    assert weights[49] == pytest.approx(3 / 0.78, rel=1e-6)
    assert np.mean(weights) == pytest.approx(1)


def test_without_sources_they_cannot_be_balanced() -> None:
    config = load_config("base", ["train.class_weights=source_balanced"])
    with pytest.raises(ManifestError, match="no column 'source'"):
        loss_weights(np.array([0, 1]), np.array([True, True]), config, pd.DataFrame(index=range(2)))


def test_held_out_sources_are_the_test_films(phantoms: Path) -> None:
    films = open_manifest(config_for(phantoms, "data.test_sources=['demo-north']"))
    assert set(films.loc[films["split"] == "test", "source"]) == {"demo-north"}
    assert "demo-north" not in set(films.loc[films["split"] != "test", "source"])
    assert films.index.tolist() == list(range(len(films)))


def test_class_numbers_follow_the_order_of_the_config() -> None:
    labels = pd.DataFrame({"label": ["covid19", "normal", "covid19"]})
    assert class_numbers(labels, ("normal", "covid19")).tolist() == [1, 0, 1]
    assert class_numbers(labels, ("covid19", "normal")).tolist() == [0, 1, 0]


def test_only_the_named_sources_are_used(phantoms: Path) -> None:
    films = open_manifest(config_for(phantoms, "data.sources=['demo-north', 'demo-west']"))
    assert set(films["source"]) == {"demo-north", "demo-west"}
    assert films.index.tolist() == list(range(len(films)))
    with pytest.raises(ManifestError, match="demo-north"):
        open_manifest(config_for(phantoms, "data.sources=['nowhere']"))


def test_a_split_in_the_manifest_is_kept_and_checked(phantoms: Path, tmp_path: Path) -> None:
    films = load_manifest(phantoms)
    patients = sorted(films["patient_id"].unique())
    split = {patient: ("train", "validation", "test")[number % 3] for number, patient in enumerate(patients)}
    films = films.assign(split=films["patient_id"].map(split))
    path = write_manifest(films, tmp_path / "split.csv")
    opened = open_manifest(config_for(path, f"data.root={phantoms.parent}"))
    assert (opened["split"] == opened["patient_id"].map(split)).all()
    torn = films.assign(split=["train", "validation"] * (len(films) // 2) + ["train"] * (len(films) % 2))
    path = write_manifest(torn, tmp_path / "torn.csv")
    with pytest.raises(SplitError):
        open_manifest(config_for(path, f"data.root={phantoms.parent}"))


def test_validation_and_test_films_carry_no_weights_and_no_augmentation(phantoms: Path) -> None:
    sets = build_datasets(config_for(phantoms))
    assert sets.training.weights is not None
    assert sets.training.augment is not None
    assert sets.test is not None
    for judged in (sets.validation, sets.test):
        assert judged.weights is None
        assert judged.augment is None
    rows = sum(batches.rows for batches in (sets.training, sets.validation, sets.test))
    assert rows == len(sets.manifest)
    assert sets.facts["synthetic"] is True
    assert sets.facts["class_labels"] == {"normal": ["normal"], "covid19": ["covid19"]}


def test_synthetic_films_are_made_once() -> None:
    config = load_config("base", ["data.demo_patients=9", "data.demo_size=64"])
    path = demo_manifest(config)
    stamp = path.stat().st_mtime_ns
    assert demo_manifest(config) == path
    assert path.stat().st_mtime_ns == stamp
    assert len(load_manifest(path)["patient_id"].unique()) == 9


@pytest.fixture
def redrawn(phantoms: Path) -> Datasets:
    classes = "classes={normal=['normal', 'pneumonia'], covid19=['covid19']}"
    return build_datasets(config_for(phantoms, "data.redraw_validation=true", "data.ratios=[0.4, 0.4, 0.2]", classes))


def test_redrawn_films_are_judged_on_the_splits_own(redrawn: Datasets) -> None:
    for part in ("validation", "test"):
        for patches in (None, PatchConfig(size=16, validation_votes=2)):  # whole films and patches alike
            batches = replace(redrawn.judged[part], patches=patches)
            rows = sorted({int(row) for batch in batches.plain() for row in batch["row"]})
            assert rows == redrawn.manifest.index[redrawn.manifest["split"] == part].tolist()
            assert set(redrawn.manifest_of(np.array(rows))["split"]) == {part}
    drawn = {int(row) for batch in redrawn.validation.for_epoch(1).plain() for row in batch["row"]}
    assert drawn != set(redrawn.manifest.index[redrawn.manifest["split"] == "validation"])


def test_films_that_are_not_redrawn_are_judged_as_they_are(phantoms: Path) -> None:
    sets = build_datasets(config_for(phantoms))
    assert sets.judged == {"validation": sets.validation, "test": sets.test}


def test_weights_count_all_films_that_training_draws_from(redrawn: Datasets) -> None:
    films = redrawn.manifest
    pool = films[films["split"].isin(("train", "validation"))]
    counts = pool["label"].value_counts()
    assert counts.nunique() == 2 and len(pool) > (films["split"] == "train").sum()
    weights = redrawn.training.weights
    assert weights is not None
    np.testing.assert_allclose(weights, films["label"].map(len(pool) / (2 * counts)), rtol=1e-6)
    assert weights[pool.index].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("arch", "mean", "std"),
    [
        ("densenet121", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("vgg16", (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
        ("resnet101", (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
    ],
)
def test_imagenet_levels_are_those_of_the_architectures_own_weights(
    redrawn: Datasets, arch: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    three = load_config("base", [f"arch={arch}", "model.normalise=imagenet", "image.channels=['raw', 'raw', 'raw']"])
    found = _normalisation(three, redrawn)["normalise"]
    np.testing.assert_allclose(found, (mean, std), rtol=1e-6)
    one = load_config("base", [f"arch={arch}", "model.normalise=imagenet", "image.channels=['raw']"])
    np.testing.assert_allclose(_normalisation(one, redrawn)["normalise"], [[np.mean(mean)], [np.mean(std)]], rtol=1e-6)


def test_source_priors_by_hand() -> None:
    targets = np.array([0, 0, 0, 1, 1], np.int32)
    films = pd.DataFrame({"source": ["a", "a", "a", "a", "b"]})
    train = np.array([True, True, True, True, False])
    config = load_config("base", ["train.source_prior=1"])
    found = with_source_priors(targets, train, config, films)
    np.testing.assert_array_equal(found[:, :2], np.eye(2)[targets])
    # a: 3 + 1 and 1 + 1 of 6; b has no training film: half and half.
    np.testing.assert_allclose(np.exp(found[0, 2:]), [4 / 6, 2 / 6], rtol=1e-6)
    np.testing.assert_allclose(np.exp(found[4, 2:]), [1 / 2, 1 / 2], rtol=1e-6)


def test_priors_explain_what_the_source_explains() -> None:
    # A source that holds only class 1: with its prior, a network that knows nothing has next to no loss there.
    loss = build_loss(load_config("base").train, 2)
    priors = np.log(np.array([[1e-6, 1 - 1e-6], [0.5, 0.5]], np.float32))
    labels = np.concatenate([np.array([[0, 1], [0, 1]], np.float32), priors], axis=1)
    found = np.asarray(loss(labels, np.zeros((2, 2), np.float32)))
    np.testing.assert_allclose(found, [0, np.log(2)], atol=1e-5)


def test_only_training_is_taught_with_priors(phantoms: Path) -> None:
    sets = build_datasets(config_for(phantoms, "train.source_prior=5"))
    assert sets.training.targets.shape == (len(sets.manifest), 4)
    assert sets.validation.targets.shape == (len(sets.manifest),)
