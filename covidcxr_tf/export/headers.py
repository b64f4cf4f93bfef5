"""What the first bytes of a picture say of it, in TensorFlow operations: kind, size, orientation.

Everything here runs before a pixel is decoded, so that a small file that unfolds to gigabytes is turned away by what
its header tells. Whatever contradicts itself raises; `covidcxr_tf.export.guard` makes that "unreadable".
"""

from __future__ import annotations

import tensorflow as tf

from covidcxr_tf.export.guard import guarded
from covidcxr_tf.imaging.jpeg_check import MAX_SCANS
from covidcxr_tf.imaging.opening import MIN_SIDE

MAX_PIXELS = 40_000_000
"""Largest film that an exported model decodes; the largest detectors have 18 Mpx."""

MAX_SEGMENTS = 4096
"""Most segments of a JPEG before its pixels, most chunks of a PNG, that are walked in search of an orientation."""

MAX_EXTENSIONS, MAX_EXTENSION_BLOCKS = 64, 4096
"""Most extensions before a GIF's first picture, and most data blocks of one: each block is a step of a loop."""

MAX_PICTURE_BLOCKS = 200_000
"""Most data blocks of a GIF's picture; 51 MB where they are full, as every writer fills them."""

PNG, JPEG, BMP, GIF, UNKNOWN = range(5)
_ORIENTATION_TAG = 0x0112
_SHORT = 3


def kind(content: tf.Tensor) -> tf.Tensor:
    """Return PNG, JPEG, BMP, GIF or UNKNOWN, int32 [], by the first bytes; raises where there are fewer than 8."""
    first = tf.strings.substr(content, 0, 8)
    three, two, six = (tf.strings.substr(first, 0, count) for count in (3, 2, 6))
    found = tf.constant(UNKNOWN)
    found = tf.where((six == b"GIF87a") | (six == b"GIF89a"), GIF, found)
    found = tf.where(two == b"BM", BMP, found)
    found = tf.where(three == b"\xff\xd8\xff", JPEG, found)
    return tf.where(first == b"\x89PNG\r\n\x1a\n", PNG, found)


def octets(content: tf.Tensor, start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """Return bytes `start` to `start + count` as int32 [count]; raises where they are not all there."""
    first, wanted = tf.cast(start, tf.int64), tf.cast(count, tf.int64)
    piece = tf.strings.substr(content, first, wanted)
    whole = tf.debugging.assert_equal(tf.cast(tf.strings.length(piece), tf.int64), wanted)
    with tf.control_dependencies([whole]):
        return tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.int32)


def big_endian(values: tf.Tensor) -> tf.Tensor:
    """Return the number int64 [...] in bytes int32 [..., count], the highest first."""
    count = values.shape[-1]
    weights = tf.constant([256 ** (count - 1 - place) for place in range(count)], tf.int64)
    return tf.reduce_sum(tf.cast(values, tf.int64) * weights, axis=-1)


def little_endian(values: tf.Tensor) -> tf.Tensor:
    """Return the number int64 [...] in bytes int32 [..., count], the lowest first."""
    return big_endian(values[..., ::-1])


def number(content: tf.Tensor, start: tf.Tensor | int, count: int, *, big: bool = False) -> tf.Tensor:
    """Return the whole number int64 [] in `count` bytes from `start`."""
    values = tf.ensure_shape(octets(content, start, count), [count])
    return big_endian(values) if big else little_endian(values)


def fits(rows: tf.Tensor, columns: tf.Tensor) -> tf.Operation:
    """Return the operation that raises unless a film of this size is read: at least 32 px a side, at most 40 Mpx."""
    rows, columns = tf.cast(rows, tf.int64), tf.cast(columns, tf.int64)
    small = tf.debugging.assert_greater_equal(tf.minimum(rows, columns), tf.constant(MIN_SIDE, tf.int64))
    # Each side alone first: the product of two 32-bit numbers stays within 64 bits, but keep it plain.
    large = tf.debugging.assert_less_equal(rows * columns, tf.constant(MAX_PIXELS, tf.int64))
    return tf.group(small, large)


