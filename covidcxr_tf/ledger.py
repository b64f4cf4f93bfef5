"""What a long job has finished, one JSON line each, so that the next process goes on after a kill.

A line is written when its file is whole and under its own name. The line that a kill cuts short does not count.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME, LOCK = "finished.jsonl", "lock"
#: File systems without locks, some network ones.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Ledger:
    """The lines of ``finished.jsonl`` in a job's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def lines(self) -> list[dict[str, Any]]:
        """Return the finished parts, in the order they were finished."""
        try:
            written = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = []
        for line in written[:-1]:  # what follows the last line break was cut short
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def add(self, **facts: Any) -> None:
        """Add a finished part; it is on the disk when this returns."""
        with self.path.open("a+b") as stream:
            if stream.seek(0, os.SEEK_END):
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":  # cut short by a kill
                    stream.write(b"\n")
            stream.write(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def sha256(path: Path) -> str | None:
    """Return the SHA-256 (hex) of a file, None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


@contextlib.contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a job's folder, made where it is not there; one that stays empty goes again.

    The lock ends with its process, however that ends: the file that a killed one leaves locks nothing. Where the file
    system knows no locks, nothing is held.

    Raises
    ------
    BlockingIOError
        If another process holds it and `wait` is false.
    """
    handle = _lock(folder, wait)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        with contextlib.suppress(OSError):  # it holds something, or is gone
            folder.rmdir()


def _lock(folder: Path, wait: bool) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # its owner removed the folder meanwhile
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            if cause.errno not in _NO_LOCKS:
                os.close(handle)
                raise
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder / LOCK)):
                return handle
        os.close(handle)  # its owner removed it between our opening and our locking
