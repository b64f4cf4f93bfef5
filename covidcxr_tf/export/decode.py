"""PNG, JPEG, BMP and GIF to grey films, in TensorFlow operations; twin of `imaging.reading` for these kinds.

Levels are divided by the highest level of their type, colour becomes ITU-R BT.601 luma, alpha that varies lays the
picture over black, EXIF-rotated films are turned upright: the same numbers as `read_image` gives.

What differs from `read_image`: damage inside a JPEG over which libjpeg paints is not found (`jpeg_check` has no
twin), CMYK and compressed BMP are unreadable, and so is every other kind (WebP, TIFF, DICOM).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from covidcxr_tf.export import headers
from covidcxr_tf.export.guard import guarded
from covidcxr_tf.imaging.graph_levels import divide
from covidcxr_tf.imaging.greying import LUMA

PNG_GREY, PNG_COLOUR, PNG_PALETTE, PNG_GREY_ALPHA, PNG_COLOUR_ALPHA = 0, 2, 3, 4, 6


def read_film(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the film and whether it could be read.

    Parameters
    ----------
    content : string []
        A file's bytes, anything.

    Returns
    -------
    film : float32 [H, W]
        In [0, 1], upright; [0, 0] where it could not be read.
    readable : bool []
        False for what is no picture, damaged, smaller than 32 px a side, larger than 40 Mpx, or the same everywhere.
    """
    film = guarded(_decoded, content, tf.zeros([0, 0], tf.float32))
    film = tf.ensure_shape(film, [None, None])
    return film, tf.size(film) > 0


def _decoded(content: tf.Tensor) -> tf.Tensor:
    known = headers.kind(content)
    branches = {
        headers.PNG: lambda: _png(content),
        headers.JPEG: lambda: _jpeg(content),
        headers.BMP: lambda: _bmp(content),
        headers.GIF: lambda: _gif(content),
    }
    with tf.control_dependencies([tf.debugging.assert_less(known, headers.UNKNOWN)]):
        film = tf.ensure_shape(tf.switch_case(known, branches), [None, None])
    varies = tf.debugging.assert_greater(tf.reduce_max(film), tf.reduce_min(film))
    with tf.control_dependencies([headers.fits(tf.shape(film)[0], tf.shape(film)[1]), varies]):
        return tf.identity(film)


def _png(content: tf.Tensor) -> tf.Tensor:
    head = tf.ensure_shape(headers.octets(content, 12, 14), [14])
    depth, colour = head[12], head[13]
    is_header = tf.debugging.assert_equal(tf.strings.substr(content, 12, 4), b"IHDR")
    size_fits = headers.fits(headers.big_endian(head[8:12]), headers.big_endian(head[4:8]))

    def decoded(channels: int, dtype: tf.DType) -> tf.Tensor:
        return tf.io.decode_png(content, channels=channels, dtype=dtype)

    def of_type(dtype: tf.DType, top: float) -> Callable[[], tf.Tensor]:
        return lambda: tf.switch_case(
            colour,
            {
                PNG_GREY: lambda: grey(decoded(1, dtype), top),
                PNG_COLOUR: lambda: grey(decoded(3, dtype), top),
                PNG_PALETTE: lambda: grey(decoded(4, dtype), top),
                PNG_GREY_ALPHA: lambda: grey(decoded(4, dtype), top),
                5: lambda: tf.zeros([0, 0], tf.float32),
                PNG_COLOUR_ALPHA: lambda: grey(decoded(4, dtype), top),
                1: lambda: tf.zeros([0, 0], tf.float32),
            },
        )

    with tf.control_dependencies([is_header, size_fits]):
        film = tf.cond(depth == 16, of_type(tf.uint16, 65535.0), of_type(tf.uint8, 255.0))
    return upright(film, headers.orientation(content, headers.png_exif(content)))


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    size = tf.io.extract_jpeg_shape(content)

    def decoded(channels: int) -> tf.Tensor:
        # The exact transform, as PIL's: TensorFlow's default is a faster one, several levels off.
        return tf.io.decode_jpeg(content, channels=channels, dct_method="INTEGER_ACCURATE")

    plain = tf.debugging.assert_equal((size[2] == 1) | (size[2] == 3), True)
    with tf.control_dependencies([headers.fits(size[0], size[1]), plain, headers.few_scans(content)]):
        film = tf.cond(size[2] == 1, lambda: grey(decoded(1), 255.0), lambda: grey(decoded(3), 255.0))
    return upright(film, headers.orientation(content, headers.jpeg_exif(content)))


