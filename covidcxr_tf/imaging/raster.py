"""Decoding of PNG, JPEG, WebP, TIFF, BMP and GIF into grey films.

One header-only pass (`raster_size`) and one full one (`decode_raster`, `decode_mask`), both on a seekable stream, by
content alone. PIL decodes; OpenCV takes over for 16-bit colour, which PIL cuts to 8 bits.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.greying import grey
from covidcxr_tf.imaging.jpeg_check import jpeg_fault
from covidcxr_tf.imaging.opening import check_size, decoding
from covidcxr_tf.imaging.pieces import check_pieces
from covidcxr_tf.imaging.raster_cost import check_cost

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")

_ORIENTATION_TAG = 0x0112
_BITS_TAG = 258
_PHOTOMETRIC_TAG = 262
_PLANAR_TAG = 284
_SAMPLE_FORMAT_TAG = 339
_SIGNED = 2


def raster_size(stream: BinaryIO, where: str) -> tuple[int, int]:
    """Return (rows, columns) of the upright picture from the header.

    Raises
    ------
    ImageError
        If the content is of none of `FORMATS`.
    """
    image = open_raster(stream, where)
    with decoding(where, f"{image.format} header"):
        columns, rows = image.size
        # PIL tells a TIFF's upright size, and would decode a PNG to look for an orientation behind its pixels.
        as_stored = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        if as_stored and _orientation(image) >= 5:
            return columns, rows
        return rows, columns


def decode_raster(
    stream: BinaryIO, where: str, frame: int | None, max_pixels: int, tolerate_damage: bool = False
) -> npt.NDArray[np.float32]:
    """Return the picture as float32 (rows, columns) in [0, 1], upright.

    Levels are divided by the highest level of their type (255, 65535, 4095 for 12 bits), never by the picture's own
    maximum. Colour becomes ITU-R BT.601 luma (`greying.LUMA`), kept as a fraction. An alpha channel that is the same
    everywhere is ignored; any other one lays the picture over black. A single transparent level of a grey or RGB
    picture, ICC profiles and gamma chunks are ignored: they speak about screens. `tolerate_damage` leaves out the
    checks that PIL does not make itself (checksums of PNG, `jpeg_check`); what PIL cannot decode stays an error.

    Raises
    ------
    ImageError
        If the content is damaged, of another kind, too large, too small, or has no nominal range.
    """
    levels, top = _load(stream, where, frame, max_pixels, tolerate_damage)
    return grey(levels, top)


def decode_mask(stream: BinaryIO, where: str, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Return 1 where the drawn mask is non-zero and 0 elsewhere, uint8 (rows, columns), upright.

    A palette counts by its colours (black is outside), an alpha of 0 is outside, and a mask of one colour on a
    transparent ground is read from its alpha. JPEG blurs edges, so there a level counts from half of the range on.

    Raises
    ------
    ImageError
        As `decode_raster`.
    """
    levels, _ = _load(stream, where, None, max_pixels)
    lossy = levels.dtype == np.uint8 and _is_jpeg(stream)
    floor = 127 if lossy else 0
    if levels.ndim == 2:
        return (levels > floor).astype(np.uint8)
    colours = levels[..., :3] if levels.shape[2] >= 3 else levels[..., :1]
    inside = np.any(colours > floor, axis=2)
    if levels.shape[2] in (2, 4):
        alpha = levels[..., -1] > 0
        one_colour = bool((colours == colours[:1, :1]).all())
        inside = alpha if one_colour and not alpha.all() else inside & alpha
    return np.asarray(inside, dtype=np.uint8)


def open_raster(stream: BinaryIO, where: str) -> Image.Image:
    """Return the lazily opened PIL image: header read, no pixel decoded.

    Raises
    ------
    ImageError
        If the content is of none of `FORMATS`, or its header is damaged.
    """
    with decoding(where, "picture header"):
        check_pieces(stream, where)
        stream.seek(0)
        try:
            return Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError as cause:
            raise ImageError(
                f"holds no picture that can be read (it begins with {_first_bytes(stream)})",
                where=where,
                expected="PNG, JPEG, WebP, TIFF (8 or 16 bits, or float32), BMP, GIF or DICOM",
            ) from cause
        except Image.DecompressionBombError as cause:
            raise ImageError(f"is too large ({cause})", where=where) from cause


def _first_bytes(stream: BinaryIO) -> str:
    stream.seek(0)
    return repr(stream.read(8))


def _is_jpeg(stream: BinaryIO) -> bool:
    stream.seek(0)
    return stream.read(2) == b"\xff\xd8"


def _load(
    stream: BinaryIO, where: str, frame: int | None, max_pixels: int, tolerate_damage: bool = False
) -> tuple[npt.NDArray[Any], float]:
    """Return upright levels and the highest level of their type."""
    image = open_raster(stream, where)
    kind = image.format or "picture"
    with decoding(where, kind):
        check_size(image.height, image.width, max_pixels, where)
        check_cost(image, max_pixels, where)
        if not tolerate_damage:
            _check_whole(stream, kind, where)
        _seek(image, frame, where)
        check_size(image.height, image.width, max_pixels, where)
        check_cost(image, max_pixels, where)
        _check_tags(image, where)
        premultiplied, deep = _storage(image)
        image.load()
        orientation = _orientation(image)
        if deep:
            levels, top = _deep_colour(stream, image, frame, orientation, where), 65535.0
            levels = levels[..., :3] if premultiplied or image.mode == "RGB" else levels
        else:
            levels, top = _levels(image, where)
        return _upright(levels, orientation), top


