"""A few threads that run the model, and a queue of bounded length before them.

Requests are not put into one batch: on a CPU the rounding of a row may depend on the rows beside it, and one client's
film would then change another's answer in the last bits. Each request runs by itself, so that it is answered bit by
bit as if it were alone; clients that want the speed of a batch send one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from covidcxr_tf.serving.metrics import Metrics
from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.servable import Arrays, Servable
from covidcxr_tf.serving.versions import Versions

Task = Callable[[Servable, float], Any]
"""What is done with a leased version and the seconds that are left."""


@dataclass(frozen=True)
class Job:
    """A request in the queue."""

    task: Task
    version: int | None
    label: str | None
    submitted: float
    deadline: float
    future: Future[tuple[Any, int]] = field(default_factory=Future)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, negative after it."""
        return self.deadline - time.monotonic()


class Worker:
    """Runs requests on the versions of a model.

    Parameters
    ----------
    versions : Versions
        Where a version is leased from for the time of one request.
    threads : int
        Requests that run at once.
    waiting : int
        Requests that may wait for a thread; one more is refused (RESOURCE_EXHAUSTED).
    timeout_s : float
        Longest time from `submit` to the answer, waiting included (DEADLINE_EXCEEDED).
    """

    def __init__(self, versions: Versions, *, threads: int = 2, waiting: int = 64, timeout_s: float = 60.0) -> None:
        self.versions = versions
        self.metrics = Metrics()
        self.metrics.gauge("covidcxr_queue", "Requests in the queue", lambda: {"waiting": self._in_queue}, "state")
        self.metrics.gauge("covidcxr_version_available", "1 for a version that answers", self._available, "version")
        self.timeout_s = timeout_s
        self.waiting = waiting
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._in_queue = 0
        self._closed = False
        self._leaving = False
        self._threads = [threading.Thread(target=self._serve, name=f"worker-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def in_queue(self) -> int:
        """How many requests wait for a thread."""
        return self._in_queue

    @property
    def open(self) -> bool:
        """Whether new clients should come."""
        return not (self._closed or self._leaving)

    def leave(self) -> None:
        """Say that the end is near: `open` turns false, requests are still taken until `close`."""
        self._leaving = True

    def run(
        self,
        signature: str | None,
        inputs: Mapping[str, npt.NDArray[Any]],
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> tuple[Arrays, int]:
        """Wait for the outputs of a signature; returns them and the version that gave them.

        Raises
        ------
        ServingProblem
            RESOURCE_EXHAUSTED (queue full), DEADLINE_EXCEEDED, UNAVAILABLE (stopping), or that of the request.
        """

        def task(servable: Servable, seconds_left: float) -> Arrays:
            answer = servable.run(signature, inputs, outputs=outputs, timeout_s=seconds_left)
            self.metrics.films(answer)
            return answer

        return self.do(task, version=version, label=label, timeout_s=timeout_s)

    def do(
        self, task: Task, *, version: int | None = None, label: str | None = None, timeout_s: float | None = None
    ) -> tuple[Any, int]:
        """Wait for ``task(servable, seconds_left)`` in a worker's thread; returns its result and the version."""
        job = self.submit(task, version=version, label=label, timeout_s=timeout_s)
        try:
            return job.future.result(timeout=max(0.0, job.seconds_left()))
        except FutureTimeout as late:
            job.future.cancel()
            raise deadline_exceeded() from late

    def submit(
        self, task: Task, *, version: int | None = None, label: str | None = None, timeout_s: float | None = None
    ) -> Job:
        """Put a task into the queue and return its job at once; who waits on ``job.future`` minds the deadline.

        Raises
        ------
        ServingProblem
            RESOURCE_EXHAUSTED if the queue is full, UNAVAILABLE once `close` was called.
        """
        seconds = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
        now = time.monotonic()
        job = Job(task, version, label, now, now + seconds)
        with self._lock:
            self._check_room()
            self._in_queue += 1
            self._queue.put(job)
        return job

    def check_room(self) -> None:
        """Raise what `submit` would raise now: who asks first need not read a body for nothing."""
        with self._lock:
            self._check_room()

    def _check_room(self) -> None:
        if self._closed:
            self.metrics.refused("UNAVAILABLE")
            raise ServingProblem("UNAVAILABLE", "The server is stopping")
        if self._in_queue >= self.waiting:
            self.metrics.refused("RESOURCE_EXHAUSTED")
            raise ServingProblem("RESOURCE_EXHAUSTED", f"The queue of {self.waiting} requests is full; try again")

    def _available(self) -> dict[str, float]:
        return {str(status.version): float(status.state == "AVAILABLE") for status in self.versions.statuses()}

    def close(self, drain: bool = True) -> None:
        """Take no more requests and wait for the threads: after all that wait (`drain`), or after those that run."""
        with self._lock:
            already, self._closed = self._closed, True
            if not already:
                if not drain:
                    self._refuse_waiting()
                for _ in self._threads:
                    self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _refuse_waiting(self) -> None:
        while not self._queue.empty():
            job = self._queue.get_nowait()
            self._in_queue -= 1
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(ServingProblem("UNAVAILABLE", "The server is stopping"))

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._lock:
                self._in_queue -= 1
            self._answer(job)
            del job  # the thread would hold the last request's films until the next one comes

    def _answer(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        begun = time.monotonic()
        code = "OK"
        try:
            left = job.seconds_left()
            if left <= 0:
                raise deadline_exceeded()
            with self.versions.lease(job.version, job.label) as servable:
                answer = job.task(servable, left), servable.version
        except BaseException as fault:
            code = fault.code if isinstance(fault, ServingProblem) else "INTERNAL"
            job.future.set_exception(fault)
        else:
            job.future.set_result(answer)
        finally:
            self.metrics.ran(code, begun - job.submitted, time.monotonic() - begun)


def deadline_exceeded() -> ServingProblem:
    """Return the problem of a request that took too long (504)."""
    return ServingProblem("DEADLINE_EXCEEDED", "Deadline exceeded before the answer was ready")
