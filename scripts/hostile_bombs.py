"""Small files that ask for much: pixels, scans, elements, frames, pages; each is whole as far as it goes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from hostile_edits import png_chunks, png_of
from hostile_mutants import dicom_film, film_levels
from PIL import Image

SIDE = 9_984
"""99.7 million pixels: just within what is read."""


def bombs() -> Iterator[tuple[str, bytes]]:
    """Give (what it is, its bytes) of each."""
    for build in (_pngs, _jpegs, _dicoms, _others):
        yield from build()


def _png(bits: int, colour: int, samples: int, flat: bool, interlaced: int = 0) -> bytes:
    """Return a PNG of `SIDE` x `SIDE`, all black, or with a white first pixel."""
    row = bytes(1 + SIDE * samples * bits // 8)
    packer = zlib.compressobj(9)
    first = row if flat else b"\0\xff" + row[2:]
    parts = [packer.compress(first), *(packer.compress(row) for _ in range(SIDE - 1)), packer.flush()]
    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, interlaced)
    return png_of([(b"IHDR", header), (b"IDAT", b"".join(parts)), (b"IEND", b"")])


def _pngs() -> Iterator[tuple[str, bytes]]:
    yield "PNG, 100 Mpx black", _png(8, 0, 1, flat=True)
    yield "PNG, 100 Mpx of 8 bits", _png(8, 0, 1, flat=False)
    yield "PNG, 100 Mpx of 16 bits", _png(16, 0, 1, flat=False)
    yield "PNG, 100 Mpx of RGB", _png(8, 2, 3, flat=False)
    yield "PNG, 100 Mpx of RGBA, 16 bits", _png(16, 6, 4, flat=False)
    chunks = png_chunks(_saved(Image.fromarray(film_levels()), "PNG"))
    text = (b"zTXt", b"key\0\0" + zlib.compress(bytes(200_000_000), 9))
    yield "PNG, a text of 200 MB", png_of([chunks[0], text, *chunks[1:]])
    empty = [(b"IDAT", b"")] * 300_000
    yield "PNG, 300,000 empty chunks", png_of([chunks[0], *empty, *chunks[1:]])
    notes = [(b"tEXt", b"key\0value")] * 190_000
    yield "PNG, 190,000 notes", png_of([chunks[0], *notes, *chunks[1:]])


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _jpeg_of_scans(scans: int, side: int = SIDE) -> bytes:
    """Return a progressive JPEG whose AC scans say in a few bytes each that nothing comes."""
    blocks = (side // 8) ** 2
    head = b"\xff\xd8" + _segment(0xDB, bytes([0]) + b"\x01" * 64)
    head += _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    # One DC code (0: no difference) of one bit; AC codes: end of 2**14 blocks and more, end of one block.
    head += _segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    head += _segment(0xC4, bytes([0x10, 1, 1, *[0] * 14, 0xE0, 0x00]))
    dc = _segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + _bits("0" * blocks)
    ends, left = "", blocks
    while left >= 1 << 14:
        take = min(left, (1 << 15) - 1)
        ends += "0" + format(take - (1 << 14), "014b")
        left -= take
    ends += "10" * left
    ac = [_segment(0xDA, bytes([1, 1, 0x00, 1 + k % 63, 1 + k % 63, 0])) + _bits(ends) for k in range(scans - 1)]
    return head + dc + b"".join(ac) + b"\xff\xd9"


def _bits(text: str) -> bytes:
    padded = text + "1" * (-len(text) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8, "big").replace(b"\xff", b"\xff\x00")


def _jpegs() -> Iterator[tuple[str, bytes]]:
    yield "JPEG, 100 Mpx in 90 scans", _jpeg_of_scans(90)
    yield "JPEG, 100 Mpx in 2 scans", _jpeg_of_scans(2)
    yield "JPEG, 10 Mpx in 64 scans", _jpeg_of_scans(64, 3_160)
    plain = _saved(Image.fromarray(film_levels()), "JPEG")
    yield "JPEG, 300,000 comments", plain[:2] + _segment(0xFE, b"") * 300_000 + plain[2:]
    yield "JPEG, 10 MB of fill bytes", plain[:2] + b"\xff" * 10_000_000 + plain[2:]
    table = _segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    yield "JPEG, 20,000 code tables", plain[:2] + table * 20_000 + plain[2:]


def _dicoms() -> Iterator[tuple[str, bytes]]:
    from pydicom import uid

    levels = film_levels(12)
    bare = dicom_film(levels, 12)
    at = bare.index(b"\x08\x00\x60\x00CS")
    many = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + k % 60_000, b"LO", 0) for k in range(500_000))
    yield "DICOM, 500,000 elements", bare[:at] + many + bare[at:]
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff"
    item, stop = b"\xfe\xff\x00\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
    yield "DICOM, 300,000 items", bare[:at] + start + item * 300_000 + stop + bare[at:]
    deep = (start + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 50_000
    yield "DICOM, sequences 50,000 deep", bare[:at] + deep + bare[at:]
    yield "DICOM, 2 billion frames", dicom_film(levels, 12, NumberOfFrames=2**31 - 1)
    white = np.zeros((SIDE // 8, SIDE // 8), np.uint16)
    white[0] = 4095
    squeezed = dicom_film(white, 12, uid.RLELossless)
    yield "DICOM, RLE of runs", squeezed
    for name in ("RLELossless", "JPEG2000Lossless", "JPEGLSLossless"):
        content = dicom_film(levels, 12, getattr(uid, name))
        size = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, len(levels))
        wide = struct.pack("<HH2sHH", 0x28, 0x11, b"US", 2, len(levels[0]))
        grown = content.replace(size, size[:-2] + struct.pack("<H", SIDE)).replace(
            wide, wide[:-2] + struct.pack("<H", SIDE)
        )
        yield f"DICOM, {name} of 96 px that says 100 Mpx", grown
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    deflated = dicom_film(levels, 12, uid.DeflatedExplicitVRLittleEndian)
    begin = 144 + int.from_bytes(deflated[140:144], "little")
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(32)) + packer.flush()
    yield "DICOM, 512 MB deflated", deflated[:begin] + packed


def _tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"", next_page: int = 0) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + body + struct.pack("<I", next_page) + tail


def _others() -> Iterator[tuple[str, bytes]]:
    size = [(256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    yield "TIFF, 100 Mpx without pixels", _tiff([*size, (273, 4, 1, 8), (278, 4, 1, SIDE), (279, 4, 1, 4)])
    yield "TIFF, whose next page is the first", _tiff([*size, (273, 4, 1, 8), (279, 4, 1, 4)], next_page=8)
    strips = [(273, 4, SIDE, 200), (278, 4, 1, 1), (279, 4, SIDE, 200)]
    yield "TIFF, 9,984 strips at one place", _tiff([*size, *strips], struct.pack("<I", SIDE) * SIDE)
    yield "TIFF, an element of 4 GB", _tiff([*size, (270, 2, 2**32 - 1, 8)])
    small = Image.fromarray(film_levels())
    pictures = [small.point(lambda level, k=k: (level + k) % 256) for k in range(200)]
    yield "GIF, 200 pictures", _saved(small, "GIF", save_all=True, append_images=pictures)
    gif = bytearray(_saved(small, "GIF"))
    gif[6:10] = struct.pack("<HH", SIDE, SIDE)
    yield "GIF, 96 px on 100 Mpx", bytes(gif)
    bmp = bytearray(_saved(small, "BMP"))
    bmp[18:26] = struct.pack("<ii", SIDE, SIDE)
    yield "BMP, 96 px that says 100 Mpx", bytes(bmp)
    runs = bytearray(bmp[:54]) + bmp[54 : 54 + 1024] + b"\xff\x00" * 400_000
    runs[30:34] = struct.pack("<I", 1)
    yield "BMP, 100 Mpx of runs", bytes(runs)
    yield "WebP, 16,383 x 6,000 black", _saved(Image.new("L", (16_383, 6_000)), "WEBP", lossless=True)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
