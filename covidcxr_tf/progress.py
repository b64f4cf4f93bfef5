"""Progress with an ETA on stderr: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two lines where stderr is no terminal; a log should stay readable.
LOG_INTERVAL = 20.0


class Progress:
    """Counts steps of known number and shows share, speed and time left.

    Parameters
    ----------
    total : int
        Number of steps.
    label : str
        What is being done.
    unit : str
        What one step is.
    """

    def __init__(self, total: int, label: str, unit: str = "films") -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.done = 0
        self.started = time.monotonic()
        self._live = sys.stderr.isatty()
        self._shown = self.started if not self._live else 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` and show them if it is time to."""
        self.done += steps
        now = time.monotonic()
        if now - self._shown >= (0.1 if self._live else LOG_INTERVAL):
            self._shown = now
            self._show(now, note)

    def close(self, note: str = "") -> None:
        """Show the final line."""
        self._show(time.monotonic(), note, last=True)

    def _show(self, now: float, note: str, last: bool = False) -> None:
        elapsed = max(now - self.started, 1e-9)  # a clock may not have ticked yet
        speed = self.done / elapsed
        if last:
            timing = f"{clock(elapsed)}, {speed:.3g} {self.unit}/s"
        else:
            left = (self.total - self.done) / speed if speed else float("inf")
            timing = f"{speed:.3g} {self.unit}/s, {clock(left)} left"
        line = f"{self.label}: {self.done}/{self.total} {self.unit}, {timing}{', ' + note if note else ''}"
        if self._live:
            print(f"\r\033[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def track(items: Iterable[T], total: int, label: str, unit: str = "films") -> Iterator[T]:
    """Yield `items` and show progress."""
    progress = Progress(total, label, unit)
    for item in items:
        yield item
        progress.advance()
    progress.close()


def clock(seconds: float) -> str:
    """Return seconds as ``h:mm:ss`` or ``m:ss``; ``?`` when not finite."""
    if seconds != seconds or seconds in (float("inf"), float("-inf")):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