def _gif(content: tf.Tensor) -> tf.Tensor:
    return grey(tf.io.decode_gif(headers.first_gif_picture(content))[0], 255.0)


def _bmp(content: tf.Tensor) -> tf.Tensor:
    # The fields of BITMAPINFOHEADER from byte 14 on.
    head = tf.ensure_shape(headers.octets(content, 14, 36), [36])
    size, compression = headers.little_endian(head[0:4]), headers.little_endian(head[16:20])
    columns = headers.little_endian(head[4:8])
    signed = headers.little_endian(head[8:12])  # negative: the first row comes first
    rows = tf.abs(tf.where(signed >= 2**31, signed - 2**32, signed))
    bits, colours = headers.little_endian(head[14:16]), headers.little_endian(head[32:36])
    plain = tf.debugging.assert_equal((size >= 40) & (compression == 0), True)

    def palette() -> tf.Tensor:
        used = tf.where(colours == 0, tf.constant(256, tf.int64), colours)
        table = tf.reshape(headers.octets(content, 14 + size, 4 * used), [-1, 4])
        table = tf.cast(table[:, 2::-1], tf.uint8)  # stored as blue, green, red, 0
        levels = grey(table[tf.newaxis], 255.0)[0]
        return tf.gather(levels, tf.cast(tf.io.decode_bmp(content)[..., 0], tf.int32))

    branches = {
        1: palette,
        3: lambda: grey(tf.io.decode_bmp(content, channels=3), 255.0),
        4: lambda: grey(tf.io.decode_bmp(content, channels=4)[..., :3], 255.0),
        0: lambda: tf.zeros([0, 0], tf.float32),
        2: lambda: tf.zeros([0, 0], tf.float32),
    }
    known = tf.debugging.assert_equal((bits == 8) | (bits == 24) | (bits == 32), True)
    with tf.control_dependencies([headers.fits(rows, columns), plain, known]):
        return tf.switch_case(tf.cast(bits // 8, tf.int32), branches)


def grey(levels: tf.Tensor, top: float) -> tf.Tensor:
    """Return grey in [0, 1], float32 [H, W]; twin of `greying.grey`.

    Parameters
    ----------
    levels : uint8 or uint16 [H, W, channels]
        1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels.
    top : float
        Highest level of the type.
    """
    channels = levels.shape[-1]
    if channels >= 3:
        # Exact: the sums stay below 2**24 for 8 bits, below 2**53 for 16.
        exact = tf.float32 if levels.dtype == tf.uint8 else tf.float64
        red, green, blue = (tf.cast(levels[..., place], exact) * float(LUMA[place]) for place in range(3))
        film = divide(tf.cast(red + green + blue, tf.float32) * (1.0 / 65536.0), tf.constant(top))
    else:
        film = divide(tf.cast(levels[..., 0], tf.float32), tf.constant(top))
    if channels in (2, 4):
        alpha = levels[..., -1]
        whole = tf.cast(alpha, tf.int32)
        varies = tf.reduce_max(whole) > tf.reduce_min(whole)
        film = tf.where(varies, film * divide(tf.cast(alpha, tf.float32), tf.constant(top)), film)
    return film


def upright(film: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Return the film float32 [H, W] with an EXIF orientation 1 to 8 undone (CIPA DC-008, table of tag 0x0112)."""
    film = tf.cond(orientation >= 5, lambda: tf.transpose(film), lambda: film)
    down = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8], tf.int64))
    film = tf.cond(down, lambda: film[::-1], lambda: film)
    across = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7], tf.int64))
    return tf.cond(across, lambda: film[:, ::-1], lambda: film)
