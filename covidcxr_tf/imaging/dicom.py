"""DICOM radiographs as films: the decoding; `dicom_header` says what is read, `dicom_grey` makes the levels grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom_grey import look_up, text
from covidcxr_tf.imaging.dicom_header import (
    check_header,
    header_size,
    looks_like_dicom,
    may_be_headerless,
    parse,
    parse_header,
)
from covidcxr_tf.imaging.dicom_terms import shown
from covidcxr_tf.imaging.greying import grey
from covidcxr_tf.imaging.jpeg_check import jpeg_fault
from covidcxr_tf.imaging.opening import MAX_PIXELS, Source, decoding, opened, source_name
from covidcxr_tf.imaging.pieces import check_jpeg_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["check_pixels", "decoder_problem", "dicom_size", "looks_like_dicom", "may_be_headerless", "read_dicom"]

_RLE = "1.2.840.10008.1.2.5"
_LONGEST_FRAME = 1.25
"""Most bytes of a compressed frame as a share of the bare pixels; an honest one is shorter, or by RLE 1 % longer."""

_JPEG_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
"""Markers of JPEG and JPEG-LS that state rows and columns."""


def read_dicom(
    source: Source,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
    *,
    any_view: bool = False,
    any_part: bool = False,
) -> npt.NDArray[np.float32]:
    """Return a DICOM radiograph as float32 (rows, columns) in [0, 1], bone bright.

    The VOI LUT (first item) is applied; without one the first window; without either the whole range that the stored
    bits can hold, after the rescale. A window of width 0 counts as none. Padding becomes 0, the background. MONOCHROME1
    and PresentationLUTShape INVERSE state the same fact and invert once. PatientOrientation is not applied.

    Parameters
    ----------
    source : str, Path, bytes or binary file object
        The DICOM file, with or without its preamble.
    frame : int, optional
        Which frame, from 0; needed if there are several.
    max_pixels : int
        Largest Rows x Columns, judged before anything is decoded.
    name : str, optional
        What errors call the film; its path by default.
    any_view : bool
        Also read lateral, oblique and decubitus views (`OTHER_VIEWS`).
    any_part : bool
        Also read body parts that are not the chest (`OTHER_PARTS`).

    Raises
    ------
    ImageError
        If it is not DICOM, not a frontal chest radiograph, too large, damaged, compressed in a way that no installed
        decoder knows, or its levels cannot be made grey.
    """
    where = source_name(source, name)
    with opened(source, name) as stream, decoding(where, "DICOM", quotes=False):
        header = parse_header(stream, where)
        check_header(header, where, max_pixels=max_pixels, any_view=any_view, any_part=any_part)
        rows, columns = header_size(header, where)
        dataset = _parse(stream, where)
        index = check_pixels(dataset, where, frame)
        levels = _decode(dataset, index, where)
        if levels.shape[:2] != (rows, columns):
            raise ImageError(
                f"the pixels are {levels.shape}", where=where, expected=f"{rows}x{columns}, as the header says"
            )
        if levels.ndim == 3:
            return grey(levels, 2.0 ** int(dataset.BitsStored) - 1)
        return look_up(levels, dataset, where)


def dicom_size(stream: BinaryIO, where: str) -> tuple[int, int]:
    """Return (rows, columns) from the header.

    Raises
    ------
    ImageError
        If the content is no DICOM image.
    """
    with decoding(where, "DICOM header", quotes=False):
        return header_size(parse_header(stream, where), where)


def _parse(stream: BinaryIO, where: str) -> Dataset:
    dataset = parse(stream, where)
    if "PixelData" not in dataset:
        raise ImageError("holds no pixel data", where=where, expected="a DICOM radiograph")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = _native_syntax(dataset)
    return dataset


def _native_syntax(dataset: Dataset) -> Any:
    """Return the uncompressed transfer syntax that a file without meta information was parsed with."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def check_pixels(header: Dataset, where: str, frame: int | None = None) -> int:
    """Return the frame that would be decoded; the header alone is looked at.

    Raises
    ------
    ImageError
        If there are several frames and none is named, the levels are none of a film, or no decoder is installed.
    """
    index = _frame_index(header, frame, where)
    _check_photometric(header, where)
    _check_bits(header, where)
    syntax = header.file_meta.get("TransferSyntaxUID")
    problem = decoder_problem(syntax) if syntax else None
    if problem:
        raise ImageError(problem[0], where=where, remedy=problem[1])
    return index


