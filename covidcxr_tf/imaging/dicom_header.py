"""What a DICOM film says of itself before a pixel is read: kind, part, view, size, burned-in text."""

from __future__ import annotations

import functools
import io
import logging
import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom_grey import text
from covidcxr_tf.imaging.dicom_terms import shown
from covidcxr_tf.imaging.opening import MAX_PIXELS, Source, check_size, decoding, opened, source_name

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

OWN_MANUFACTURER = "covidcxr_tf"
"""Manufacturer of the objects that `covidcxr_tf.dicom` writes: results are no films."""

MAX_READS = 200_000
"""Most pieces that a parser may ask for, some three an element: films have a few hundred elements."""

MAX_INFLATED = 1 << 28
"""Largest data set that a deflated one may become (256 MiB): `MAX_PIXELS` of 16 bits have 200 MB."""

_LONGEST_META = 1 << 20
_DEFLATED, _INFLATED = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_DIRECTORY = "1.2.840.10008.1.3.10"

_log = logging.getLogger("covidcxr_tf.imaging")


def looks_like_dicom(stream: BinaryIO) -> bool:
    """Return whether the content has the DICOM mark at byte 128."""
    stream.seek(0)
    return stream.read(132)[128:] == b"DICM"


def may_be_headerless(stream: BinaryIO) -> bool:
    """Return whether the content begins with a data element of group 0002 or 0008, as DICOM without a preamble does."""
    stream.seek(0)
    return stream.read(2) in (b"\x08\x00", b"\x00\x08", b"\x02\x00", b"\x00\x02")


def is_dicom(source: Source, name: str | None = None) -> bool:
    """Return whether the content is DICOM by its first bytes, with or without a preamble.

    Raises
    ------
    ImageError
        If there is no such file or it cannot be opened.
    """
    with opened(source, name) as stream:
        return looks_like_dicom(stream) or may_be_headerless(stream)


def read_header(
    source: Source,
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    any_view: bool = False,
    any_part: bool = False,
) -> Dataset:
    """Return the elements before the pixels of a film that passes `check_header`; the pixels stay on disk.

    Parameters
    ----------
    source, name, max_pixels, any_view, any_part
        As for `covidcxr_tf.imaging.dicom.read_dicom`.

    Raises
    ------
    ImageError
        If it is not DICOM or no frontal chest radiograph of a size that is read.
    """
    where = source_name(source, name)
    with opened(source, name) as stream, decoding(where, "DICOM header", quotes=False):
        if not looks_like_dicom(stream) and not may_be_headerless(stream):
            raise ImageError("is not DICOM", where=where, expected="a DICOM radiograph")
        header = parse_header(stream, where)
        check_header(header, where, max_pixels=max_pixels, any_view=any_view, any_part=any_part)
        return header


def parse_header(stream: BinaryIO, where: str) -> Dataset:
    """Return the elements before the pixels.

    Raises
    ------
    ImageError
        If there is no picture in it, or it would inflate to more than `MAX_INFLATED`.
    """
    dataset = parse(stream, where, stop_before_pixels=True)
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
        raise ImageError(
            "is a DICOMDIR, a list of films", where=where, expected="a film", remedy="name its folder instead"
        )
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError("holds no picture (no Rows and Columns)", where=where, expected="a DICOM radiograph")
    return dataset


def parse(stream: BinaryIO, where: str, *, stop_before_pixels: bool = False) -> Dataset:
    """Return the data set in a stream.

    Raises
    ------
    ImageError
        If it would inflate to more than `MAX_INFLATED`, or is made of too many pieces.
    """
    import pydicom

    with_preamble = looks_like_dicom(stream)
    plain = _inflated(stream, where)
    if plain is None:
        stream.seek(0)
        # From memory: an element that claims 4 GB then costs nothing.
        plain = stream if stop_before_pixels else io.BytesIO(stream.read())
    counted: Any = _Counted(plain, where)
    return pydicom.dcmread(counted, stop_before_pixels=stop_before_pixels, force=not with_preamble)


