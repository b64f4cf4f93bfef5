"""What a picture takes to decode, by its header: colour takes more than grey, and a small file may ask for much."""

from __future__ import annotations

from PIL import Image

from covidcxr_tf.errors import ImageError

GREY_BYTES = 6
"""Bytes a pixel that grey of 8 or 16 bits takes at the most crowded moment; `max_pixels` is meant for it."""

COLOUR_BYTES = {"P": 12, "PA": 12, "LA": 9, "RGB": 9, "RGBX": 9, "RGBA": 10, "CMYK": 13, "YCbCr": 13, "F": 14}
"""Measured at 40 Mpx and rounded up: what PIL holds, a copy of it, and the film."""

WEBP_BYTES = 18
DEEP_COLOUR_BYTES = 32
"""Of 16-bit colour, which is decoded twice."""


def check_cost(image: Image.Image, max_pixels: int, where: str) -> None:
    """Refuse a picture that takes more memory than `max_pixels` of grey do (600 MB unless the caller says otherwise).

    Raises
    ------
    ImageError
        By its header, before a pixel is decoded.
    """
    pixels, most = image.width * image.height, GREY_BYTES * max_pixels
    if pixels * _bytes_a_pixel(image) > most:
        raise ImageError(
            f"{image.height}x{image.width} = {pixels} pixels of {image.format} in {image.mode} are too many",
            where=where,
            expected=f"at most {most // _bytes_a_pixel(image)} of this kind",
            remedy="save it as 8- or 16-bit grey, or raise max_pixels if the film is really so large",
        )


def _bytes_a_pixel(image: Image.Image) -> int:
    if image.format == "WEBP":
        return WEBP_BYTES
    stored = " ".join(str(tile[3]) for tile in getattr(image, "tile", []))
    if ";16" in stored and image.mode in ("RGB", "RGBA"):
        return DEEP_COLOUR_BYTES
    kind = "P" if image.format == "GIF" else image.mode
    return COLOUR_BYTES.get(kind, GREY_BYTES)
