"""SIGTERM and Ctrl-C: the step under way is finished and saved first."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from covidcxr_tf.errors import Stopped

AGAIN = "run the same command again with --resume"


class StopSignals:
    """What was asked for by signals since `stop_signals` was entered.

    Attributes
    ----------
    wanted : signal or None
        ``SIGTERM`` or ``SIGINT`` that came while `deferred`.
    """

    def __init__(self) -> None:
        self.wanted: signal.Signals | None = None
        self._deferring = 0

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let signals only be noted in `wanted`; whoever enters this looks there after each step.

        One that came too late for that takes effect at the end.
        """
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1
        if self.wanted is not None and not self._deferring:
            raise self.stop("after the last step")

    def stop(self, when: str) -> BaseException:
        """Return what to raise for `wanted`: `Stopped` (exit code 75) or KeyboardInterrupt (130)."""
        if self.wanted == signal.SIGINT:
            return KeyboardInterrupt()
        return Stopped(f"stopped by SIGTERM {when}; nothing that was trained is lost", remedy=AGAIN)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note a signal, or end what is under way where no training is."""
        again = self.wanted is not None
        if not again:
            self.wanted = signal.Signals(number)
        if not self._deferring or (again and number == signal.SIGINT):
            self.wanted = signal.Signals(number)
            raise self.stop("outside of training")
        if number == signal.SIGINT:
            print("\nthe step under way is finished and saved; Ctrl-C again leaves at once", file=sys.stderr)


_current: StopSignals | None = None


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Take over SIGTERM and SIGINT; one within another is the same, and in other threads than the main nothing is."""
    global _current
    if _current is not None:
        yield _current
        return
    if threading.current_thread() is not threading.main_thread():
        yield StopSignals()
        return
    signals = _current = StopSignals()
    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, signals.handle)
        yield signals
    finally:
        _current = None
        for number, handler in before.items():
            signal.signal(number, handler)
