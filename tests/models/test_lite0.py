"""EfficientNet-Lite0's convolutions without any weight file."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

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


def mirrored_pair(**options: object) -> tuple[keras.Model, keras.Model]:
    """Return a plain and a mirrored network of the same weights, far from the ones that they began with."""
    small = {"input_shape": (40, 40, 1), "blocks": (1, 1, 1), "width": 0.25, "seed": 3, "low_pass": 1, **options}
    plain, mirrored = (models.build("efficientnet-lite0", 3, mirrored=which, **small) for which in (False, True))
    random = np.random.default_rng(5)
    plain.set_weights([random.uniform(0.3, 1.2, w.shape) * np.sign(w + 0.01) for w in plain.get_weights()])
    mirrored.set_weights(plain.get_weights())
    return plain, mirrored


def test_logits_of_a_mirrored_network_are_the_mean_over_the_film_and_its_mirror_image() -> None:
    plain, mirrored = mirrored_pair()
    films = np.random.default_rng(0).random((3, 40, 40, 1), dtype=np.float32)
    both = [np.asarray(plain(seen, training=False)) for seen in (films, np.ascontiguousarray(films[:, :, ::-1]))]
    found = np.asarray(mirrored(films, training=False))
    np.testing.assert_allclose(found, (both[0] + both[1]) / 2, rtol=1e-4)
    turned = np.asarray(mirrored(np.ascontiguousarray(films[:, :, ::-1]), training=False))
    np.testing.assert_allclose(turned, found, rtol=1e-4)
    assert np.abs(both[0] - both[1]).max() > 1e-3 * np.abs(found).max()  # the plain one does tell left from right


def test_films_of_a_batch_do_not_mix() -> None:
    _, mirrored = mirrored_pair()
    films = np.random.default_rng(1).random((5, 40, 40, 1), dtype=np.float32)
    alone = np.concatenate([np.asarray(mirrored(film[None], training=False)) for film in films])
    np.testing.assert_allclose(mirrored.predict(films, batch_size=2, verbose=0), alone, rtol=1e-4)


def test_features_of_both_sides_lie_over_the_film_s_pixels() -> None:
    """A spot on the right is seen on the right, by the mirror image's features too."""
    plain, mirrored = mirrored_pair()
    film = np.zeros((1, 40, 40, 1), np.float32)
    film[0, 16:24, 30:36] = 1
    answers = []
    for seen in (film, np.zeros_like(film)):
        mean = keras.Model(mirrored.input, mirrored.get_layer("mean_of_sides").output)
        top = keras.Model(plain.input, plain.get_layer("top_relu").output)
        assert mean.output_shape == top.output_shape
        turned = np.asarray(top(np.ascontiguousarray(seen[:, :, ::-1]), training=False))[:, :, ::-1]
        wanted = (np.asarray(top(seen, training=False)) + turned) / 2
        answers.append(np.asarray(mean(seen, training=False)))
        np.testing.assert_allclose(answers[-1], wanted, rtol=1e-4, atol=1e-5)
    change = np.abs(answers[0] - answers[1])[0].sum(axis=(0, 2))
    assert change[len(change) // 2 :].sum() > change[: len(change) // 2].sum()


def test_a_mirrored_network_is_one_file_whatever_was_built_before(tmp_path: Path) -> None:
    """And Keras alone opens it."""
    first, second = (
        models.build("efficientnet-lite0", 2, input_shape=(32, 32, 1), blocks=(1,), width=0.25, mirrored=True, seed=1)
        for _ in range(2)
    )
    assert first.to_json() == second.to_json()
    first.save(tmp_path / "mirrored.keras")
    code = (
        "import sys, keras; model = keras.saving.load_model(sys.argv[1], safe_mode=True); "
        "assert 'covidcxr_tf' not in sys.modules; print(model.output_shape)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "mirrored.keras")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "(None, 2)"
