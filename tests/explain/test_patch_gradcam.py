"""Probabilistic Grad-CAM against equation 5 written out patch by patch, and the limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.classifiers import PatchModel
from covidcxr_tf.config import ImageConfig
from covidcxr_tf.errors import RunFailed, UsageError
from covidcxr_tf.explain.files import write_explanation
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.explain.gradcam import gradcam
from covidcxr_tf.explain.overlay import subtitle
from covidcxr_tf.explain.patch_gradcam import patch_gradcam, patch_maps
from covidcxr_tf.lungs.patches import cut
from covidcxr_tf.voting import Places, places

SIDE, PATCH = 48, 16


def network(outputs: int = 3, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((PATCH, PATCH, 2), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="last")(x)
    x = keras.layers.Conv2D(5, 1, activation="tanh")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, bias_initializer="random_normal", name="logits")(x))


def film(seed: int = 1) -> np.ndarray:
    """Grain inside one lung, black elsewhere, uint8 (48, 48, 2)."""
    image = np.random.default_rng(seed).integers(1, 256, (SIDE, SIDE, 2)).astype(np.uint8)
    inside = np.zeros((SIDE, SIDE, 1), np.uint8)
    inside[10:40, 6:30] = 1
    return image * inside


def chances_of(model: keras.Model, patches: np.ndarray) -> np.ndarray:
    logits = np.asarray(model(patches), np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([0 * logits, logits], axis=1)
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("outputs", "index"), [(3, 1), (3, 2), (2, 1), (1, 0), (1, 1)])
def test_equation_5_patch_by_patch(outputs: int, index: int) -> None:
    """Ours in one pass against tf-keras-vis, one patch at a time, placed pixel by pixel."""
    model, image = network(outputs), film()
    found = patch_gradcam(model, image, index, "last", size=PATCH, count=12, seed=3, batch_size=5)
    where = places(image, PATCH, 12, 3)
    patches = cut(image, where.corners, PATCH).astype(np.float32) / np.float32(255)
    chances = chances_of(model, patches)[:, index]
    total, covers = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for patch, chance, (row, column) in zip(patches, chances, where.corners, strict=True):
        total[row : row + PATCH, column : column + PATCH] += chance * gradcam(model, patch, index, "last")
        covers[row : row + PATCH, column : column + PATCH] += 1
    expected = np.divide(total, covers, out=np.zeros_like(total), where=covers > 0)
    assert expected.max() > 0.05 and (covers == 0).any() and (covers > 1).any()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_patch_is_its_grad_cam_times_its_probability() -> None:
    model, image = network(), film()
    where = Places(np.array([[12, 8]], np.int32), PATCH, 0.1)
    patch = image[12:28, 8:24].astype(np.float32) / np.float32(255)
    for index, chance in enumerate(chances_of(model, patch[None])[0]):
        heat = patch_maps(model, image, where, "last").heat(index)
        np.testing.assert_allclose(heat[12:28, 8:24], chance * gradcam(model, patch, index, "last"), atol=1e-6)
        heat[12:28, 8:24] = 0
        assert not heat.any()


def test_heat_never_passes_the_largest_probability_and_stays_on_the_patches() -> None:
    model, image = network(), film()
    where = places(image, PATCH, 9, 0)
    maps = patch_maps(model, image, where, "last")
    covered = np.zeros((SIDE, SIDE), bool)
    for row, column in where.corners:
        covered[row : row + PATCH, column : column + PATCH] = True
    for index in range(3):
        heat = maps.heat(index)
        assert heat.min() >= 0 and heat.max() <= maps.probabilities[:, index].max() + 1e-6
        assert not heat[~covered].any()
    assert maps.where.coverage == pytest.approx(covered[image.any(axis=-1)].mean())


def test_batches_do_not_change_the_map_and_seeds_do() -> None:
    model, image = network(), film()
    maps = [patch_gradcam(model, image, 1, "last", size=PATCH, count=11, seed=0, batch_size=b) for b in (1, 4, 32)]
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=1e-6)
    assert np.abs(patch_gradcam(model, image, 1, "last", size=PATCH, count=11, seed=1) - maps[0]).max() > 0.01


def test_frozen_weights_and_moved_weights() -> None:
    """A frozen network has the same map; the compiled function follows weights that are set later."""
    model, image = network(), film()
    before = patch_gradcam(model, image, 2, "last", size=PATCH, count=6)
    assert before.max() > 0.05
    frozen = network()
    frozen.trainable = False
    np.testing.assert_allclose(patch_gradcam(frozen, image, 2, "last", size=PATCH, count=6), before, atol=1e-6)
    model.set_weights(network(seed=9).get_weights())
    expected = patch_gradcam(network(seed=9), image, 2, "last", size=PATCH, count=6)
    np.testing.assert_allclose(patch_gradcam(model, image, 2, "last", size=PATCH, count=6), expected, atol=1e-6)
    assert np.abs(expected - before).max() > 0.01


def test_features_without_weights_before_them() -> None:
    """Cells of the film itself, of which class 1 takes channel 0: the map is bright where the film is."""
    inputs = keras.Input((PATCH, PATCH, 2))
    cells = keras.layers.AveragePooling2D(4, name="cells")(inputs)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(cells))
    model = keras.Model(inputs, logits)
    model.get_layer("logits").set_weights([np.array([[0.0, 50.0], [0.0, 0.0]]), np.zeros(2)])
    image = np.zeros((PATCH, PATCH, 2), np.uint8)
    image[4:8, 8:12] = 255
    heat = patch_gradcam(model, image, 1, "cells", size=PATCH, count=1)
    assert heat[5:7, 9:11].min() > 0.6 and not heat[10:].any()


def test_the_backbone_is_not_differentiated() -> None:
    """No gradient of a convolution stands in the compiled graph before the features: that is what makes it cheap."""
    from covidcxr_tf.explain.patch_gradcam import _maps_and_logits

    call: Any = _maps_and_logits(network(), "last", False)
    call(tf.zeros((2, PATCH, PATCH, 2)))
    graph = call.get_concrete_function(tf.TensorSpec((2, PATCH, PATCH, 2), tf.float32)).graph
    reached, queue = set(), [output.op for output in graph.outputs]
    while queue:
        node = queue.pop()
        if node.name not in reached:
            reached.add(node.name)
            queue += [tensor.op for tensor in node.inputs]
    kinds = [node.type for node in graph.get_operations() if node.name in reached]
    assert kinds.count("Conv2D") == 3
    assert kinds.count("Conv2DBackpropInput") == 3  # one a class, through the 1x1 after the features
    assert "Conv2DBackpropFilter" not in kinds


def test_wrong_classes_sizes_and_broken_weights() -> None:
    model, image = network(), film()
    with pytest.raises(ValueError, match="class index"):
        patch_gradcam(model, image, 3, "last", size=PATCH, count=2)
    with pytest.raises(ValueError, match="64"):
        patch_gradcam(model, image, 0, "last", size=64, count=2)
    model.get_layer("logits").set_weights([np.full((5, 3), np.nan), np.zeros(3)])
    with pytest.raises(RunFailed, match="not finite"):
        patch_gradcam(model, image, 0, "last", size=PATCH, count=2)


@pytest.fixture
def loaded(tmp_path: Path) -> PatchModel:
    image = ImageConfig(size=SIDE, channels=("raw", "raw"), lungs="none")
    facts = {
        "name": "patches",
        "task": "classification",
        "classes": ["normal", "bacterial", "covid19"],
        "image": image.model_dump(mode="json"),
        "patches": {"size": PATCH, "votes": 10, "seed": 4},
    }
    return PatchModel(network(), facts, tmp_path / "model.keras", None)


def test_explaining_a_film_shows_the_patches_that_voted(loaded: PatchModel, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).random((60, 90)).astype(np.float32)
    array = loaded.film_input(picture).array
    said = loaded.vote(array)
    found = explain_film(loaded, picture, "patch-gradcam", seed=99)
    assert found.heatmap.shape == (60, 90) and found.heatmap.max() == pytest.approx(1.0)
    np.testing.assert_allclose(list(found.probabilities.values()), said.probabilities, atol=1e-6)
    assert found.predicted == found.target_class == loaded.classes[int(said.probabilities.argmax())]
    facts = found.patches
    assert facts is not None and (facts.size, facts.count, facts.seed) == (PATCH, 10, 4)
    assert list(facts.votes.values()) == said.votes.tolist() and facts.coverage == said.coverage
    assert f"{facts.votes[found.target_class]} of 10 patches" in subtitle(found)
    document = json.loads(write_explanation(found, picture, "film.png", tmp_path)["json"].read_text())
    assert document["method"] == "patch-gradcam" and document["patches"]["coverage"] == said.coverage
    index = loaded.classes.index(found.target_class)
    alone = patch_gradcam(loaded.model, array, index, size=PATCH, count=10, seed=4)
    # The stand-in's arch is in no catalog, so the last layer with rows and columns is looked into.
    assert facts.largest == pytest.approx(float(alone.max()))


def test_a_model_of_patches_has_no_other_map(loaded: PatchModel) -> None:
    with pytest.raises(UsageError, match=r"patches sees patches.*use --method patch-gradcam"):
        explain_film(loaded, np.zeros((60, 60), np.float32), "gradcam")
