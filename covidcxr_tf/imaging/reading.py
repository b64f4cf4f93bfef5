"""Films and masks from files: any format, any source, one array."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom import dicom_size, looks_like_dicom, may_be_headerless, read_dicom
from covidcxr_tf.imaging.opening import MAX_PIXELS, Source, opened, source_name
from covidcxr_tf.imaging.raster import decode_mask, decode_raster, raster_size

__all__ = [
    "MAX_PIXELS",
    "Source",
    "encode_png16",
    "find_images",
    "image_size",
    "is_image_path",
    "read_image",
    "read_mask",
]

SUFFIXES = re.compile(r"\.(a?png|jpg|jpeg|jpe|jfif|mpo|webp|tiff?|bmp|dib|gif|dcm|dicom|dic|ima)", re.IGNORECASE)


def read_image(
    source: Source,
    *,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
    any_view: bool = False,
    tolerate_damage: bool = False,
) -> npt.NDArray[np.float32]:
    """Return a film as float32 (rows, columns) in [0, 1], upright, bone bright.

    The content decides how it is read, not the name: PNG, JPEG, WebP, TIFF, BMP, GIF or DICOM. Levels are scaled by
    the nominal range of their type, so that a dark film stays dark. See `covidcxr_tf.imaging.raster` for colour (ITU-R
    BT.601 luma) and alpha, `covidcxr_tf.imaging.dicom` for DICOM.

    Parameters
    ----------
    source : str, Path, bytes or binary file object
        The film; a file object is read from where it stands.
    frame : int, optional
        Which frame of a multi-frame file, from 0. Left out: the first page of a TIFF and the first picture of a GIF,
        WebP or PNG; a multi-frame DICOM is refused.
    max_pixels : int
        Largest number of pixels, judged by the header before anything is decoded. PIL stops at 179 Mpx by itself.
    name : str, optional
        What errors call the film; its path by default.
    any_view : bool
        Also read a DICOM film that says it is lateral, oblique or decubitus.
    tolerate_damage : bool
        Also read a PNG or JPEG whose pixels can be decoded but are not what was written (see `jpeg_check`): a damaged
        film may look whole and still be wrong. Truncated files are refused all the same.

    Returns
    -------
    ndarray of float32, (rows, columns)
        In [0, 1], at least 32 pixels a side.

    Raises
    ------
    ImageError
        If the film is missing, damaged, of another kind, too small or too large, without a nominal range, or the same
        everywhere.
    """
    where = source_name(source, name)
    with opened(source, name) as stream:
        if looks_like_dicom(stream) or may_be_headerless(stream):
            stream.seek(0)
            film = read_dicom(stream, frame, max_pixels, where, any_view=any_view)
        else:
            film = decode_raster(stream, where, frame, max_pixels, tolerate_damage)
    _check_picture(film, where)
    return film


def _check_picture(film: npt.NDArray[np.float32], where: str) -> None:
    if film.min() == film.max():
        raise ImageError(f"no picture: every pixel is {film.flat[0]:.4g} of 1", where=where, expected="a film")


def image_size(source: Source, name: str | None = None) -> tuple[int, int]:
    """Return (rows, columns) of the upright film from its header; no pixel is decoded.

    Raises
    ------
    ImageError
        If there is no such file or its header cannot be read.
    """
    where = source_name(source, name)
    with opened(source, name) as stream:
        if looks_like_dicom(stream) or may_be_headerless(stream):
            return dicom_size(stream, where)
        return raster_size(stream, where)


def read_mask(source: Source, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> npt.NDArray[np.uint8]:
    """Return a drawn mask as uint8 (rows, columns), 1 where the file is non-zero (see `raster.decode_mask`), upright.

    A mask with nothing inside is returned as it is: whether that is a fault, the caller knows.

    Raises
    ------
    ImageError
        If the file is missing, damaged, too small, too large, or not a raster picture.
    """
    where = source_name(source, name)
    with opened(source, name) as stream:
        return decode_mask(stream, where, max_pixels)


def encode_png16(film: npt.NDArray[np.floating]) -> bytes:
    """Return the film as a 16-bit grey PNG, which `read_image` gives back to 1/131070.

    Parameters
    ----------
    film : ndarray of float, (rows, columns)
        In [0, 1]; clipped.
    """
    levels = np.clip(np.rint(np.asarray(film, dtype=np.float64) * 65535), 0, 65535).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def is_image_path(path: str | Path) -> bool:
    """Return whether the name can be a film's: a known suffix in any case, or none (as DICOM archives write them).

    Hidden files and ``DICOMDIR`` are not films.
    """
    name = Path(path).name
    if name.startswith(".") or name.upper() == "DICOMDIR":
        return False
    suffix = Path(name).suffix
    # Archives name DICOM files by their UID, whose last number looks like a suffix.
    return bool(SUFFIXES.fullmatch(suffix)) or suffix in ("", ".") or suffix[1:].isdigit()


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the films that `paths` name: a file as it is, a folder's films in sorted order, each path once.

    In folders a name decides (`is_image_path`); a file without a suffix must also begin as DICOM does.

    Raises
    ------
    ImageError
        If a path does not exist, or a folder holds no film.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if "" in given:
        # Path("") is the folder at hand: an unset shell variable would have all of it read.
        raise ImageError("an empty name", expected="a film or a folder", remedy="name '.' for this folder")
    found: dict[Path, None] = {}
    for path in map(Path, given):
        if path.is_dir():
            films = _films_in(path)
            if not films:
                raise ImageError(
                    "no film in this folder", where=path, expected="PNG, JPEG, WebP, TIFF, BMP, GIF or DICOM"
                )
            found.update(dict.fromkeys(films))
        elif path.exists():
            found[path] = None
        else:
            raise ImageError("no such file", where=path, remedy="check the path")
    return list(found)


def _films_in(folder: Path) -> list[Path]:
    films = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = (Path(root) / name for name in names if is_image_path(name))
        films += [path for path in here if SUFFIXES.fullmatch(path.suffix) or _begins_as_dicom(path)]
    return sorted(films)


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