def _check_whole(stream: BinaryIO, kind: str, where: str) -> None:
    """Look for damage that PIL passes over: checksums of a PNG's pixels, and the codes of a JPEG's."""
    stream.seek(0)
    if kind == "PNG":
        Image.open(stream, formats=("PNG",)).verify()
    elif kind in ("JPEG", "MPO"):
        fault = jpeg_fault(stream.read())
        if fault:
            raise ImageError(f"the JPEG is damaged: {fault}", where=where, remedy="get the original file again")


def _seek(image: Image.Image, frame: int | None, where: str) -> None:
    if frame is None:
        return
    count = getattr(image, "n_frames", 1)
    if not 0 <= frame < count:
        raise ImageError(f"has no frame {frame}", where=where, expected=f"0 to {count - 1}")
    image.seek(frame)


def _check_tags(image: Image.Image, where: str) -> None:
    """Refuse TIFF layouts that the decoders read wrongly without a word."""
    tags = getattr(image, "tag_v2", {})
    formats, bits = tags.get(_SAMPLE_FORMAT_TAG, (1,)), tags.get(_BITS_TAG, (1,))
    if _SIGNED in (formats if isinstance(formats, tuple) else (formats,)):
        raise ImageError(
            "a TIFF of signed levels has no nominal range", where=where, expected="unsigned levels or floats"
        )
    if tags.get(_PLANAR_TAG, 1) != 1 and len(bits) > 1 and max(bits) > 8:
        raise ImageError("a TIFF of 16-bit colour in separate planes", where=where, remedy="save it as 16-bit grey")


def _storage(image: Image.Image) -> tuple[bool, bool]:
    """Return whether the stored colours are premultiplied by alpha, and whether they are of 16 bits."""
    stored = " ".join(str(tile[3]) for tile in getattr(image, "tile", []))
    return "RGBa" in stored, ";16" in stored and image.mode in ("RGB", "RGBA")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1 to 8, 1 where there is none; PIL has already turned a loaded TIFF."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block beside a whole picture says nothing about its orientation
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(levels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo EXIF orientation `orientation` (CIPA DC-008, table of tag 0x0112)."""
    if orientation >= 5:
        levels = levels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    return np.ascontiguousarray(levels)


def _levels(image: Image.Image, where: str) -> tuple[npt.NDArray[Any], float]:
    """Return the levels of a loaded PIL image, (rows, columns[, channels]), and the highest level of their type."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _wide_grey(image)
    if mode == "F":
        return _float_grey(image, where), 1.0
    if mode == "1":
        image = image.convert("L")
    elif mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif mode in ("La", "RGBa"):
        image = image.convert("LA" if mode == "La" else "RGBA")
    elif mode in ("RGBX", "CMYK", "YCbCr", "HSV"):
        image = image.convert("RGB")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        raise ImageError(
            f"pixels of mode {mode} have no nominal range",
            where=where,
            expected="8- or 16-bit unsigned levels, or floats in [0, 1]",
        )
    return np.asarray(image), 255.0


def _wide_grey(image: Image.Image) -> tuple[npt.NDArray[np.uint16], float]:
    tags = getattr(image, "tag_v2", {})
    bits = int(tags.get(_BITS_TAG, (16,))[0])
    levels = np.asarray(image).astype(np.uint16, copy=False)
    top = 2**bits - 1
    if tags.get(_PHOTOMETRIC_TAG) == 0:  # white is zero: PIL inverts 1 to 8 bits, not 16
        levels = (top - levels).astype(np.uint16)
    return levels, float(top)


def _float_grey(image: Image.Image, where: str) -> npt.NDArray[np.float32]:
    levels = np.asarray(image, dtype=np.float32)
    bad = ~((levels >= 0) & (levels <= 1))
    if bad.any():
        row, column = (int(index) for index in np.argwhere(bad)[0])
        raise ImageError(
            f"the float level in pixel row {row}, column {column} is {levels[row, column]}",
            where=where,
            expected="floats in [0, 1]",
            remedy="scale the film, or save it as 16-bit integers",
        )
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0:
        levels = 1 - levels
    return levels


def _deep_colour(
    stream: BinaryIO, image: Image.Image, frame: int | None, orientation: int, where: str
) -> npt.NDArray[np.uint16]:
    """Return 16-bit RGB or RGBA levels through OpenCV; only what PIL has decoded without a fault comes here."""
    if frame or getattr(image, "is_animated", False):
        raise ImageError("16-bit colour in one of several frames", where=where, remedy="save the frame alone")
    stream.seek(0)
    levels = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3 or levels.shape[2] not in (3, 4):
        raise ImageError("16-bit colour of a kind that cannot be read", where=where, remedy="save it as 16-bit grey")
    order = [2, 1, 0, 3][: levels.shape[2]]
    return levels[..., order]
