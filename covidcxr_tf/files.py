"""Files that are there whole or not at all: written aside, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; on success it takes the place of `path`, on an error it goes.

    The temporary name keeps the suffix, as Keras and PIL choose a format by it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        _flush(aside)
        # mkstemp makes files only the user can read; a result is as readable as the user's umask says.
        aside.chmod(0o666 & ~umask())
        os.replace(aside, target)
        _flush(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write `content` to `path` in one step and return the path."""
    with replacing(path) as aside:
        aside.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 `text` to `path` in one step and return the path."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, document: Any) -> Path:
    """Write `document` as indented JSON in one step; NaN and infinity are refused, as JSON has neither."""
    return write_text(path, json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return `value` with NumPy scalars, arrays, paths and tuples turned into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot stand in JSON; write null and say why")
    return value


def distinct_stems(paths: Sequence[str | Path]) -> list[str]:
    """Return one stem a film, so that ``a/film.png``, ``b/film.png`` and ``film.jpg`` write to files of their own.

    The first film of a name keeps it; later ones get ``_2``, ``_3`` and so on, passing over names that are taken. Names
    that differ in case only count as the same: some file systems think so.
    """
    stems = [Path(path).stem for path in paths]
    taken: set[str] = set()
    own = {stem.casefold() for stem in stems}
    result = []
    for stem in stems:
        choice, number = stem, 1
        while choice.casefold() in taken or (number > 1 and choice.casefold() in own):
            number += 1
            choice = f"{stem}_{number}"
        taken.add(choice.casefold())
        result.append(choice)
    return result


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """Return the process's file mode mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
