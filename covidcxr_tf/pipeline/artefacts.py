"""What lies on real films and in their files, drawn at random: opacities, tubes, burnt-in text, blur, JPEG.

A network that has seen them with every class, and beside every mask, cannot take them for a disease or lose a lung
to them. All draws are stateless, one number a film.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from covidcxr_tf.config import AugmentConfig

if TYPE_CHECKING:
    from covidcxr_tf.pipeline.augment import _Draws

#: Cells a side of the field that opacities are made from: patches of about a quarter of the film.
OPACITY_CELLS = 4
#: Rows and columns of the dots that stand for one line of text.
TEXT_DOTS = (6, 24)
#: Half the width of the blurring kernel, px.
BLUR_REACH = 4


def on_the_film(images: Any, config: AugmentConfig, draws: _Draws) -> Any:
    """Return images (N, S, S, C) in [0, 1] with opacities, tubes and text as the config wants them."""
    if config.opacity:
        images = with_opacity(images, config.opacity, draws)
    for _ in range(config.tubes):
        images = with_tube(images, draws)
    if config.text:
        images = with_text(images, config.text, draws)
    return images


def in_the_file(images: Any, config: AugmentConfig, draws: _Draws) -> Any:
    """Return images (N, S, S, C) in [0, 1] blurred and compressed as the config wants them."""
    if config.blur:
        images = blurred(images, draws.uniform(0.0, config.blur))
    if config.jpeg != (100, 100):
        images = compressed(images, draws.uniform(*map(float, config.jpeg)))
    return images


def with_opacity(images: Any, strength: float, draws: _Draws) -> Any:
    """Return images with smooth white patches, as consolidation and effusion make them.

    A patch takes up to `strength` of what is left to white: dark lungs turn as white as the heart, bones stay.
    """
    cells = draws.normal_field((OPACITY_CELLS, OPACITY_CELLS))
    field = tf.image.resize(cells, tf.shape(images)[1:3], method="bicubic")
    share = tf.clip_by_value(field, 0.0, 1.0) * draws.uniform(0.0, strength)[:, None, None, None]
    return images + (1.0 - images) * share


def with_tube(images: Any, draws: _Draws) -> Any:
    """Return images, each with one bright curved line, from above or from the side, or (a third of them) none."""
    rows, columns = _grid(images)
    start, slope = draws.uniform(0.1, 0.9), draws.uniform(-0.6, 0.6)
    bend, width = draws.uniform(-0.8, 0.8), draws.uniform(0.004, 0.012)
    light, aside = draws.uniform(-0.25, 0.5), draws.uniform(0.0, 1.0) < 0.5
    along, across = tf.where(_film(aside), columns, rows), tf.where(_film(aside), rows, columns)
    centre = _film(start) + _film(slope) * (along - 0.5) + _film(bend) * (along - 0.5) ** 2
    near = tf.exp(-(((across - centre) / _film(width)) ** 2))
    return tf.clip_by_value(images + (near * _film(tf.maximum(light, 0.0)))[..., None], 0.0, 1.0)


def with_text(images: Any, probability: float, draws: _Draws) -> Any:
    """Return images, some of them with a line of white dots, the size of burnt-in letters, near a border."""
    rows, columns = _grid(images)
    height, width = draws.uniform(0.02, 0.06), draws.uniform(0.05, 0.3)
    top = draws.uniform(0.0, 0.18)
    top = tf.where(draws.uniform(0.0, 1.0) < 0.5, top, 1.0 - height - top)
    left = draws.uniform(0.0, 1.0) * (1.0 - width)
    written = draws.uniform(0.0, 1.0) < probability
    down, right = (rows - _film(top)) / _film(height), (columns - _film(left)) / _film(width)
    inside = (down >= 0) & (down < 1) & (right >= 0) & (right < 1) & _film(written)
    lights = draws.normal_field(TEXT_DOTS)[..., 0] > 0
    place = tf.stack(
        [tf.clip_by_value(down, 0, 0.999) * TEXT_DOTS[0], tf.clip_by_value(right, 0, 0.999) * TEXT_DOTS[1]], -1
    )
    lit = inside & tf.gather_nd(lights, tf.cast(place, tf.int32), batch_dims=1)
    return tf.where(lit[..., None], _film(draws.uniform(0.7, 1.0))[..., None], images)


def blurred(images: Any, deviations: Any) -> Any:
    """Return images, each under a Gaussian of its own standard deviation, px; 0 changes nothing.

    Borders repeat their last pixel. A deviation above half of `BLUR_REACH` is cut at the kernel's edge.
    """
    count, side, channels = tf.shape(images)[0], images.shape[1], images.shape[3]
    steps = tf.range(-BLUR_REACH, BLUR_REACH + 1, dtype=tf.float32)
    kernels = tf.exp(-0.5 * (steps[:, None] / tf.maximum(deviations, 1e-3)[None, :]) ** 2)
    kernels = tf.repeat(kernels / tf.reduce_sum(kernels, axis=0), channels, axis=1)[:, None, :, None]
    # One film a channel: a depthwise convolution then has a kernel for each film.
    planes = tf.reshape(tf.transpose(images, [1, 2, 0, 3]), [1, side, side, count * channels])
    around = [[0, 0], [BLUR_REACH] * 2, [BLUR_REACH] * 2, [0, 0]]
    planes = tf.pad(planes, around, "SYMMETRIC")
    planes = tf.nn.depthwise_conv2d(planes, kernels, [1, 1, 1, 1], "VALID")
    planes = tf.nn.depthwise_conv2d(planes, tf.transpose(kernels, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")
    return tf.transpose(tf.reshape(planes, [side, side, count, channels]), [2, 0, 1, 3])


def compressed(images: Any, qualities: Any) -> Any:
    """Return images written as JPEG and read again, each with its own quality, 1 to 100; each channel by itself."""
    side, channels = images.shape[1], images.shape[3]
    planes = tf.reshape(tf.transpose(images, [0, 3, 1, 2]), [-1, side, side, 1])
    planes = tf.cast(tf.round(planes * 255.0), tf.uint8)
    each = tf.repeat(tf.cast(qualities, tf.int32), channels)

    def once(pair: tuple[Any, Any]) -> Any:
        return tf.ensure_shape(tf.image.adjust_jpeg_quality(pair[0], pair[1]), [side, side, 1])

    planes = tf.map_fn(once, (planes, each), fn_output_signature=tf.uint8)
    planes = tf.transpose(tf.reshape(planes, [-1, channels, side, side]), [0, 2, 3, 1])
    return tf.cast(planes, tf.float32) / 255.0


def _grid(images: Any) -> tuple[Any, Any]:
    """Return row and column of every pixel, (1, S, S), of [0, 1)."""
    side = images.shape[1]
    steps = (tf.range(side, dtype=tf.float32) + 0.5) / side
    rows, columns = tf.meshgrid(steps, steps, indexing="ij")
    return rows[None], columns[None]


def _film(values: Any) -> Any:
    """Return one value a film, (N,), as (N, 1, 1)."""
    return values[:, None, None]
