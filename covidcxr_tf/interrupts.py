"""SIGTERM and Ctrl-C noted, for work that ends at the next good moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class Noted:
    """The signal that came, if one did: ``SIGTERM`` or ``SIGINT``."""

    wanted: signal.Signals | None = None


@contextlib.contextmanager
def noted_signals() -> Iterator[Noted]:
    """Note SIGTERM and SIGINT; a second Ctrl-C leaves at once. In other threads than the main one nothing is noted."""
    noted = Noted()

    def note(number: int, frame: FrameType | None) -> None:
        if noted.wanted is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.wanted = noted.wanted or signal.Signals(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
