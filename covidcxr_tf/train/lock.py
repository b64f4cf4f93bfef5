"""One process a run folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from covidcxr_tf.errors import RunFailed, UsageError

NAME = "run.lock"
#: File systems without locks, some network ones.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Hold a run folder, made where it is not there; a folder that stays empty goes again.

    The lock ends with its process, however that ends: the file that a killed one leaves locks nothing.

    Raises
    ------
    UsageError
        If another process holds it, or it is a file.
    RunFailed
        If it cannot be written to.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise UsageError("is a file", where=path, expected="a new folder", remedy="name another with --out")
    fresh = not path.exists()
    handle = _lock(path)
    try:
        yield
    finally:
        (path / NAME).unlink(missing_ok=True)
        os.close(handle)
        if fresh:
            with contextlib.suppress(OSError):  # it holds something, or is gone
                path.rmdir()


def _lock(folder: Path) -> int:
    while True:
        handle = _open(folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 100, 0).decode(errors="replace").strip()
            os.close(handle)
            raise UsageError(
                f"another process ({owner or 'of unknown pid'}) is training here",
                where=folder,
                remedy="wait for it, stop it, or name another folder with --out",
            ) from None
        except OSError as cause:
            if cause.errno not in _NO_LOCKS:
                os.close(handle)
                raise
            print(f"{folder}: no locks on this file system; do not train in it twice at once", file=sys.stderr)
        if _is_there(handle, folder):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"pid {os.getpid()}\n".encode(), 0)
            return handle
        os.close(handle)  # its owner removed it between our opening and our locking


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (FileExistsError, NotADirectoryError):
        raise
    except OSError as cause:
        raise RunFailed(
            f"the run folder cannot be written to: {cause.strerror}",
            where=folder,
            remedy="name another with --out, or mend its rights or its disk",
        ) from cause


def _is_there(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder / NAME))
    except FileNotFoundError:
        return False
