"""Work on many items by a few threads: results in order, few of them in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` of each item in the order of the items.

    Parameters
    ----------
    work : callable
        Run in threads: worth it for what waits for a disk or computes outside of Python, as reading films does. What it
        raises is raised here, at its item's turn.
    items : iterable
        Taken as they are needed.
    workers : int
        Threads.
    ahead : int
        Items begun and not yet handed out, at most: this bounds the memory, whatever the number of items.
    """
    waiting: deque[Future[Result]] = deque()
    own: set[threading.Thread] = set()
    pool = ThreadPoolExecutor(workers, initializer=lambda: own.add(threading.current_thread()))
    try:
        for item in items:
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Who leaves this generator half-way may leave it to the garbage collector, which runs in any thread: in one of
        # the pool's own, too, and that cannot wait for itself.
        pool.shutdown(wait=threading.current_thread() not in own, cancel_futures=True)
