"""Opacities, tubes, text, blur and JPEG: they do what they say, stay in [0, 1], and depend on the seed alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.config import AugmentConfig
from covidcxr_tf.pipeline import artefacts
from covidcxr_tf.pipeline.augment import _Draws, augment_batch

SEED = tf.constant([3, 4], tf.int64)
FILMS = np.random.default_rng(0).random((5, 48, 48, 2), dtype=np.float32)
ALL = AugmentConfig(opacity=0.8, tubes=2, text=1.0, blur=2.0, jpeg=(30, 90))


def draws() -> _Draws:
    return _Draws(len(FILMS), SEED)


def test_all_together_stay_in_range_and_leave_masks_alone() -> None:
    masks = (FILMS[..., :1] > 0.5).astype(np.float32)
    images, same = augment_batch(FILMS, masks, ALL, SEED)
    again, _ = augment_batch(FILMS, masks, ALL, SEED)
    other, _ = augment_batch(FILMS, masks, ALL, tf.constant([3, 5], tf.int64))
    assert images.shape == FILMS.shape
    assert images.numpy().min() >= 0
    assert images.numpy().max() <= 1
    np.testing.assert_array_equal(same, masks)
    np.testing.assert_array_equal(images, again)
    assert not np.array_equal(images, other)


def test_in_a_compiled_graph_as_by_hand() -> None:
    graph = tf.function(lambda films: augment_batch(films, None, ALL, SEED)[0])
    np.testing.assert_allclose(graph(FILMS), augment_batch(FILMS, None, ALL, SEED)[0], atol=2 / 255)


def test_opacity_only_whitens_and_no_more_than_its_share() -> None:
    changed = artefacts.with_opacity(tf.constant(FILMS), 0.6, draws()).numpy()
    share = (changed - FILMS) / (1 - FILMS)
    assert share.min() >= -1e-5
    assert 0.05 < share.max() <= 0.6 + 1e-5
    np.testing.assert_allclose(share[..., 0], share[..., 1], atol=1e-3)  # one patch through all channels
    assert np.abs(np.diff(share[..., 0], axis=1)).mean() < 0.05  # smooth: one draw a pixel would give 0.15


def test_a_tube_is_a_thin_bright_line_and_some_films_have_none() -> None:
    black = tf.zeros((64, 96, 96, 1))
    found = artefacts.with_tube(black, _Draws(64, SEED)).numpy()[..., 0]
    lit = (found > 0.02).mean(axis=(1, 2))
    assert 0.15 < (lit == 0).mean() < 0.6
    assert lit.max() < 0.12
    brightest = int(found.max(axis=(1, 2)).argmax())
    assert (found[brightest].max(axis=0) > 0.1).mean() > 0.5 or (found[brightest].max(axis=1) > 0.1).mean() > 0.5


def test_text_lies_near_the_upper_or_lower_border_and_as_often_as_asked() -> None:
    black = tf.zeros((400, 64, 64, 1))
    found = artefacts.with_text(black, 0.25, _Draws(400, SEED)).numpy()[..., 0]
    written = found.max(axis=(1, 2)) > 0
    assert 0.12 < written.mean() < 0.38
    rows = found[written].max(axis=(0, 2)) > 0
    assert not rows[20:44].any()
    assert rows[:16].any()
    assert rows[48:].any()
    assert found[found > 0].min() >= 0.7


def test_blur_is_opencv_s_gaussian_for_each_film() -> None:
    deviations = [0.0, 0.7, 1.0, 1.5, 2.0]
    found = artefacts.blurred(tf.constant(FILMS), tf.constant(deviations)).numpy()
    np.testing.assert_allclose(found[0], FILMS[0], atol=1e-6)
    side = 2 * artefacts.BLUR_REACH + 1
    for film, blurred, deviation in zip(FILMS[1:], found[1:], deviations[1:], strict=True):
        expected = cv2.GaussianBlur(film, (side, side), deviation, borderType=cv2.BORDER_REFLECT)
        np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_jpeg_is_that_of_each_quality_and_channel() -> None:
    qualities = [10.0, 30.0, 60.0, 90.0, 95.0]
    found = artefacts.compressed(tf.constant(FILMS), tf.constant(qualities)).numpy()
    errors = np.abs(found - FILMS).mean(axis=(1, 2, 3))
    assert (np.diff(errors) < 0).all()  # the better the quality, the nearer
    plane = np.round(FILMS[1, :, :, 1] * 255).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, 30])
    expected = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE) / 255
    np.testing.assert_allclose(found[1, :, :, 1], expected, atol=4 / 255)


@pytest.mark.parametrize("name", ["opacity", "text", "invert"])
def test_shares_above_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        AugmentConfig(**{name: 1.5})
