"""Damage inside a JPEG: libjpeg paints over it with at most a warning that PIL does not pass on.

The Huffman codes of every scan are walked without decoding a pixel. A whole scan uses up its bits exactly when its last
block ends; a damaged one runs out early, has bytes left over, or meets a code that is none. Refinement passes of
progressive files are not walked (their codes depend on all earlier coefficients), nor are arithmetic, lossless and
12-bit files.

Source: ITU-T T.81, annexes B (markers), C (Huffman tables), F (sequential) and G (progressive).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MAX_SCANS = 100
"""Most passes over a picture; real files have about ten, and each one costs a decoder the whole picture."""

MAX_WALKED = 1 << 23
"""Longest scan in bytes that is walked (8 MiB, a film of some 50 Mpx): walking takes about 40 times its memory."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_SCAN_END = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

_END_OF_BLOCK = 128
_NO_CODE = 200
_SPARE_BYTES = 1
"""Left-over bytes that are no damage: some writers pad the last one twice."""

_Table = tuple[npt.NDArray[np.uint8], ...]
"""For each 16-bit window one byte of bits to take, and for AC codes a second one of coefficients to skip."""


@dataclass
class _Frame:
    progressive: bool
    rows: int
    columns: int
    sampling: dict[int, tuple[int, int]]
    """Component -> (horizontal, vertical) sampling factor."""
    tables: dict[int, npt.NDArray[np.uint16]] = field(default_factory=dict)
    """Class * 16 + identifier -> for each 16-bit window: length of the code * 256 + symbol, 0 where there is none."""
    interval: int = 0


@dataclass(frozen=True)
class _Scan:
    components: tuple[tuple[int, int, int], ...]
    """(component, DC table, AC table)."""
    first: int
    last: int
    refines: bool
    data: bytes


def jpeg_fault(content: bytes) -> str | None:
    """Return what is wrong with the coded pixels of a JPEG, None if nothing is (or if its kind is not walked).

    Parameters
    ----------
    content : bytes
        The file; about 30 ms for a film of 200 kB. Scans of more than `MAX_WALKED` bytes are not walked.
    """
    try:
        for number, (frame, scan) in enumerate(_scans(content), start=1):
            if number > MAX_SCANS:
                return f"it has more than {MAX_SCANS} scans"
            fault = _scan_fault(frame, scan)
            if fault:
                return fault
    except EOFError:
        return "it ends before its end mark"
    except (ArithmeticError, IndexError, KeyError, ValueError):
        return "its markers contradict each other"
    return None


def _scans(content: bytes) -> Iterator[tuple[_Frame, _Scan]]:
    """Give every Huffman-coded scan up to the end of the (first) picture."""
    frame: _Frame | None = None
    tables: dict[int, npt.NDArray[np.uint16]] = {}
    interval, at = 0, 2
    while found := _MARKER.search(content, at):
        at = found.start()
        marker = content[at + 1]
        if marker == 0xD9:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + length]
        at += 2 + length
        if marker in (0xC0, 0xC1, 0xC2):
            frame = _read_frame(body, marker == 0xC2)
        elif marker in (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xDC):
            return  # a kind that is not walked, or a height that is told afterwards
        elif marker == 0xC4:
            tables.update(_read_tables(body))
        elif marker == 0xDD:
            interval = int.from_bytes(body[:2], "big")
        elif marker == 0xDA:
            end = _SCAN_END.search(content, at)
            stop = end.start() if end else len(content)
            if frame is None or not frame.rows:
                return
            frame.tables, frame.interval = tables, interval
            yield frame, _read_scan(body, content[at:stop])
            at = stop
    raise EOFError


def _read_frame(body: bytes, progressive: bool) -> _Frame | None:
    if body[0] != 8:
        return None
    rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    sampling = {body[at]: (body[at + 1] >> 4, body[at + 1] & 15) for at in range(6, 6 + 3 * body[5], 3)}
    return _Frame(progressive, rows, columns, sampling)


def _read_tables(body: bytes) -> Iterator[tuple[int, npt.NDArray[np.uint16]]]:
    at = 0
    while at < len(body):
        counts, symbols = body[at + 1 : at + 17], at + 17
        table, start = np.zeros(65536, dtype=np.uint16), 0
        for length, count in enumerate(counts, start=1):
            width = 1 << (16 - length)
            for _ in range(count):
                table[start : start + width] = length * 256 + body[symbols]
                start, symbols = start + width, symbols + 1
        yield body[at], table
        at = symbols


def _read_scan(body: bytes, data: bytes) -> _Scan:
    count = body[0]
    parts = tuple((body[at], body[at + 1] >> 4, body[at + 1] & 15) for at in range(1, 1 + 2 * count, 2))
    first, last, approximation = body[1 + 2 * count : 4 + 2 * count]
    return _Scan(parts, first, last, approximation >> 4 != 0, data)


def _scan_fault(frame: _Frame, scan: _Scan) -> str | None:
    if (frame.progressive and scan.refines) or len(scan.data) > MAX_WALKED:
        return None
    units, blocks = _units(frame, scan)
    pieces = _RESTART.split(scan.data)
    interval = frame.interval or units
    needed = math.ceil(units / interval)
    if len(pieces) < needed:
        return f"only {len(pieces)} of {needed} parts are there"
    steps = _steps(frame, scan, blocks)
    for index in range(needed):
        here = min(interval, units - index * interval)
        fault = _piece_fault(frame, scan, pieces[index].replace(b"\xff\x00", b"\xff"), here, blocks, steps)
        if fault:
            return fault
    return None