def orientation(content: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
    """Return the EXIF orientation 1 to 8, int64 []; 1 where the block is broken or says nothing.

    Parameters
    ----------
    content : string []
        The file.
    exif : int64 [2]
        Where the TIFF header of the EXIF block begins, and its length; length 0: none.
    """

    def read(block: tf.Tensor) -> tf.Tensor:
        big = tf.strings.substr(block, 0, 2) == b"MM"

        def value(start: tf.Tensor | int, count: int) -> tf.Tensor:
            return tf.where(big, number(block, start, count, big=True), number(block, start, count))

        directory = value(4, 4)
        entries = value(directory, 2)
        table = tf.reshape(octets(block, directory + 2, 12 * entries), [-1, 12])

        def column(first: int) -> tf.Tensor:
            pair = table[:, first : first + 2]
            return tf.where(big, big_endian(pair), little_endian(pair))

        said = tf.boolean_mask(column(8), (column(0) == _ORIENTATION_TAG) & (column(2) == _SHORT))
        said = tf.concat([said, tf.ones([1], tf.int64)], axis=0)[0]
        return tf.where((said >= 1) & (said <= 8), said, tf.ones_like(said))

    upright = tf.constant(1, tf.int64)
    return tf.cond(
        exif[1] > 0,
        lambda: guarded(read, tf.strings.substr(content, exif[0], exif[1]), upright),
        lambda: upright,
    )


def jpeg_exif(content: tf.Tensor) -> tf.Tensor:
    """Return where the TIFF header of a JPEG's first EXIF block begins and how long it is, int64 [2]; 0, 0: none."""

    def going(_place: tf.Tensor, _found: tf.Tensor, done: tf.Tensor) -> tf.Tensor:
        return ~done

    def step(place: tf.Tensor, _found: tf.Tensor, _done: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        head = tf.ensure_shape(octets(content, place, 4), [4])
        marker, length = head[1], big_endian(head[2:])
        is_exif = (marker == 0xE1) & (_piece(content, place + 4, 6) == b"Exif\x00\x00")
        found = tf.where(is_exif, tf.stack([place + 10, tf.maximum(length - 8, 0)]), tf.zeros([2], tf.int64))
        # The scan begins: no EXIF after it. Padding between segments is left to the decoder.
        over = is_exif | (head[0] != 0xFF) | (marker == 0xDA) | (marker == 0xD9) | (marker == 0xFF) | (length < 2)
        return place + 2 + length, found, over

    nothing = tf.zeros([2], tf.int64)

    def walk(_: tf.Tensor) -> tf.Tensor:
        start = (tf.constant(2, tf.int64), nothing, tf.constant(False))
        return tf.while_loop(going, step, start, maximum_iterations=MAX_SEGMENTS)[1]

    return guarded(walk, tf.constant(0), nothing)


def few_scans(content: tf.Tensor) -> tf.Operation:
    """Return the operation that raises where a JPEG has more scans than `jpeg_check` allows.

    Each one costs a decoder the whole picture. The mark of a scan cannot stand in coded pixels; those of a thumbnail
    count, too.
    """
    octets_here = tf.io.decode_raw(content, tf.uint8)
    marks = (octets_here[:-1] == 0xFF) & (octets_here[1:] == 0xDA)
    return tf.debugging.assert_less_equal(tf.math.count_nonzero(marks), tf.constant(MAX_SCANS, tf.int64))


def png_exif(content: tf.Tensor) -> tf.Tensor:
    """Return where a PNG's ``eXIf`` chunk begins and how long it is, int64 [2]; 0, 0: none before the pixels."""

    def going(_place: tf.Tensor, _found: tf.Tensor, done: tf.Tensor) -> tf.Tensor:
        return ~done

    def step(place: tf.Tensor, _found: tf.Tensor, _done: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        length, name = (
            number(content, place, 4, big=True),
            _piece(content, place + 4, 4),
        )
        is_exif = name == b"eXIf"
        found = tf.where(is_exif, tf.stack([place + 8, length]), tf.zeros([2], tf.int64))
        return place + 12 + length, found, is_exif | (name == b"IEND")

    nothing = tf.zeros([2], tf.int64)

    def walk(_: tf.Tensor) -> tf.Tensor:
        start = (tf.constant(8, tf.int64), nothing, tf.constant(False))
        return tf.while_loop(going, step, start, maximum_iterations=MAX_SEGMENTS)[1]

    return guarded(walk, tf.constant(0), nothing)


def first_gif_picture(content: tf.Tensor) -> tf.Tensor:
    """Return the GIF cut after its first picture; raises where that one is not whole or too large.

    A decoder unfolds all frames to show the first one, and a small file can hold thousands.
    """
    screen = tf.ensure_shape(octets(content, 6, 5), [5])
    with tf.control_dependencies([fits(little_endian(screen[2:4]), little_endian(screen[0:2]))]):
        place = tf.constant(13, tf.int64) + _colour_table(screen[4])
    block = _past_extensions(content, place)
    picture = tf.ensure_shape(octets(content, block + 1, 9), [9])
    with tf.control_dependencies([fits(little_endian(picture[6:8]), little_endian(picture[4:6]))]):
        data = block + 10 + _colour_table(picture[8]) + 1
    end = _past_blocks(content, data, MAX_PICTURE_BLOCKS)
    return tf.strings.join([tf.strings.substr(content, tf.zeros_like(end), end), b";"])


def _colour_table(flags: tf.Tensor) -> tf.Tensor:
    """Return how many bytes the colour table takes that a flags byte announces, int64 []."""
    size = 3 * tf.bitwise.left_shift(tf.constant(2), tf.bitwise.bitwise_and(flags, 7))
    return tf.cast(tf.where(flags >= 128, size, 0), tf.int64)


def _past_extensions(content: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Return where the first picture's descriptor begins; raises where something else comes."""

    def is_extension(place: tf.Tensor) -> tf.Tensor:
        return _piece(content, place, 1) == b"!"

    def step(place: tf.Tensor) -> list[tf.Tensor]:
        return [_past_blocks(content, place + 2, MAX_EXTENSION_BLOCKS)]

    place = tf.while_loop(is_extension, step, [place], maximum_iterations=MAX_EXTENSIONS)[0]
    with tf.control_dependencies([tf.debugging.assert_equal(_piece(content, place, 1), b",")]):
        return tf.identity(place)


def _piece(content: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    """Return at most `count` bytes from `start` (int64); raises where there is none."""
    return tf.strings.substr(content, start, tf.constant(count, tf.int64))


def _past_blocks(content: tf.Tensor, place: tf.Tensor, most: int) -> tf.Tensor:
    """Return where a chain of at most so many data blocks ends, past its closing block of length 0; else raise."""

    def step(place: tf.Tensor, _length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = number(content, place, 1)
        return place + 1 + length, length

    first = (place, tf.constant(1, tf.int64))
    place, length = tf.while_loop(lambda _place, length: length > 0, step, first, maximum_iterations=most)
    with tf.control_dependencies([tf.debugging.assert_equal(length, tf.zeros_like(length))]):
        return tf.identity(place)
