from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.work import Worker


class Held:
    """A task that says when it runs and goes on when it may."""

    def __init__(self) -> None:
        self.runs, self.may_end = threading.Event(), threading.Event()

    def __call__(self, servable: Any, seconds_left: float) -> str:
        self.runs.set()
        assert self.may_end.wait(30)
        return "done"


@pytest.fixture
def small(serving: tuple) -> Iterator[Worker]:
    worker = Worker(serving[1], threads=1, waiting=2, timeout_s=30)
    yield worker
    worker.close()


def quick(servable: Any, seconds_left: float) -> int:
    return int(servable.version)


def test_outputs_and_the_version_that_gave_them(small: Worker, film_of: Callable[..., bytes]) -> None:
    films = {"image_bytes": np.array([film_of(1)], dtype=object)}
    newest, version = small.run(None, films)
    assert version == 2
    stable, version = small.run(None, films, label="stable")
    assert version == 1
    np.testing.assert_allclose(stable["probabilities"][0, 1], 2 * newest["probabilities"][0, 1], rtol=1e-6)
    with pytest.raises(ServingProblem, match="not found in signature def"):
        small.run("nope", films)


def test_one_more_than_the_queue_holds_is_refused(small: Worker) -> None:
    held = Held()
    first = small.submit(held)
    assert held.runs.wait(30)
    waiting = [small.submit(quick) for _ in range(2)]
    assert small.in_queue == 2
    with pytest.raises(ServingProblem) as full:
        small.submit(quick)
    assert (full.value.code, full.value.http_status) == ("RESOURCE_EXHAUSTED", 429)
    with pytest.raises(ServingProblem):
        small.check_room()
    held.may_end.set()
    assert first.future.result(30) == ("done", 2)
    assert [job.future.result(30) for job in waiting] == [(2, 2), (2, 2)]
    small.check_room()


def test_who_waits_too_long_is_told_and_is_never_run(small: Worker) -> None:
    held, ran = Held(), threading.Event()
    first = small.submit(held)
    assert held.runs.wait(30)
    with pytest.raises(ServingProblem) as late:
        small.do(lambda servable, left: ran.set(), timeout_s=0.01)
    assert (late.value.code, late.value.http_status) == ("DEADLINE_EXCEEDED", 504)
    held.may_end.set()
    first.future.result(30)
    small.do(quick)
    assert not ran.is_set()


def test_a_deadline_that_passed_in_the_queue(small: Worker) -> None:
    job = small.submit(quick, timeout_s=-1.0)
    with pytest.raises(ServingProblem, match="Deadline exceeded"):
        job.future.result(30)


def test_a_defect_of_one_request_leaves_the_thread_alive(small: Worker) -> None:
    def broken(servable: Any, left: float) -> None:
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        small.do(broken)
    assert small.do(quick) == (2, 2)


def test_close_finishes_what_waits(serving: tuple) -> None:
    worker = Worker(serving[1], threads=1, waiting=4)
    held = Held()
    jobs = [worker.submit(held), worker.submit(quick)]
    assert held.runs.wait(30)
    worker.leave()
    assert not worker.open
    jobs.append(worker.submit(quick))  # still taken: the client may not have seen it yet
    closing = threading.Thread(target=worker.close)
    closing.start()
    held.may_end.set()
    closing.join(30)
    assert [job.future.result(0)[0] for job in jobs] == ["done", 2, 2]
    with pytest.raises(ServingProblem) as gone:
        worker.submit(quick)
    assert (gone.value.code, gone.value.http_status) == ("UNAVAILABLE", 503)
    worker.close()  # a second time is nothing


def test_close_without_drain_refuses_what_waits(serving: tuple) -> None:
    worker = Worker(serving[1], threads=1, waiting=4)
    held = Held()
    first, second = worker.submit(held), worker.submit(quick)
    assert held.runs.wait(30)
    closing = threading.Thread(target=lambda: worker.close(drain=False))
    closing.start()
    with pytest.raises(ServingProblem) as refused:
        second.future.result(30)
    assert refused.value.code == "UNAVAILABLE"
    held.may_end.set()
    closing.join(30)
    assert first.future.result(0) == ("done", 2)


def test_metrics_count_what_happened(small: Worker, film_of: Callable[..., bytes]) -> None:
    small.run(None, {"image_bytes": np.array([film_of(1), b"bad"], dtype=object)})
    with pytest.raises(ServingProblem):
        small.do(quick, version=9)
    lines = small.metrics.text().decode().splitlines()
    assert 'covidcxr_films_total{status="ok"} 1.0' in lines
    assert 'covidcxr_films_total{status="unreadable"} 1.0' in lines
    assert 'covidcxr_runs_total{code="OK"} 1.0' in lines
    assert 'covidcxr_runs_total{code="NOT_FOUND"} 1.0' in lines
    assert 'covidcxr_queue{state="waiting"} 0.0' in lines
    assert 'covidcxr_version_available{version="2"} 1.0' in lines
