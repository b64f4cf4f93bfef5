"""DICOM radiographs as films: what the header must say, and the decoding; `dicom_grey` makes the levels grey."""

from __future__ import annotations

import io
import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom_grey import look_up, text
from covidcxr_tf.imaging.jpeg_check import jpeg_fault
from covidcxr_tf.imaging.opening import MAX_BYTES, MAX_PIXELS, Source, check_size, decoding, opened, source_name
from covidcxr_tf.imaging.raster import grey

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MODALITIES = frozenset({"CR", "DX", "DR", "RX", "RG", "RF", "OT", "SC", ""})
"""Accepted: radiography and its common non-standard spellings, secondary captures (scanned films), and none at all, as
anonymised films often have lost it. CT, MR, US, MG and the rest are refused."""

OTHER_PARTS = re.compile(
    "ABDOMEN|ANKLE|ARM|BRAIN|BREAST|CALCANEUS|COCCYX|CSPINE|ELBOW|EXTREMITY|FEMUR|FINGER|FOOT|FOREARM|HAND|HEAD|HEEL|HIP|"
    "HUMERUS|JAW|KNEE|LEG|LSPINE|NASAL|NECK|ORBIT|PELVIS|SACRUM|SHOULDER|SINUS|SKULL|SSPINE|THIGH|TIBIA|TMJ|TOE|"
    "TSPINE|WRIST"
)
"""Values of BodyPartExamined (PS3.16 annex L) that are no chest. Others pass: hospitals write in their own words."""

