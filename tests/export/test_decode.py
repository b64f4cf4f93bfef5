"""Files decoded in the graph: the same pixels as `read_image`, the same refusals."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covidcxr_tf.errors import ImageError
from covidcxr_tf.export.decode import read_film
from covidcxr_tf.export.headers import MAX_PIXELS
from covidcxr_tf.imaging.reading import read_image

Reader = Callable[[bytes], tuple[Any, Any]]


@pytest.fixture(scope="module")
def read() -> Reader:
    traced = tf.function(read_film, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    return lambda content: tuple(value.numpy() for value in traced(tf.constant(content)))


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(len(shape) + shape[0]).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


GREY = Image.fromarray(noise(70, 50))
COLOUR = Image.fromarray(noise(50, 70, 3))
CLEAR = Image.fromarray(noise(60, 40, 4))
PALETTE = COLOUR.quantize(60)
SMOOTH = Image.fromarray(np.add.outer(np.arange(80), np.arange(90)).astype(np.uint8))

READABLE: dict[str, bytes] = {
    "png grey": saved(GREY, "PNG"),
    "png grey, a transparent level": saved(GREY, "PNG", transparency=5),
    "png grey 16 bit": saved(Image.fromarray(noise(40, 60, dtype=np.uint16)), "PNG"),
    "png 1 bit": saved(GREY.convert("1"), "PNG"),
    "png palette": saved(PALETTE, "PNG"),
    "png palette 4 bit": saved(GREY.quantize(16), "PNG", bits=4),
    "png palette, transparent colour": saved(PALETTE, "PNG", transparency=5),
    "png colour": saved(COLOUR, "PNG"),
    "png colour, a transparent level": saved(COLOUR, "PNG", transparency=(1, 2, 3)),
    "png colour alpha": saved(CLEAR, "PNG"),
    "png colour, alpha the same everywhere": saved(COLOUR.convert("RGBA"), "PNG"),
    "png grey alpha": saved(CLEAR.convert("LA"), "PNG"),
    "png colour 16 bit": cv2.imencode(".png", noise(50, 60, 3, dtype=np.uint16))[1].tobytes(),
    "png colour alpha 16 bit": cv2.imencode(".png", noise(50, 60, 4, dtype=np.uint16))[1].tobytes(),
    "jpeg grey": saved(SMOOTH, "JPEG", quality=70),
    "jpeg colour": saved(COLOUR, "JPEG", quality=70),
    "jpeg progressive": saved(COLOUR, "JPEG", progressive=True),
    "bmp grey": saved(GREY, "BMP"),
    "bmp palette": saved(PALETTE, "BMP"),
    "bmp colour": saved(COLOUR, "BMP"),
    "gif": saved(GREY, "GIF"),
    "gif palette": saved(PALETTE, "GIF"),
    "gif of three pictures": saved(GREY, "GIF", save_all=True, append_images=[SMOOTH.resize(GREY.size), GREY]),
    **{f"jpeg orientation {n}": saved(SMOOTH, "JPEG", exif=oriented(n)) for n in range(1, 9)},
    **{f"png orientation {n}": saved(SMOOTH, "PNG", exif=oriented(n)) for n in (1, 6)},
    "jpeg, EXIF broken": saved(SMOOTH, "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\xff\xff"),
}


@pytest.mark.parametrize("kind", READABLE)
def test_the_same_pixels_as_read_image(kind: str, read: Reader) -> None:
    film, readable = read(READABLE[kind])
    assert readable
    assert film.dtype == np.float32
    np.testing.assert_array_equal(film, read_image(READABLE[kind]))


def test_what_read_image_refuses_is_unreadable(read: Reader, bad_files: dict[str, bytes]) -> None:
    kinds = {kind: content for kind, content in bad_files.items() if kind != "webp"}
    for kind, content in kinds.items():
        with pytest.raises(ImageError):
            read_image(content, max_pixels=MAX_PIXELS)
        film, readable = read(content)
        assert not readable, kind
        assert film.size == 0


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("CMYK", saved(COLOUR.convert("CMYK"), "JPEG")),
        ("1-bit BMP", saved(GREY.convert("1"), "BMP")),
        ("WebP", saved(GREY, "WEBP")),
        ("TIFF", saved(GREY, "TIFF")),
    ],
)
def test_kinds_that_the_server_has_to_turn_into_png(kind: str, content: bytes, read: Reader) -> None:
    assert read_image(content).size
    assert not read(content)[1], kind


def test_many_scans_are_refused(read: Reader) -> None:
    # A scan of a progressive file once more and once more: small to send, and each costs the whole picture.
    content = READABLE["jpeg progressive"]
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    few, many = content[:-2] + 3 * scan + b"\xff\xd9", content[:-2] + 200 * scan + b"\xff\xd9"
    assert read(few)[1]
    assert not read(many)[1]


def test_any_bytes_after_any_magic_harm_nothing(read: Reader) -> None:
    random = np.random.default_rng(0)
    for magic in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b"GIF89a", b""):
        for length in (0, 1, 40, 600):
            content = magic + random.integers(0, 256, length).astype(np.uint8).tobytes()
            assert not read(content)[1]


def test_each_cut_of_a_film_is_unreadable(read: Reader) -> None:
    for kind in ("png grey", "jpeg grey", "bmp grey", "gif"):
        content = READABLE[kind]
        for end in np.linspace(0, len(content) - 60, 12).astype(int):
            assert not read(content[:end])[1], (kind, end)