def _units(frame: _Frame, scan: _Scan) -> tuple[int, list[tuple[int, int]]]:
    """Return how many units (MCU) the scan has, and the DC and AC table of each block in one."""
    widest = max(horizontal for horizontal, _ in frame.sampling.values())
    tallest = max(vertical for _, vertical in frame.sampling.values())
    if len(scan.components) > 1:
        blocks = [
            (dc, ac)
            for name, dc, ac in scan.components
            for _ in range(frame.sampling[name][0] * frame.sampling[name][1])
        ]
        return math.ceil(frame.columns / (8 * widest)) * math.ceil(frame.rows / (8 * tallest)), blocks
    name, dc, ac = scan.components[0]
    horizontal, vertical = frame.sampling[name]
    across = math.ceil(math.ceil(frame.columns * horizontal / widest) / 8)
    down = math.ceil(math.ceil(frame.rows * vertical / tallest) / 8)
    return across * down, [(dc, ac)]


def _piece_fault(
    frame: _Frame, scan: _Scan, data: bytes, units: int, blocks: list[tuple[int, int]], steps: dict[int, _Table]
) -> str | None:
    """Return what is wrong between two restart markers."""
    windows = _windows(data)
    here = {name: tuple(table[windows].tobytes() for table in tables) for name, tables in steps.items()}
    try:
        if not frame.progressive:
            used = _walk_sequential(here, units, blocks)
        elif scan.first == 0:
            used = _walk_dc(here, units, blocks)
        else:
            ac_bits, ac_skip = here[16 + blocks[0][1]]
            used = _walk_ac(ac_bits, ac_skip, windows, units, scan)
    except IndexError:
        used = None
    if used is None or used > 8 * len(data):
        return "its coded pixels break off"
    left = len(data) - math.ceil(used / 8)
    return f"{left} bytes of its coded pixels are left over" if left > _SPARE_BYTES else None


def _windows(data: bytes) -> npt.NDArray[np.uint16]:
    """Return the 16 bits that begin at each bit of `data`."""
    padded = np.frombuffer(data + b"\xff\xff\xff", dtype=np.uint8).astype(np.uint32)
    three = (padded[:-2] << 16) | (padded[1:-1] << 8) | padded[2:]
    windows = np.empty((len(three), 8), dtype=np.uint16)
    for bit in range(8):
        windows[:, bit] = three >> (8 - bit) & 0xFFFF
    return windows.ravel()


def _steps(frame: _Frame, scan: _Scan, blocks: list[tuple[int, int]]) -> dict[int, _Table]:
    steps: dict[int, _Table] = {}
    for dc, ac in set(blocks):
        if scan.first == 0:
            steps[dc] = _dc_steps(frame.tables[dc])
        if scan.last > 0:
            steps[16 + ac] = _ac_steps(frame.tables[16 + ac], frame.progressive)
    return steps


def _dc_steps(table: npt.NDArray[np.uint16]) -> _Table:
    """Return for each window how many bits a DC code there takes with its value, 255 where there is none."""
    length, size = table >> 8, table & 255
    return (np.where(length == 0, 255, length + size).astype(np.uint8),)


def _ac_steps(table: npt.NDArray[np.uint16], progressive: bool) -> _Table:
    """Return for each window how many bits an AC code there takes, and by how many coefficients it goes on."""
    length, run, size = table >> 8, (table >> 4) & 15, table & 15
    ends = (size == 0) & (run < 15)
    # In progressive scans the end of a block carries `run` bits that say how many more blocks end.
    bits = length + np.where(ends & progressive, run, size)
    skip = np.where(ends, _END_OF_BLOCK + (run if progressive else 0), run + 1)
    skip = np.where(length == 0, _NO_CODE, skip)
    return bits.astype(np.uint8), skip.astype(np.uint8)


def _walk_sequential(steps: dict[int, tuple[bytes, ...]], units: int, blocks: list[tuple[int, int]]) -> int | None:
    order = [(*steps[dc], *steps[16 + ac]) for dc, ac in blocks]
    position = 0
    for _ in range(units):
        for dc_bits, ac_bits, ac_skip in order:
            bits = dc_bits[position]
            if bits == 255:
                return None
            position += bits
            coefficient = 1
            while coefficient < 64:
                coefficient += ac_skip[position]
                position += ac_bits[position]
            if 64 < coefficient < _END_OF_BLOCK or coefficient >= _NO_CODE:
                return None
    return position


def _walk_dc(steps: dict[int, tuple[bytes, ...]], units: int, blocks: list[tuple[int, int]]) -> int | None:
    order = [steps[dc][0] for dc, _ in blocks]
    position = 0
    for _ in range(units):
        for dc_bits in order:
            bits = dc_bits[position]
            if bits == 255:
                return None
            position += bits
    return position


def _walk_ac(ac_bits: bytes, ac_skip: bytes, windows: npt.NDArray[np.uint16], units: int, scan: _Scan) -> int | None:
    position, block = 0, 0
    while block < units:
        coefficient = scan.first
        ended = 1
        while coefficient <= scan.last:
            skip, bits = ac_skip[position], ac_bits[position]
            position += bits
            if skip < _END_OF_BLOCK:
                coefficient += skip
                continue
            if skip >= _NO_CODE:
                return None
            extra = skip - _END_OF_BLOCK
            if extra:
                ended = (1 << extra) + (int(windows[position - extra]) >> (16 - extra))
            break
        else:
            if coefficient > scan.last + 1:
                return None
        block += ended
    return position if block == units else None
