"""Random changes of a batch while training: one resampling for all that moves, then grey levels.

Keras's layers RandomRotation, RandomZoom, RandomTranslation and RandomShear would each resample (and blur) the
film once, and draw from a generator whose state cannot be set back to step N of epoch E. Here one matrix holds
the whole movement, drawn from a stateless seed: a resumed run sees the same pictures.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from covidcxr_tf.config import AugmentConfig
from covidcxr_tf.pipeline.artefacts import in_the_file, on_the_film


def augment_batch(images: Any, masks: Any | None, config: AugmentConfig, seed: Any) -> tuple[Any, Any | None]:
    """Return changed copies of a batch.

    Parameters
    ----------
    images : tensor
        float32 (N, S, S, C), [0, 1].
    masks : tensor or None
        float32 (N, S, S, 1), 0 or 1; moved with the images, nearest neighbour.
    config : AugmentConfig
        Ranges.
    seed : tensor
        int32 (2,), stateless: the same seed gives the same changes.

    Returns
    -------
    tuple
        Images float32 in [0, 1], masks float32 0 or 1 (or None), same shapes.
    """
    draws = _Draws(tf.shape(images)[0], seed)
    transform = movement(config, draws, images.shape[1])
    if transform is not None:
        images = keras.ops.image.affine_transform(images, transform, interpolation="bilinear", fill_mode="constant")
        if masks is not None:
            masks = keras.ops.image.affine_transform(masks, transform, interpolation="nearest", fill_mode="constant")
    images = on_the_film(images, config, draws)
    images = grey_levels(images, config, draws)
    return in_the_file(images, config, draws), masks


def movement(config: AugmentConfig, draws: _Draws, size: int) -> Any | None:
    """Return output-to-input affine parameters float32 (N, 8), or None where nothing moves."""
    still = (config.rotation_degrees, config.shift, config.shear_degrees, config.zoom) == (0, 0, 0, (1, 1))
    if still and not config.horizontal_flip and not config.vertical_flip:
        return None
    angle = draws.uniform(-config.rotation_degrees, config.rotation_degrees) * (math.pi / 180)
    shear = tf.tan(draws.uniform(-config.shear_degrees, config.shear_degrees) * (math.pi / 180))
    scale = 1.0 / draws.uniform(*config.zoom)
    flip_columns = draws.sign(config.horizontal_flip)
    flip_rows = draws.sign(config.vertical_flip)
    shift_columns = draws.uniform(-config.shift, config.shift) * size
    shift_rows = draws.uniform(-config.shift, config.shift) * size
    # Input column = a0 * column + a1 * row + a2, about the centre of the film.
    a0 = scale * tf.cos(angle) * flip_columns
    a1 = scale * (shear * tf.cos(angle) - tf.sin(angle)) * flip_rows
    b0 = scale * tf.sin(angle) * flip_columns
    b1 = scale * (shear * tf.sin(angle) + tf.cos(angle)) * flip_rows
    centre = (size - 1) / 2
    a2 = centre - a0 * centre - a1 * centre + shift_columns
    b2 = centre - b0 * centre - b1 * centre + shift_rows
    nothing = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1)


def grey_levels(images: Any, config: AugmentConfig, draws: _Draws) -> Any:
    """Return images with random brightness, contrast, gamma, inversion and noise, clipped to [0, 1]."""
    if config.brightness != (1, 1):
        images = images * draws.uniform(*config.brightness)[:, None, None, None]
    if config.contrast != (1, 1):
        mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
        images = mean + (images - mean) * draws.uniform(*config.contrast)[:, None, None, None]
    images = tf.clip_by_value(images, 0.0, 1.0)
    if config.gamma != (1, 1):
        images = images ** draws.uniform(*config.gamma)[:, None, None, None]
    if config.invert:
        turned = (draws.uniform(0.0, 1.0) < config.invert)[:, None, None, None]
        images = tf.where(turned, 1.0 - images, images)
    if isinstance(config.noise, tuple):
        deviation = draws.uniform(*config.noise)[:, None, None, None]
        images = tf.clip_by_value(images + deviation * draws.normal(images, 1.0), 0.0, 1.0)
    elif config.noise:
        images = tf.clip_by_value(images + draws.normal(images, config.noise), 0.0, 1.0)
    return images


class _Draws:
    """Independent stateless draws, one number a film, each call with a seed of its own."""

    def __init__(self, count: Any, seed: Any) -> None:
        self.count = count
        self.seed = seed
        self.calls = 0

    def _next(self) -> Any:
        self.calls += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.calls)

    def uniform(self, low: float, high: float) -> Any:
        return tf.random.stateless_uniform([self.count], self._next(), low, high)

    def sign(self, wanted: bool) -> Any:
        half = tf.random.stateless_uniform([self.count], self._next()) < 0.5
        return tf.where(half, -1.0, 1.0) if wanted else tf.ones([self.count])

    def normal_field(self, cells: tuple[int, int]) -> Any:
        return tf.random.stateless_normal([self.count, *cells, 1], self._next())

    def normal(self, like: Any, deviation: float) -> Any:
        return tf.random.stateless_normal(tf.shape(like), self._next(), stddev=deviation)
