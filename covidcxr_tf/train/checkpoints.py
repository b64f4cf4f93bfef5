"""Checkpoints: one file with all that a training needs to go on, there whole or not at all.

A file is written aside, flushed, read back and compared, and only then renamed; the folder is flushed after it. A kill
at any moment leaves the checkpoints that were there before. (Keras writes in place: of six files killed while they
were saved, five could not be read.)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr_tf.files import replacing

SCHEMA = 1
#: The newest ones that stay, beside the best epoch's.
KEPT = 2
STATE = "state.json"
#: What `covidcxr_tf.files.replacing` and `save_model` leave behind where they are killed.
_LEFTOVER = re.compile(r"\.[^/]+\.[a-z0-9_]{8}(\.\w+)?|\.covidcxr-[a-z0-9_]{8}")


@dataclass(frozen=True)
class Checkpoint:
    """What was read back.

    Attributes
    ----------
    path : Path
        Its file.
    state : dict
        As it was given to `Checkpoints.save`.
    arrays : list of ndarray
        Values of all variables, in the order in which they were given.
    """

    path: Path
    state: dict[str, Any]
    arrays: list[np.ndarray]


class Checkpoints:
    """The checkpoints of one run folder.

    Attributes
    ----------
    folder : Path
        Holds ``step_<number>.zip`` files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Return the file of a step."""
        return self.folder / f"step_{step:09d}.zip"

    def steps(self) -> list[int]:
        """Return the steps that there are files of, ascending."""
        names = (re.fullmatch(r"step_(\d+)\.zip", path.name) for path in self.folder.glob("step_*.zip"))
        return sorted(int(name[1]) for name in names if name)

    def save(self, step: int, arrays: Sequence[np.ndarray], state: dict[str, Any], best: int | None = None) -> Path:
        """Write a checkpoint, then remove all but it, the one before it and that of the step `best`."""
        with replacing(self.path(step)) as aside:
            _write(aside, arrays, state)
            _compare(aside, arrays, state)
        steps = self.steps()
        for old in set(steps) - set(steps[-KEPT:]) - {best, step}:
            self.path(old).unlink(missing_ok=True)
        return self.path(step)

    def read(self, step: int) -> Checkpoint | None:
        """Return the checkpoint of a step, or None where there is none, or none that is whole."""
        path = self.path(step)
        if not path.is_file():
            return None
        try:
            return Checkpoint(path, *_read(path))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError) as cause:
            print(f"{path}: damaged ({cause}); passed over", file=sys.stderr)
            return None

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; damaged ones that are newer are removed."""
        for step in reversed(self.steps()):
            found = self.read(step)
            if found is not None:
                return found
            self.path(step).unlink(missing_ok=True)
        return None

    def size(self) -> int:
        """Return the bytes that the checkpoints take."""
        return sum(self.path(step).stat().st_size for step in self.steps())

    def clear(self) -> None:
        """Remove all checkpoints."""
        for step in self.steps():
            self.path(step).unlink(missing_ok=True)


def sweep(*folders: Path) -> None:
    """Remove the temporary files that a killed process left in some folders."""
    for folder in folders:
        for path in folder.glob(".*") if folder.is_dir() else ():
            if not _LEFTOVER.fullmatch(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _write(path: Path, arrays: Sequence[np.ndarray], state: dict[str, Any]) -> None:
    with path.open("wb") as stream:
        # Stored, not packed: weights hardly shrink. The archive's check sums tell a damaged file.
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(STATE, json.dumps({"schema_version": SCHEMA, "arrays": len(arrays), **state}))
            for number, values in enumerate(arrays):
                with archive.open(_member(number), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        state = json.loads(archive.read(STATE))
        if state["schema_version"] != SCHEMA:
            raise ValueError(f"layout {state['schema_version']}, not {SCHEMA}")
        arrays = [_array(archive, number) for number in range(state["arrays"])]
    return state, arrays


def _array(archive: zipfile.ZipFile, number: int) -> np.ndarray:
    with archive.open(_member(number)) as member:
        values: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        member.read()  # to the end, where the check sum is compared
    return values


def _compare(path: Path, arrays: Sequence[np.ndarray], state: dict[str, Any]) -> None:
    """Raise `OSError` unless the file holds what it was given: what a disk took is not always what it gives back."""
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read(STATE))
        same = document["arrays"] == len(arrays) and document.keys() >= state.keys()
        for number, values in enumerate(arrays if same else ()):
            same = same and _array(archive, number).tobytes() == np.asarray(values).tobytes()
    if not same:
        raise OSError(5, "the checkpoint does not read back as it was written", str(path))


def _member(number: int) -> str:
    return f"{number:05d}.npy"
