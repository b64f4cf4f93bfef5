"""A process that reads films for `hostile.py`: one line of JSON in, the bytes behind it, one line of JSON out.

It measures each read: seconds of computing (not of waiting for a busy machine), memory beyond what the process held
before, and lines that were said on the way.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    """Answer until the input ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "w")
    said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    os.dup2(said.fileno(), 2)
    os.dup2(said.fileno(), 1)
    _warm_up()
    answers.write("ready\n")
    answers.flush()
    while line := questions.readline():
        asked = json.loads(line)
        content = questions.read(asked["bytes"]) if "bytes" in asked else None
        answers.write(json.dumps(judge(asked["name"], asked.get("path"), content, said)) + "\n")
        answers.flush()


def _warm_up() -> None:
    """Import what reading imports, so that the first film is not charged for it."""
    from hostile_mutants import seeds

    from covidcxr_tf.errors import ImageError
    from covidcxr_tf.imaging.reading import read_image

    warnings.simplefilter("always")
    for files in seeds().values():
        for _, content in files:
            try:
                read_image(content)
            except ImageError:
                continue


def judge(name: str, path: str | None, content: bytes | None, said: Any) -> dict[str, Any]:
    """Read one film and return what came of it: ``film``, ``refused`` or ``crash``, and its cost."""
    from covidcxr_tf.errors import ImageError
    from covidcxr_tf.imaging.reading import read_image

    gc.collect()
    before, start = _memory("VmRSS", clear=True), time.process_time()
    spoken = said.seek(0, os.SEEK_END)
    kind, detail = "crash", ""
    source: Any = path if content is None else content
    try:
        film = read_image(source, name=None if content is None else name)
        detail = wrong_film(film)
        kind = "crash" if detail else "film"
        del film
    except ImageError as fault:
        where = path if content is None else name
        kind = "refused" if fault.where == where and fault.problem.strip() else "crash"
        detail = str(fault)
    except BaseException as fault:  # decoders have been seen to leave by one
        detail = f"{type(fault).__name__}: {fault}"
    seconds, peak = time.process_time() - start, _memory("VmHWM") - before
    sys.stderr.flush()
    said.seek(spoken)
    lines = said.read().decode(errors="replace").splitlines()
    return {"kind": kind, "detail": detail[:500], "seconds": seconds, "mb": peak / 1024, "lines": lines[:20]}


def wrong_film(film: Any) -> str:
    """Return what is wrong with what `read_image` gave; "" for a film."""
    if not isinstance(film, np.ndarray) or film.dtype != np.float32 or film.ndim != 2:
        return f"no float32 (rows, columns): {type(film).__name__} {getattr(film, 'dtype', '')}"
    if not np.isfinite(film).all() or film.min() < 0 or film.max() > 1:
        return f"levels from {film.min()} to {film.max()}"
    return ""


def _memory(field: str, clear: bool = False) -> int:
    """Return a line of the process's status in kB; 0 where the system has none. `clear` forgets the peak before."""
    if not STATUS.exists():
        return 0
    if clear:
        CLEAR.write_text("5")
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field))


if __name__ == "__main__":
    main()
