"""Starts trainings of `trainer.py` in processes of their own, alone or together over the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SCRIPT = Path(__file__).with_name("trainer.py")


class Ended(NamedTuple):
    """How a process ended, and what it printed."""

    code: int
    found: dict[str, Any]
    told: str


def alone(folder: Path, *trainings: dict[str, Any]) -> dict[str, Any]:
    """Return what trainings of one process with four logical devices came to."""
    process = _start(folder, trainings, None)
    ended = _end(process)
    assert ended.code == 0, ended.told[-3000:]
    return ended.found


def together(folder: Path, training: dict[str, Any], count: int = 2) -> list[Ended]:
    """Return how each of so many workers ended; what is left of them after ten minutes is killed."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in held]
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}} for rank in range(count)]
    processes = [_start(folder, [training], json.dumps(task)) for task in tasks]
    try:
        return [_end(process) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _start(folder: Path, trainings: Any, config: str | None) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    if config is not None:
        environ["TF_CONFIG"] = config
    words = [sys.executable, str(SCRIPT), str(folder), json.dumps(list(trainings))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def _end(process: subprocess.Popen[str]) -> Ended:
    out, told = process.communicate(timeout=600)
    lines = out.splitlines()
    return Ended(process.returncode, json.loads(lines[-1]) if lines and process.returncode == 0 else {}, told)
