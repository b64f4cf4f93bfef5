"""The mean activation: by hand, the same for every class, and shown inside the lungs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from covidcxr_tf.explain.activation_map import activation
from covidcxr_tf.explain.files import as_document
from covidcxr_tf.explain.film import explain_film, heat_on_film
from covidcxr_tf.explain.overlay import subtitle
from covidcxr_tf.lung_finder import Look
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.region import lung_region

LEFT = np.array([[1, 0]], np.uint8)  # the left half of a film


def test_mean_over_the_channels_by_hand() -> None:
    inputs = keras.Input((2, 2, 2))
    shown = keras.layers.ReLU(name="last")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(shown)))
    film = np.array([[[1, 0], [0, 0]], [[0.5, 0.5], [1, 1]]], np.float32)
    for index in (0, 1):
        np.testing.assert_allclose(activation(model, film, index, "last"), [[0.5, 0], [0.5, 1]])
    with pytest.raises(ValueError, match="class index"):
        activation(model, film, 2, "last")


def test_negative_means_are_no_heat_and_small_maps_are_enlarged() -> None:
    inputs = keras.Input((4, 4, 1))
    cells = keras.layers.AveragePooling2D(2)(inputs)
    shifted = keras.layers.Rescaling(1.0, -0.5, name="last")(cells)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(shifted)))
    film = np.kron(np.array([[1.0, 0.0], [0.5, 0.5]]), np.ones((2, 2))).astype(np.float32)[..., None]
    signed = cv2.resize(np.array([[0.5, -0.5], [0, 0]], np.float32), (4, 4), interpolation=cv2.INTER_LINEAR)
    expected = np.maximum(signed, 0) / signed.max()
    np.testing.assert_allclose(activation(model, film, 0), expected, atol=1e-6)


def test_only_the_lungs_are_shown_and_the_share_is_that_before(stand_in: Any, film: np.ndarray) -> None:
    loaded = stand_in(region=LEFT)
    found = explain_film(loaded, film, "activation")
    whole = explain_film(stand_in(), film, "activation").heatmap  # no lungs: nothing is taken away
    assert not found.heatmap[:, 80:].any() and whole[:, 80:].any()
    np.testing.assert_allclose(found.heatmap[:, :80], whole[:, :80] / whole[:, :80].max(), atol=1e-6)
    assert found.heat_in_lungs == pytest.approx(whole[:, :80].sum() / whole.sum(), rel=1e-5)
    assert found.heat_in_lungs is not None and 0 < found.heat_in_lungs < 1
    image = loaded.film_input(film).array.astype(np.float32) / 255
    alone = heat_on_film(activation(loaded.model, image, 0), (0.0, 0.0, 1.0, 1.0), film.shape)
    np.testing.assert_allclose(whole, alone)


def test_lungs_not_found_take_nothing_away(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(region=np.zeros((4, 4), np.uint8)), film, "activation")
    assert found.heatmap[:, 80:].any() and "no lungs were found" in found.heat_in_lungs_why


def test_a_model_without_lungs_is_shown_those_of_the_shipped_network(
    stand_in: Any, film: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = cv2.resize(LEFT, (256, 256), interpolation=cv2.INTER_NEAREST).astype(np.float32)
    region = lung_region(shares)
    finder = SimpleNamespace(look=lambda film: Look(region, mask_quality(region), shares), name="lung_unet")
    monkeypatch.setattr("covidcxr_tf.explain.film.find_shipped", lambda name: Path(name))
    monkeypatch.setattr("covidcxr_tf.explain.film._lung_finder", lambda path: finder)
    found = explain_film(stand_in(), film, "activation")
    assert found.lung_network == "lung_unet" and found.lung_mask_quality is not None
    # The region is 2 px of 256 wider than the lungs.
    assert not found.heatmap[:, 82:].any() and found.heat_in_lungs is not None
    assert as_document(found, "film.png")["lung_network"] == "lung_unet"
    other = explain_film(stand_in(), film, "gradcam", "covid19")  # the other methods show what the model knows
    assert other.lung_region is None and "lung_network" not in as_document(other, "film.png")


def test_without_any_lung_network_it_is_said(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(), film, "activation")
    assert found.heat_in_lungs is None and "no lung_unet is here" in found.heat_in_lungs_why


def test_no_class_is_named_beside_it(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(region=LEFT), film, "activation", target="covid19")
    assert as_document(found, "film.png")["class_specific"] is False
    assert "activation, of no class" in subtitle(found) and "for covid19" not in subtitle(found)