class _Counted:
    """A stream that is asked for `MAX_READS` pieces at most: a parser takes seconds for each million."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream, self._where, self._left = stream, where, MAX_READS
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if size is None or size < 0:  # a deflated data set that `_inflated` did not see
            raise ImageError("its meta information states a wrong length", where=self._where)
        if self._left < 0:
            raise ImageError("its header has too many elements", where=self._where, expected="a DICOM radiograph")
        return self._stream.read(size)


def _inflated(stream: BinaryIO, where: str) -> BinaryIO | None:
    """Return a deflated data set as a plain one, None where it is plain already.

    zlib expands a thousandfold, and pydicom does it in one go.
    """
    stream.seek(140)
    start = 144 + int.from_bytes(stream.read(4), "little")
    stream.seek(0)
    head = stream.read(min(start, _LONGEST_META))
    if head[128:132] != b"DICM" or _DEFLATED not in head[:start]:
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain, rest = io.BytesIO(), stream.read()
    plain.write(head.replace(_DEFLATED, _INFLATED, 1))
    while rest and not inflater.eof:
        plain.write(inflater.decompress(rest, 1 << 24))
        rest = inflater.unconsumed_tail
        if plain.tell() > MAX_INFLATED:
            raise ImageError(f"inflates to more than {MAX_INFLATED} bytes", where=where)
    plain.seek(0)
    return plain


def check_header(
    dataset: Dataset, where: str, *, max_pixels: int = MAX_PIXELS, any_view: bool = False, any_part: bool = False
) -> None:
    """Refuse what is no frontal chest radiograph or too large; warn once where text is burned into the pixels.

    Raises
    ------
    ImageError
        By Modality, BodyPartExamined, ViewPosition or its code, and Rows x Columns.
    """
    _check_kind(dataset, where, any_view=any_view, any_part=any_part)
    rows, columns = header_size(dataset, where)
    check_size(rows, columns, max_pixels, where)
    if text(dataset, "BurnedInAnnotation") == "YES":
        _warn_of_text(where)


@functools.lru_cache(maxsize=4096)  # training reads a film many times
def _warn_of_text(where: str) -> None:
    _log.warning(
        "%s: its header says that text is burned into the picture: the model may read it, and it may name the patient",
        where,
    )


def _check_kind(dataset: Dataset, where: str, *, any_view: bool, any_part: bool) -> None:
    modality = text(dataset, "Modality")
    if modality not in MODALITIES:
        raise ImageError(f"modality {shown(modality)} is not radiography", where=where, expected="CR or DX")
    part = text(dataset, "BodyPartExamined")
    if OTHER_PARTS.fullmatch(part.replace("-", "").replace(" ", "")) and not any_part:
        raise ImageError(f"the film shows {part}", where=where, expected="CHEST")
    view = view_of(dataset)
    if OTHER_VIEWS.fullmatch(view) and not any_view:
        raise ImageError(
            f"the view is {shown(view)}",
            where=where,
            expected="a frontal film (PA or AP)",
            remedy="pass any_view=True to read it",
        )


def view_of(dataset: Dataset) -> str:
    """Return ViewPosition, else the meaning of the view code, in upper case; "" where neither is there."""
    position = text(dataset, "ViewPosition")
    if position:
        return position
    codes = dataset.get("ViewCodeSequence")
    return text(codes[0], "CodeMeaning") if codes else ""


def header_size(dataset: Dataset, where: str) -> tuple[int, int]:
    """Return (rows, columns).

    Raises
    ------
    ImageError
        If one is missing or no whole number.
    """
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise ImageError(
            f"Rows {shown(rows)} and Columns {shown(columns)} are no size", where=where, expected="two whole numbers"
        )
    return rows, columns


def plain_reason(fault: ImageError) -> str:
    """Return what is wrong with a film without the words of a decoder, which may repeat what stands in a header."""
    return re.sub(r" \(\w+(: .*)?\)$", "", fault.problem, flags=re.DOTALL)
