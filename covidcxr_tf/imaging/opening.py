"""Opening a film: paths, bytes and file objects, and what goes wrong before and while a decoder runs."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from covidcxr_tf.errors import ImageError

Source = str | Path | bytes | bytearray | memoryview | BinaryIO

MAX_PIXELS = 100_000_000
"""Largest film read unless the caller says otherwise: 10,000 x 10,000, four times the largest detector sold."""

MAX_BYTES = 1 << 30
"""Largest file read (1 GiB): above what `MAX_PIXELS` 16-bit colour pixels need without compression."""

MIN_SIDE = 32
"""Shortest side in pixels of what can be a chest film; a lung is not to be seen below it."""


def source_name(source: Source, name: str | None = None) -> str:
    """Return what an error calls the source: `name`, its path, or that it came from memory."""
    if name:
        return name
    if isinstance(source, (str, Path)):
        return str(source)
    label = getattr(source, "name", None)
    return label if isinstance(label, str) else "film from memory"


@contextlib.contextmanager
def opened(source: Source, name: str | None = None) -> Iterator[BinaryIO]:
    """Give a seekable binary stream at its start; a path is opened, not read, so that a header costs little.

    Raises
    ------
    ImageError
        If there is no such file, it is a folder, it cannot be opened, it is empty, or it is larger than `MAX_BYTES`.
    """
    where = source_name(source, name)
    if isinstance(source, (str, Path)):
        with _opened_path(Path(source), where) as stream:
            yield stream
    elif isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        _check_bytes(len(content), where)
        yield io.BytesIO(content)
    elif hasattr(source, "read"):
        yield io.BytesIO(_read_stream(source, where))
    else:
        raise TypeError(f"expected a path, bytes or a binary file object, got {type(source).__name__}")


@contextlib.contextmanager
def _opened_path(path: Path, where: str) -> Iterator[BinaryIO]:
    try:
        if path.is_dir():
            raise ImageError("is a folder", where=where, expected="a film", remedy="name a file in it")
        if path.exists() and not path.is_file():
            raise ImageError("is neither a file nor a folder", where=where, expected="a film")
        _check_bytes(path.stat().st_size, where)
        stream = path.open("rb")
    except FileNotFoundError as cause:
        raise ImageError("no such file", where=where, remedy="check the path") from cause
    except PermissionError as cause:
        raise ImageError("may not be read", where=where, remedy="check the file's permissions") from cause
    except (OSError, ValueError) as cause:  # a path with a NUL byte is a ValueError
        raise ImageError(f"cannot be opened ({cause})", where=where) from cause
    with stream:
        yield stream


def _read_stream(source: Any, where: str) -> bytes:
    try:
        content = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        raise ImageError(f"cannot be read ({cause})", where=where) from cause
    if not isinstance(content, bytes):
        raise ImageError("the file object gives text", where=where, expected='a file opened with mode "rb"')
    _check_bytes(len(content), where)
    return content


def _check_bytes(count: int, where: str) -> None:
    if count == 0:
        raise ImageError("is empty (0 bytes)", where=where, expected="a film")
    if count > MAX_BYTES:
        raise ImageError(f"has {count} bytes", where=where, expected=f"at most {MAX_BYTES}")


def check_size(rows: int, columns: int, max_pixels: int, where: str) -> None:
    """Refuse a film by the size its header tells, before a pixel is decoded.

    Raises
    ------
    ImageError
        If a side is shorter than `MIN_SIDE` or there are more than `max_pixels` pixels.
    """
    if min(rows, columns) < MIN_SIDE:
        raise ImageError(
            f"a {rows}x{columns} film is too small", where=where, expected=f"at least {MIN_SIDE} pixels a side"
        )
    if rows * columns > max_pixels:
        raise ImageError(
            f"{rows}x{columns} = {rows * columns} pixels are too many",
            where=where,
            expected=f"at most {max_pixels}",
            remedy="raise max_pixels if the film is really so large",
        )


@contextlib.contextmanager
def decoding(where: str, what: str, *, quotes: bool = True) -> Iterator[None]:
    """Turn whatever a decoder throws into one ImageError with its cause, and keep its warnings off the screen.

    With ``quotes=False`` the cause gives its kind alone: what a DICOM parser says may repeat what stands in the header,
    and that names the patient.
    """
    try:
        with _quiet():
            yield
    except ImageError:
        raise
    except MemoryError as cause:
        raise ImageError(f"the {what} needs more memory than there is", where=where) from cause
    except Exception as cause:  # decoders throw struct.error, SyntaxError, IndexError, RecursionError and more
        detail = f"{type(cause).__name__}: {cause}" if quotes and str(cause) else type(cause).__name__
        raise ImageError(
            f"the {what} is damaged or of an unknown kind ({detail[:200]})",
            where=where,
            remedy="get the original file again",
        ) from (cause if quotes else None)


class _Quiet:
    """Hides decoders' warnings while any thread decodes.

    `warnings.catch_warnings` alone restores a wrong state when two threads overlap; here the first one in saves the
    state and the last one out restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: warnings.catch_warnings | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"(PIL|pydicom|covidcxr_tf\.imaging)(\.|$)")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._saved is not None:
                    self._saved.__exit__(None, None, None)
                    self._saved = None


_quiet = _Quiet()
