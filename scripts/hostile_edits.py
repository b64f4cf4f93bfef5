"""What is done to PNG, JPEG and DICOM files to break them; `hostile_mutants` chooses among it by seed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

HOSTILE_NUMBERS = (0, 1, 2, 7, 31, 255, 256, 4097, 9_999, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
HOSTILE_WORDS = (
    "",
    "MONOCHROME1",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL_422",
    "-1",
    "1e400",
    "nan",
    "A" * 5000,
    "\x00",
    "é",
)
DICOM_KEYS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth", "PixelPaddingValue", "Modality", "ViewPosition", "VOILUTFunction"),
)


def _place(content: bytes, random: Random) -> int:
    """Return a place, half of the time in the first 300 bytes, where the headers are."""
    reach = min(len(content), 300) if random.random() < 0.5 else len(content)
    return int(random.integers(max(reach, 1)))


def bit_flips(content: bytes, random: Random) -> bytes:
    broken = bytearray(content)
    for _ in range(int(random.integers(1, 21)) if broken else 0):
        broken[_place(content, random)] ^= 1 << int(random.integers(8))
    return bytes(broken)


def truncation(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def trailing_rubbish(content: bytes, random: Random) -> bytes:
    return content + random.bytes(int(random.integers(1, 20_000)))


def overwritten_run(content: bytes, random: Random) -> bytes:
    at, length = _place(content, random), int(random.integers(1, 200))
    fill = (bytes(length), b"\xff" * length, random.bytes(length))[int(random.integers(3))]
    return content[:at] + fill + content[at + length :]


def cut_out(content: bytes, random: Random) -> bytes:
    at = _place(content, random)
    return content[:at] + content[at + int(random.integers(1, 400)) :]


def doubled(content: bytes, random: Random) -> bytes:
    at = _place(content, random)
    return content[: at + int(random.integers(1, 2000))] + content[at:]


def hostile_number(content: bytes, random: Random) -> bytes:
    """Put a number that breaks arithmetic somewhere, in 2 or 4 bytes of either order."""
    at, width = _place(content, random), (2, 4)[int(random.integers(2))]
    number = HOSTILE_NUMBERS[int(random.integers(len(HOSTILE_NUMBERS)))] % 256**width
    order: Any = ("big", "little")[int(random.integers(2))]
    return content[:at] + number.to_bytes(width, order) + content[at + width :]


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return (type, data) of each chunk; a damaged one ends the list."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of chunks, with right lengths and checksums."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _png_header_edit(content: bytes, random: Random) -> bytes:
    """Another size, depth, colour type, compression, filter or interlacing, with a right checksum."""
    chunks = png_chunks(content)
    if not chunks or len(chunks[0][1]) != 13:
        return content
    fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    which = int(random.integers(7))
    if which < 2:
        fields[which] = HOSTILE_NUMBERS[int(random.integers(len(HOSTILE_NUMBERS)))]
    else:
        fields[which] = int(random.choice([0, 1, 2, 3, 4, 6, 8, 16, 32, 255]))
    return png_of([(b"IHDR", struct.pack(">IIBBBBB", *fields)), *chunks[1:]])


def _png_huge(content: bytes, random: Random) -> bytes:
    """A film of up to 100 million pixels as it says, with as many zero bytes of pixels as deflate packs to a few kB."""
    rows, columns = (int(random.choice([96, 3000, 9_999, 10_001, 40_000])) for _ in range(2))
    depth, colour = [(8, 0), (16, 0), (8, 2), (16, 6), (1, 0)][int(random.integers(5))]
    packed = zlib.compress(bytes(int(random.choice([1000, 4_000_000]))), 9)
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, int(random.integers(2)))
    return png_of([(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")])


def _png_chunk_swap(content: bytes, random: Random) -> bytes:
    chunks = png_chunks(content)
    if len(chunks) < 2:
        return content
    first, second = (int(random.integers(len(chunks))) for _ in range(2))
    chunks[first], chunks[second] = chunks[second], chunks[first]
    if random.random() < 0.5:
        chunks.insert(first, chunks[second])
    return png_of(chunks)


def _png_pixels(content: bytes, random: Random) -> bytes:
    """Damage behind right checksums: filter bytes, too few or too many pixels."""
    chunks = png_chunks(content)
    try:
        pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    except zlib.error:
        return content
    pixels = (bit_flips, truncation, doubled)[int(random.integers(3))](pixels, random)
    rest = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    return png_of([*rest, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")])


def _png_bomb(content: bytes, random: Random) -> bytes:
    """A text, profile or EXIF chunk that inflates a thousandfold."""
    packed = zlib.compress(bytes(int(random.choice([2_000_000, 80_000_000]))), 9)
    chunk = [
        (b"zTXt", b"key\0\0" + packed),
        (b"iTXt", b"key\0\1\0\0\0" + packed),
        (b"iCCP", b"key\0\0" + packed),
        (b"eXIf", random.bytes(60)),
        (b"acTL", struct.pack(">II", int(random.choice(HOSTILE_NUMBERS)), 0)),
    ][int(random.integers(5))]
    chunks = png_chunks(content)
    return png_of([*chunks[:1], chunk, *chunks[1:]])


def jpeg_segments(content: bytes) -> tuple[list[bytes], bytes]:
    """Return the segments before the first scan, markers and lengths included, and the rest."""
    segments, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        length = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segments.append(content[at : at + length])
        at += length
    return segments, content[at:]


def _jpeg_size(content: bytes, random: Random) -> bytes:
    """Another depth, size, number of components or sampling factor in the frame header."""
    segments, rest = jpeg_segments(content)
    for index, segment in enumerate(segments):
        if segment[1] in (0xC0, 0xC1, 0xC2) and len(segment) > 9:
            broken = bytearray(segment)
            which = int(random.integers(3))
            if which == 0:
                at = int(random.choice([5, 7]))
                broken[at : at + 2] = struct.pack(">H", int(random.choice([0, 1, 40, 97, 9_999, 65_535])))
            else:
                broken[int(random.choice([1, 4, *range(9, len(broken))]))] = int(random.integers(256))
            segments[index] = bytes(broken)
    return b"\xff\xd8" + b"".join(segments) + rest


def _jpeg_segment_swap(content: bytes, random: Random) -> bytes:
    segments, rest = jpeg_segments(content)
    if not segments:
        return content
    first, second = (int(random.integers(len(segments))) for _ in range(2))
    segments[first], segments[second] = segments[second], segments[first]
    if random.random() < 0.5:
        del segments[first]
    return b"\xff\xd8" + b"".join(segments) + rest


def _jpeg_many_scans(content: bytes, random: Random) -> bytes:
    """The same scan over and over: each costs a decoder the whole picture."""
    segments, rest = jpeg_segments(content)
    return (
        b"\xff\xd8" + b"".join(segments) + rest.removesuffix(b"\xff\xd9") * int(random.integers(2, 400)) + b"\xff\xd9"
    )


def _jpeg_exif(content: bytes, random: Random) -> bytes:
    body = b"Exif\0\0" + (b"II*\0\x08\0\0\0" if random.random() < 0.7 else b"") + random.bytes(80)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


def _dicom_header_edit(content: bytes, random: Random) -> bytes:
    """An element of the picture with a hostile value, or none."""
    import pydicom

    try:
        made = pydicom.dcmread(io.BytesIO(content), force=True)
        keyword = DICOM_KEYS[int(random.integers(len(DICOM_KEYS)))]
        roll = random.random()
        if roll < 0.2:
            made.pop(keyword, None)
        elif keyword in ("PhotometricInterpretation", "Modality", "ViewPosition", "VOILUTFunction"):
            made.add_new(keyword, "CS", HOSTILE_WORDS[int(random.integers(len(HOSTILE_WORDS)))][:16])
        elif keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
            made.add_new(
                keyword, "LO", ["0", "-1", "1e300", "nan", "inf", "words", "", "1\\2"][int(random.integers(8))]
            )
        elif keyword == "NumberOfFrames":
            made.add_new(keyword, "IS", str(HOSTILE_NUMBERS[int(random.integers(len(HOSTILE_NUMBERS)))] % 2**31))
        else:
            made.add_new(keyword, "US", int(HOSTILE_NUMBERS[int(random.integers(len(HOSTILE_NUMBERS)))]) % 65536)
        buffer = io.BytesIO()
        made.save_as(buffer)
        return buffer.getvalue()
    except Exception:  # the mutation before this one left nothing that can be written again
        return hostile_number(content, random)


def _dicom_length(content: bytes, random: Random) -> bytes:
    """Another length of one element: longer than the file, odd, undefined."""
    places = [at for at in range(132, min(len(content), 1500) - 8) if content[at + 4 : at + 6] in _REPRESENTATIONS]
    if not places:
        return hostile_number(content, random)
    at = places[int(random.integers(len(places)))]
    if content[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN"):
        length = struct.pack("<I", int(random.choice(HOSTILE_NUMBERS)))
        return content[: at + 8] + length + content[at + 12 :]
    return content[: at + 6] + struct.pack("<H", int(random.integers(65536))) + content[at + 8 :]


def _dicom_nested(content: bytes, random: Random) -> bytes:
    """Sequences in sequences, deeper than a parser's stack."""
    at = content.find(b"\x08\x00\x60\x00CS")
    if at < 0:
        return content
    depth = int(random.choice([10, 500, 5000]))
    nest = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    return content[:at] + nest + content[at:]


_REPRESENTATIONS = frozenset((b"OB", b"OW", b"SQ", b"UN", b"UI", b"CS", b"US", b"DS", b"IS", b"LO", b"UL"))

ANY: tuple[Mutation, ...] = (
    bit_flips,
    truncation,
    trailing_rubbish,
    overwritten_run,
    cut_out,
    doubled,
    hostile_number,
)
OWN: dict[str, tuple[Mutation, ...]] = {
    "PNG": (_png_header_edit, _png_header_edit, _png_huge, _png_chunk_swap, _png_pixels, _png_pixels, _png_bomb),
    "JPEG": (_jpeg_size, _jpeg_size, _jpeg_segment_swap, _jpeg_many_scans, _jpeg_exif),
    "DICOM": (_dicom_header_edit, _dicom_header_edit, _dicom_header_edit, _dicom_length, _dicom_length, _dicom_nested),
}
