"""Disks that are full, read-only or broken: looked at before the start, and told plainly in the middle."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.train.stopping import AGAIN

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAULTS = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
#: Pictures, tables and logs.
ROOM_FOR_RESULTS = 32_000_000
#: HDF5 and TensorFlow put the number or the words into their message.
_FULL_TEXT = re.compile(r"errno = (28|27|122)\b|No space left on device|File too large|[Dd]isk quota exceeded")


def check_room(folder: Path, state: int, weights: int, held: int) -> None:
    """Raise `RunFailed` where a training would fill the disk.

    Parameters
    ----------
    folder : Path
        Run folder.
    state, weights : int
        Bytes of a checkpoint and of the weights alone. Three checkpoints stay while a fourth is written, and a model
        is held three times while it is.
    held : int
        Bytes that are taken by them already.
    """
    need = max(4 * state + 3 * weights - held, 0) + ROOM_FOR_RESULTS
    free = shutil.disk_usage(folder).free
    if free < need:
        raise RunFailed(
            f"{free / 1e6:.0f} MB are free on its disk",
            where=folder,
            expected=f"{need / 1e6:.0f} MB for checkpoints, model and results",
            remedy="free some and run the same command again with --resume, or name another folder with --out",
        )


@contextlib.contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Turn what a disk does to a training into `RunFailed`; what was saved before is kept.

    Raises
    ------
    RunFailed
    """
    try:
        yield
    except OSError as fault:
        if fault.errno not in FAULTS and not _FULL_TEXT.search(str(fault)):
            raise
        raise _failed(folder, fault.strerror or str(fault), fault.errno in FULL) from fault
    except (RuntimeError, tf.errors.OpError) as fault:
        found = _FULL_TEXT.search(str(fault))
        if found is None:
            raise
        raise _failed(folder, found[0], full=True) from fault


def _failed(folder: Path, what: str, full: bool) -> RunFailed:
    steps = sorted(path.name for path in (folder / "checkpoints").glob("step_*.zip"))
    kept = f"the checkpoint {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    mend = "free some room" if full else "mend the disk or its rights"
    return RunFailed(f"could not be written to: {what}; {kept}", where=folder, remedy=f"{mend}, then {AGAIN}")
