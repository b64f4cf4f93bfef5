"""One film, enhanced, as pictures for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from covidcxr_tf.catalog import resolve
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import replacing
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import read_image

GAMMA_METHODS = ("beasf", "three-channel", "universal")
GAP_PX = 8


def enhance_film(
    source: str | Path, out: str | Path, method: str = "clahe", gamma: float | None = None, frame: int | None = None
) -> list[Path]:
    """Write an enhanced film and a comparison with the film as it was; return both paths.

    Parameters
    ----------
    source : path
        The film; read as `reading.read_image` reads it, then cut to 8 bit. Neither resized nor cropped.
    out : path
        Folder, made if need be. Gets ``<stem>_<method>.png`` and ``<stem>_<method>_comparison.png``.
    method : str
        A name of `catalog.ENHANCERS`. "three-channel" gives a colour picture: BEASF red, CLAHE green, the film blue.
    gamma : float, optional
        Above 0: slope of BEASF (1.5 if left out), or exponent of "universal" (0.5).
    frame : int, optional
        Which frame of a multi-frame film, from 0.

    Returns
    -------
    list of Path
        The enhanced film, the comparison.

    Raises
    ------
    ImageError
        If the film cannot be read.
    UsageError
        If the method is unknown, or `gamma` is not above 0 or given for a method without one.
    """
    enhancer = resolve("enhancers", method)
    if gamma is not None and method not in GAMMA_METHODS:
        raise UsageError(f"method '{method}' has no gamma", expected=f"gamma only with {', '.join(GAMMA_METHODS)}")
    if gamma is not None and not 0 < gamma < float("inf"):
        raise UsageError(f"gamma {gamma}", expected="a number above 0")
    image = to_uint8(read_image(source, frame=frame))
    enhanced = enhancer(image) if gamma is None else enhancer(image, gamma=gamma)
    label = method if gamma is None else f"{method}, gamma {gamma:g}"
    stem = f"{Path(source).stem}_{method}"
    pictures = {
        Path(out) / f"{stem}.png": Image.fromarray(enhanced),
        Path(out) / f"{stem}_comparison.png": side_by_side(image, enhanced, ("film", label)),
    }
    for path, picture in pictures.items():
        with replacing(path) as aside:
            picture.save(aside)
    return list(pictures)


def side_by_side(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8], captions: tuple[str, str]) -> Image.Image:
    """Return two pictures of one size beside each other, each under its caption.

    Parameters
    ----------
    left, right : uint8 (H, W) or (H, W, 3)
    captions : two str

    Returns
    -------
    PIL.Image.Image
        RGB, a line of captions above and an 8 px gap between.
    """
    rows, columns = left.shape[:2]
    caption_px = max(16, rows // 32)
    sheet = Image.new("RGB", (2 * columns + GAP_PX, rows + caption_px), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(0.7 * caption_px)
    for first, picture, caption in zip((0, columns + GAP_PX), (left, right), captions):
        sheet.paste(Image.fromarray(picture).convert("RGB"), (first, caption_px))
        pen.text((first + 4, 0.1 * caption_px), caption, fill="black", font=font)
    return sheet
