"""``TF_CONFIG``: which machines train together, and which of them this process is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covidcxr_tf.errors import UsageError

EXAMPLE = '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}'
#: A cluster's jobs here, in the order of ranks.
JOBS = ("chief", "worker")
_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")
_SILENT = re.compile(r"stopped sending heartbeats\):?((?:\s*/job:\S+)+)")
_REMOTE = re.compile(r"remote target (/job:\S+)")


@dataclass(frozen=True)
class Task:
    """One process of several.

    Attributes
    ----------
    job, index
        As in ``TF_CONFIG``.
    cluster : mapping
        Job -> the addresses of its tasks.
    """

    job: str
    index: int
    cluster: Mapping[str, tuple[str, ...]]

    @property
    def size(self) -> int:
        """How many processes there are."""
        return sum(len(addresses) for addresses in self.cluster.values())

    @property
    def rank(self) -> int:
        """Place among all of them; 0 is the chief."""
        before = 0 if self.job == JOBS[0] else len(self.cluster.get(JOBS[0], ()))
        return before + self.index

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.name_of(self.job, self.index)

    def name_of(self, job: str, index: int) -> str:
        """Return a task's name with its address: ``worker 1 (host-b:2222)``."""
        addresses = self.cluster.get(job, ())
        return f"{job} {index}" + (f" ({addresses[index]})" if index < len(addresses) else "")

    def gone(self, message: str) -> str | None:
        """Return the name of the task whose loss a message of TensorFlow tells of; None where it tells of none."""
        silent, remote = _SILENT.search(message), _REMOTE.search(message)
        told = silent[1] if silent else remote[1] if remote else message
        named = dict.fromkeys((job, int(index)) for job, index in _TASK.findall(told))
        others = [self.name_of(*task) for task in named if task != (self.job, self.index)]
        return " and ".join(others) or None


def read_task(environ: Mapping[str, str] = os.environ) -> Task | None:
    """Return this process's task, or None where it trains alone: no ``TF_CONFIG``, or a cluster of one.

    Raises
    ------
    UsageError
        For a ``TF_CONFIG`` that says something else than who trains with whom.
    """
    text = environ.get("TF_CONFIG", "").strip()
    if not text or text == "{}":
        return None
    try:
        table = json.loads(text)
    except ValueError as cause:
        raise _refused(f"is no JSON: {cause}") from cause
    cluster, task = (table.get(key) if isinstance(table, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _refused("has no 'cluster' or no 'task'")
    jobs = _addresses(cluster)
    job, index = task.get("type"), task.get("index")
    if job not in jobs:
        raise _refused(f"says that this task is a '{job}'", f"one of {', '.join(jobs)}, as in its cluster")
    # Kubernetes and Slurm hand numbers over as text.
    number = int(index) if isinstance(index, int | str) and re.fullmatch(r"\d+", str(index)) else -1
    if not 0 <= number < len(jobs[job]):
        raise _refused(f"says that this task is number {index!r}", f"0 to {len(jobs[job]) - 1}: {job} has so many")
    found = Task(job, number, jobs)
    return found if found.size > 1 else None


def _addresses(cluster: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    stray = [job for job in cluster if job not in JOBS]
    if stray:
        raise _refused(f"has a job '{stray[0]}'", "worker, and chief where there is one: there are no others here")
    every = []
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses:
            raise _refused(f"names no address of its job '{job}'", "a list of HOST:PORT")
        every += addresses
    for address in every:
        if not isinstance(address, str) or not re.fullmatch(r"\S+:\d+", address):
            raise _refused(f"names the address {address!r}", "HOST:PORT")
    if len(set(every)) < len(every):
        raise _refused("names one address twice", "one a process")
    if len(cluster.get("chief", ())) > 1:
        raise _refused("names several chiefs", "one")
    return {job: tuple(cluster[job]) for job in JOBS if job in cluster}


def _refused(problem: str, expected: str | None = None) -> UsageError:
    return UsageError(
        f"the environment variable TF_CONFIG {problem}",
        expected=expected or f"JSON as in {EXAMPLE}",
        remedy="unset it to train on this machine alone",
    )
