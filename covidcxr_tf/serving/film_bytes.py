"""Films in formats that TensorFlow cannot decode, turned into PNG before they reach the graph."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.opening import decoding
from covidcxr_tf.imaging.raster import open_raster
from covidcxr_tf.imaging.reading import encode_png16, read_image
from covidcxr_tf.serving.limits import Limits

IMAGE_INPUT = "image_bytes"
"""Name of the inputs that hold whole image files."""

_ORIENTATION_TAG = 0x0112
_PNG, _JPEG, _BMP, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8"
#: Without one of these a PNG says nothing about its orientation; looking for it costs PIL a whole decode.
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp")


def upright_png(data: bytes, limits: Limits) -> bytes:
    """Return image bytes that the exported graph can decode upright.

    PNG and JPEG without an EXIF rotation, BMP and GIF come back as they are, bit for bit. WebP, TIFF, DICOM and rotated
    PNG and JPEG become a 16-bit grey PNG, upright, bone bright, as `read_image` gives them.

    Parameters
    ----------
    data : bytes
        One file.
    limits : Limits
        Its `max_pixels` is judged by the header, before anything is decoded.

    Returns
    -------
    bytes
        What cannot be read comes back unchanged, so that the graph answers status 1 for it and for no other film. A
        rotated film that cannot be read is left empty: the graph might decode it, and then the wrong way up.
    """
    if data.startswith((_BMP, _GIF)):
        return data
    readable = data.startswith((_PNG, _JPEG))
    if readable and not _is_rotated(data, limits.max_pixels):
        return data
    try:
        return encode_png16(read_image(data, max_pixels=limits.max_pixels, name="film"))
    except ImageError:
        return b"" if readable else data


def upright_films(films: npt.NDArray[np.object_], limits: Limits) -> npt.NDArray[np.object_]:
    """Return the array of files with `upright_png` applied to each."""
    turned = np.empty(films.shape, dtype=object)
    for place in np.ndindex(films.shape):
        film = films[place]
        turned[place] = upright_png(film, limits) if isinstance(film, bytes) else film
    return turned


def _is_rotated(data: bytes, max_pixels: int) -> bool:
    if data.startswith(_PNG) and not any(mark in data for mark in _PNG_EXIF):
        return False
    try:
        image = open_raster(io.BytesIO(data), "film")
        if image.width * image.height > max_pixels:
            return False  # its orientation lies behind pixels that are too many to decode; the graph refuses it
        with decoding("film", "EXIF block"):
            return image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9)
    except ImageError:
        return False
