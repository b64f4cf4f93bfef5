"""A version folder that is there whole or not at all: written beside its place, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import umask


def next_version(folder: Path) -> int:
    """Return the version after the highest one in a model's folder, 1 in an empty one."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return 1 + max((int(name) for name in names if name.isascii() and name.isdigit()), default=0)


@contextlib.contextmanager
def publishing(folder: Path, version: int) -> Iterator[Path]:
    """Give an empty folder that becomes ``folder/version`` on success and is gone after an error.

    Its name begins with a dot, which no server takes for a version: one left by a killed process does no harm.

    Raises
    ------
    UsageError
        If the version is there already, or appears in the meantime.
    """
    target = folder / str(version)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    _check_free(target)
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".exporting-{version}-", dir=folder))
    try:
        yield aside
        aside.chmod(0o777 & ~umask())
        _flush(aside)
        _check_free(target)
        try:
            # Renaming onto a folder that holds something fails: two exports cannot mix.
            os.rename(aside, target)
        except OSError as cause:
            _check_free(target)
            raise cause
        _flush_folder(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):  # not empty: another export has come in
                path.rmdir()
        raise


def _check_free(target: Path) -> None:
    if target.exists():
        raise UsageError(
            "this version is there already",
            where=target,
            expected="a version number that is free",
            remedy="leave --version out for the next one",
        )


def _flush(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _flush_folder(Path(root) / name)
        _flush_folder(Path(root))


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
