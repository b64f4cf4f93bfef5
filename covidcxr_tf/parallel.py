"""Work on many items by a few threads: results in order, few of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Result]:
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
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
