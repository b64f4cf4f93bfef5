"""Augmentation: neutral settings change nothing, movements move what they say, everything stays in [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from covidcxr_tf.config import AugmentConfig
from covidcxr_tf.pipeline.augment import _Draws, augment_batch, movement

SEED = tf.constant([3, 4], tf.int64)
FILMS = np.random.default_rng(0).random((6, 16, 16, 2), dtype=np.float32)
MASKS = (FILMS[..., :1] > 0.5).astype(np.float32)


def test_nothing_asked_nothing_changed() -> None:
    images, masks = augment_batch(tf.constant(FILMS), tf.constant(MASKS), AugmentConfig(), SEED)
    np.testing.assert_array_equal(images, FILMS)
    np.testing.assert_array_equal(masks, MASKS)


def test_flips_are_exact_and_masks_follow() -> None:
    images, masks = augment_batch(FILMS, MASKS, AugmentConfig(horizontal_flip=True, vertical_flip=True), SEED)
    kinds = set()
    for image, mask, film, truth in zip(images.numpy(), masks.numpy(), FILMS, MASKS, strict=True):
        variants = {"none": film, "columns": film[:, ::-1], "rows": film[::-1], "both": film[::-1, ::-1]}
        kind = next(name for name, variant in variants.items() if np.allclose(image, variant, atol=1e-6))
        turned = {"none": truth, "columns": truth[:, ::-1], "rows": truth[::-1], "both": truth[::-1, ::-1]}[kind]
        np.testing.assert_array_equal(mask, turned)
        kinds.add(kind)
    assert len(kinds) > 1


def test_zoom_keeps_the_centre_and_magnifies() -> None:
    film = np.zeros((1, 33, 33, 1), np.float32)
    film[0, 12:21, 12:21] = 1  # 9 px square about the centre
    bigger, _ = augment_batch(film, None, AugmentConfig(zoom=(2.0, 2.0)), SEED)
    inside = bigger.numpy()[0, :, :, 0] > 0.5
    rows = np.flatnonzero(inside.any(axis=1))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(16, abs=0.5)
    assert len(rows) == pytest.approx(18, abs=1)


def test_rotation_stays_within_its_range_and_is_about_the_centre() -> None:
    draws = _Draws(2000, SEED)
    matrix = movement(AugmentConfig(rotation_degrees=10.0), draws, 101).numpy()
    angles = np.degrees(np.arctan2(matrix[:, 3], matrix[:, 0]))
    assert np.abs(angles).max() <= 10.001
    assert np.abs(angles).max() > 9
    assert abs(angles.mean()) < 0.5
    centre = np.array([50.0, 50.0, 1.0])
    np.testing.assert_allclose(matrix[:, :3] @ centre, 50, atol=1e-3)
    np.testing.assert_allclose(matrix[:, 3:6] @ centre, 50, atol=1e-3)


def test_shift_is_a_share_of_the_side() -> None:
    matrix = movement(AugmentConfig(shift=0.1), _Draws(2000, SEED), 100).numpy()
    assert 9 < np.abs(matrix[:, 2]).max() <= 10
    assert 9 < np.abs(matrix[:, 5]).max() <= 10


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(brightness=(0.2, 3.0)),
        AugmentConfig(contrast=(0.1, 4.0)),
        AugmentConfig(gamma=(0.3, 3.0)),
        AugmentConfig(noise=0.5),
        AugmentConfig(noise=(0.1, 0.5)),
        AugmentConfig(invert=0.5),
    ],
)
def test_grey_levels_stay_in_range_and_leave_masks_alone(config: AugmentConfig) -> None:
    images, masks = augment_batch(FILMS, MASKS, config, SEED)
    assert images.numpy().min() >= 0
    assert images.numpy().max() <= 1
    assert not np.array_equal(images, FILMS)
    np.testing.assert_array_equal(masks, MASKS)


def test_inversion_inverts_about_its_share_of_films() -> None:
    films = np.full((400, 2, 2, 1), 0.25, np.float32)
    images, _ = augment_batch(films, None, AugmentConfig(invert=0.3), SEED)
    values = images.numpy()[:, 0, 0, 0]
    assert set(np.round(values, 6)) == {0.25, 0.75}
    assert np.mean(values == 0.75) == pytest.approx(0.3, abs=0.07)


def test_noise_is_as_strong_as_said_or_drawn_for_each_film() -> None:
    films = np.full((300, 16, 16, 1), 0.5, np.float32)

    def deviations(noise: float | tuple[float, float]) -> np.ndarray:
        return augment_batch(films, None, AugmentConfig(noise=noise), SEED)[0].numpy().std(axis=(1, 2, 3))

    fixed, drawn = deviations(0.06), deviations((0.02, 0.1))
    # The deviation of 256 draws has an error of 1 / sqrt(512) of itself.
    assert np.abs(fixed / 0.06 - 1).max() < 5 / np.sqrt(512)
    assert 0.016 < drawn.min() < 0.03 and 0.09 < drawn.max() < 0.125
    assert drawn.mean() == pytest.approx(0.06, abs=0.006)
    with pytest.raises(ValidationError):
        AugmentConfig(noise=(0.1, 0.6))


def test_the_same_seed_gives_the_same_pictures() -> None:
    config = AugmentConfig(rotation_degrees=20, shift=0.1, noise=0.1, brightness=(0.8, 1.2))
    one, _ = augment_batch(FILMS, None, config, SEED)
    two, _ = augment_batch(FILMS, None, config, SEED)
    other, _ = augment_batch(FILMS, None, config, SEED + 1)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