def _frame_index(dataset: Dataset, frame: int | None, where: str) -> int:
    count = int(dataset.get("NumberOfFrames") or 1)
    if frame is None and count > 1:
        raise ImageError(
            f"has {count} frames",
            where=where,
            expected="one film",
            remedy="say which with --frame N (frame= in Python), counted from 0",
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(f"has no frame {frame}", where=where, expected=f"0 to {count - 1}")
    return frame or 0


def _check_photometric(dataset: Dataset, where: str) -> None:
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") and not photometric.startswith(("RGB", "YBR")):
        raise ImageError(
            f"photometric interpretation {shown(photometric) if photometric else 'missing'} is not a film's",
            where=where,
        )


def _check_bits(dataset: Dataset, where: str) -> None:
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if allocated not in (8, 16) or not isinstance(stored, int) or not 1 <= stored <= allocated:
        raise ImageError(
            f"{shown(stored)} bits stored in {shown(allocated)}",
            where=where,
            expected="1 to 16 bits stored in 8 or 16 bits a pixel",
        )
    if dataset.get("PixelRepresentation") not in (0, 1):
        raise ImageError(
            f"PixelRepresentation is {shown(dataset.get('PixelRepresentation'))}", where=where, expected="0 or 1"
        )


def decoder_problem(syntax: Any) -> tuple[str, str] | None:
    """Return what is wrong with a transfer syntax (a pydicom UID) and what to do; None where it can be decoded."""
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(syntax)
    except RuntimeError:  # how pydicom says that a syntax stands for no picture
        return f"transfer syntax {syntax.name} holds no picture", "send or save it as a picture, best uncompressed"
    if decoder.is_available:
        return None
    return (
        f"no decoder for {syntax.name} is installed",
        "install covidcxr_tf[dicom] for JPEG 2000, python-gdcm for lossless JPEG and JPEG-LS",
    )


def _decode(dataset: Dataset, index: int, where: str) -> npt.NDArray[Any]:
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_codestream(dataset, index, where)
    # pylibjpeg's RLE decoder can leave by a BaseException, which no caller catches.
    plugin = "pydicom" if syntax == _RLE else ""
    pixels, _ = get_decoder(syntax).as_array(dataset, index=index, decoding_plugin=plugin)
    return np.asarray(pixels)


def _check_codestream(dataset: Dataset, index: int, where: str) -> None:
    """Refuse a damaged JPEG, and a stream that states another size than Rows x Columns or is longer than its pixels.

    Decoders allocate what the stream states unasked, and a run of RLE gives up to 64 times its bytes.
    """
    from pydicom.encaps import get_frame

    stream = get_frame(dataset.PixelData, index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bare = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    if len(stream) > _LONGEST_FRAME * bare + 65536:
        raise ImageError(f"a compressed frame of {len(stream)} bytes for {bare} bytes of pixels", where=where)
    stated, kind = _stated_size(stream)
    if stated is not None and stated != (dataset.Rows, dataset.Columns):
        raise ImageError(
            f"the {kind} stream is {stated[0]}x{stated[1]}",
            where=where,
            expected=f"{dataset.Rows}x{dataset.Columns}, as the header says",
        )
    if stream.startswith(b"\xff\xd8"):
        check_jpeg_header(stream, where)
    fault = jpeg_fault(stream) if stream.startswith(b"\xff\xd8") else None
    if fault:
        raise ImageError(f"the JPEG in it is damaged: {fault}", where=where, remedy="get the original file again")


def _stated_size(stream: bytes) -> tuple[tuple[int, int] | None, str]:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream states, None without any, and its kind."""
    if stream.startswith(b"\xff\xd8"):
        return _jpeg_size(stream), "JPEG"
    start = stream.find(b"\xff\x4f\xff\x51", 0, 1024)
    if start < 0 or len(stream) < start + 24:
        return None, "JPEG 2000"
    right, bottom, left, top = (int.from_bytes(stream[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
    return (bottom - top, right - left), "JPEG 2000"


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _JPEG_SIZES:
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        # A fill byte stands alone; every segment before the first frame has a length.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
