"""Starts `covidcxr train` in a process of its own and kills it at a file event: no clock is looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

#: What a kill waits for: the first or a later sight of such a name.
EVENTS: dict[str, Callable[[Path], list[str]]] = {
    "saving": lambda run: [name for name in names(run / "checkpoints") if name.startswith(".step_")],
    "saved": lambda run: [name for name in names(run / "checkpoints") if name.startswith("step_")],
    "model": lambda run: [name for name in names(run) if name.startswith((".model.", ".covidcxr-"))],
    "history": lambda run: [name for name in names(run) if name.startswith(".history")],
    "judged": lambda run: [name for name in names(run) if name.startswith(".predictions")],
}


def names(folder: Path) -> list[str]:
    """Return the names in a folder, none where it is not there."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def train(words: Sequence[str], number: int = signal.SIGKILL, event: str = "", sight: int = 1) -> tuple[int, str]:
    """Run `covidcxr train`; at the given sight of another name of an event, send a signal. Return code and stderr."""
    run = Path(words[words.index("--out") + 1])
    before = set(EVENTS[event](run)) if event else set()
    process = subprocess.Popen(
        [sys.executable, "-m", "covidcxr_tf.cli.main", "train", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: set[str] = set()
    while event and process.poll() is None:
        seen |= set(EVENTS[event](run)) - before
        if len(seen) >= sight:
            process.send_signal(number)
            break
    _, told = process.communicate()
    return process.returncode, told