OTHER_VIEWS = re.compile("LL|RL|LLAT|RLAT|LAT|LLD|RLD|LLO|RLO|LAO|RAO|LPO|RPO|OBL|.*LATERAL.*|.*OBLIQUE.*")
"""Values of ViewPosition (PS3.3 C.8.1.1) or of the view code that are lateral, decubitus or oblique."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_RLE = "1.2.840.10008.1.2.5"


def looks_like_dicom(stream: BinaryIO) -> bool:
    """Return whether the content has the DICOM mark at byte 128."""
    stream.seek(0)
    return stream.read(132)[128:] == b"DICM"


def may_be_headerless(stream: BinaryIO) -> bool:
    """Return whether the content begins with a data element of group 0002 or 0008, as DICOM without a preamble does."""
    stream.seek(0)
    return stream.read(2) in (b"\x08\x00", b"\x00\x08", b"\x02\x00", b"\x00\x02")


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
    with opened(source, name) as stream, decoding(where, "DICOM"):
        dataset = _parse(stream, where, header_only=False)
        _check_header(dataset, where, any_view=any_view, any_part=any_part)
        rows, columns = _size(dataset, where)
        check_size(rows, columns, max_pixels, where)
        index = _frame_index(dataset, frame, where)
        _check_photometric(dataset, where)
        _check_bits(dataset, where)
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
    with decoding(where, "DICOM header"):
        return _size(_parse(stream, where, header_only=True), where)


def _parse(stream: BinaryIO, where: str, *, header_only: bool) -> Dataset:
    import pydicom

    with_preamble = looks_like_dicom(stream)
    _check_deflated(stream, where)
    stream.seek(0)
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=not with_preamble)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError("holds no picture (no Rows and Columns)", where=where, expected="a DICOM radiograph")
    if header_only:
        return dataset
    stream.seek(0)
    # From memory: an element that claims 4 GB then costs nothing.
    dataset = pydicom.dcmread(io.BytesIO(stream.read()), force=not with_preamble)
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


def _check_deflated(stream: BinaryIO, where: str) -> None:
    """Refuse a deflated data set that would not fit: zlib expands a thousandfold, and pydicom does it in one go."""
    stream.seek(0)
    head = stream.read(4096)
    if _DEFLATED not in head:
        return
    length = int.from_bytes(head[140:144], "little")
    stream.seek(144 + length)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total, rest = 0, stream.read()
    while rest and not inflater.eof:
        total += len(inflater.decompress(rest, 1 << 24))
        rest = inflater.unconsumed_tail
        if total > MAX_BYTES:
            raise ImageError(f"inflates to more than {MAX_BYTES} bytes", where=where)


def _check_header(dataset: Dataset, where: str, *, any_view: bool, any_part: bool) -> None:
    modality = text(dataset, "Modality")
    if modality not in MODALITIES:
        raise ImageError(f"modality {modality} is not radiography", where=where, expected="CR or DX")
    part = text(dataset, "BodyPartExamined")
    if OTHER_PARTS.fullmatch(part.replace("-", "").replace(" ", "")) and not any_part:
        raise ImageError(f"the film shows {part}", where=where, expected="CHEST")
    view = _view(dataset)
    if OTHER_VIEWS.fullmatch(view) and not any_view:
        raise ImageError(
            f"the view is {view}",
            where=where,
            expected="a frontal film (PA or AP)",
            remedy="pass any_view=True to read it",
        )


def _view(dataset: Dataset) -> str:
    position = text(dataset, "ViewPosition")
    if position:
        return position
    codes = dataset.get("ViewCodeSequence")
    return text(codes[0], "CodeMeaning") if codes else ""


def _size(dataset: Dataset, where: str) -> tuple[int, int]:
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise ImageError(f"Rows {rows} and Columns {columns} are no size", where=where, expected="two whole numbers")
    return rows, columns


def _frame_index(dataset: Dataset, frame: int | None, where: str) -> int:
    count = int(dataset.get("NumberOfFrames") or 1)
    if frame is None and count > 1:
        raise ImageError(f"has {count} frames", where=where, expected="one film", remedy="say which with frame=")
    if frame is not None and not 0 <= frame < count:
        raise ImageError(f"has no frame {frame}", where=where, expected=f"0 to {count - 1}")
    return frame or 0


def _check_photometric(dataset: Dataset, where: str) -> None:
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") and not photometric.startswith(("RGB", "YBR")):
        raise ImageError(f"photometric interpretation {photometric or 'missing'} is not a film's", where=where)


def _check_bits(dataset: Dataset, where: str) -> None:
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if allocated not in (8, 16) or not isinstance(stored, int) or not 1 <= stored <= allocated:
        raise ImageError(
            f"{stored} bits stored in {allocated}", where=where, expected="1 to 16 bits stored in 8 or 16 bits a pixel"
        )
    if dataset.get("PixelRepresentation") not in (0, 1):
        raise ImageError(f"PixelRepresentation is {dataset.get('PixelRepresentation')}", where=where, expected="0 or 1")


def _decode(dataset: Dataset, index: int, where: str) -> npt.NDArray[Any]:
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_codestream(dataset, index, where)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as cause:
        raise ImageError(f"transfer syntax {syntax.name} holds no picture", where=where) from cause
    if not decoder.is_available:
        raise ImageError(
            f"no decoder for {syntax.name} is installed",
            where=where,
            remedy="install covidcxr_tf[dicom] for JPEG 2000, python-gdcm for lossless JPEG and JPEG-LS",
        )
    # pylibjpeg's RLE decoder can leave by a BaseException, which no caller catches.
    plugin = "pydicom" if syntax == _RLE else ""
    pixels, _ = decoder.as_array(dataset, index=index, decoding_plugin=plugin)
    return np.asarray(pixels)


def _check_codestream(dataset: Dataset, index: int, where: str) -> None:
    """Refuse a damaged JPEG, and JPEG 2000 that is not Rows x Columns: its decoder would allocate that unasked."""
    from pydicom.encaps import get_frame

    stream = get_frame(dataset.PixelData, index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    fault = jpeg_fault(stream) if stream.startswith(b"\xff\xd8") else None
    if fault:
        raise ImageError(f"the JPEG in it is damaged: {fault}", where=where, remedy="get the original file again")
    start = stream.find(b"\xff\x4f\xff\x51", 0, 1024)
    if start < 0 or len(stream) < start + 24:
        return
    right, bottom, left, top = (int.from_bytes(stream[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
    if (bottom - top, right - left) != (dataset.Rows, dataset.Columns):
        raise ImageError(
            f"the JPEG 2000 stream is {bottom - top}x{right - left}",
            where=where,
            expected=f"{dataset.Rows}x{dataset.Columns}, as the header says",
        )
