"""How many pieces a JPEG or PNG is made of: decoders look at each, and at each stray byte, one by one."""

from __future__ import annotations

import re
from typing import BinaryIO

from covidcxr_tf.errors import ImageError

MAX_PIECES = 200_000
"""Most segments or chunks; PIL takes about half a second for them. Films have a hundred."""

MAX_STRAY = 1 << 16
"""Most bytes between the segments of a JPEG's header."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END = 0xDA, 0xD9


def check_pieces(stream: BinaryIO, where: str) -> None:
    """Refuse a JPEG or PNG of very many pieces, before a decoder opens it; the stream is left where it likes.

    Raises
    ------
    ImageError
        Beyond `MAX_PIECES` or `MAX_STRAY`.
    """
    stream.seek(0)
    head = stream.read(8)
    if head.startswith(b"\xff\xd8"):
        stream.seek(0)
        check_jpeg_header(stream.read(), where)
    elif head == b"\x89PNG\r\n\x1a\n" and _png_chunks(stream) > MAX_PIECES:
        raise ImageError(f"a PNG of more than {MAX_PIECES} chunks", where=where, remedy="get the original file again")


def check_jpeg_header(content: bytes, where: str) -> None:
    """Refuse a JPEG with very many segments, or much between them, before its first scan.

    Raises
    ------
    ImageError
        Beyond `MAX_PIECES` or `MAX_STRAY`.
    """
    at, stray = 2, 0
    for _ in range(MAX_PIECES):
        found = _MARKER.search(content, at)
        stray += (found.start() if found else len(content)) - at
        if stray > MAX_STRAY:
            raise ImageError(f"a JPEG with {stray} stray bytes in its header", where=where, remedy="save it again")
        if found is None or content[found.start() + 1] in (_START_OF_SCAN, _END):
            return
        at = found.end()
        if content[at - 1] not in _ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    raise ImageError(f"a JPEG of more than {MAX_PIECES} segments", where=where, remedy="save it again")


def _png_chunks(stream: BinaryIO) -> int:
    """Return how many chunks there are up to the end, or one more than `MAX_PIECES`."""
    at = 8
    for count in range(MAX_PIECES + 1):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return count
        at += 12 + int.from_bytes(head[:4], "big")
    return MAX_PIECES + 1
