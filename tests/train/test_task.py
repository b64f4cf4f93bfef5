"""``TF_CONFIG``: who is who, what is refused, and whose loss TensorFlow's messages tell of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.train.task import EXAMPLE, Task, read_task

WORKERS = ["host-a:1", "host-b:2", "host-c:3"]


def told(cluster: Any, kind: str = "worker", index: Any = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_ranks_count_the_chief_first() -> None:
    assert read_task(told({"worker": WORKERS}, index=1)) == Task("worker", 1, {"worker": tuple(WORKERS)})
    ranks = [
        task.rank
        for kind, index in (("chief", 0), ("worker", 0), ("worker", 2))
        if (task := read_task(told({"worker": WORKERS, "chief": ["host-d:4"]}, kind, index))) is not None
    ]
    assert ranks == [0, 1, 3]
    example = read_task({"TF_CONFIG": EXAMPLE})
    assert example is not None and (example.size, example.rank, example.name) == (2, 0, "worker 0 (host-a:2222)")


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": "{}"}, told({"worker": ["host:1"]})])
def test_who_has_no_others_trains_alone(environ: dict[str, str]) -> None:
    assert read_task(environ) is None


def test_numbers_may_be_text_as_slurm_and_kubernetes_give_them() -> None:
    task = read_task(told({"worker": WORKERS}, index="2"))
    assert task is not None and task.rank == 2


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TF_CONFIG": "{worker"}, "is no JSON"),
        ({"TF_CONFIG": "[]"}, "has no 'cluster'"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:2"]}}'}, "no 'task'"),
        (told({"worker": WORKERS, "ps": ["p:1"]}), "has a job 'ps'"),
        (told({"worker": []}), "names no address of its job 'worker'"),
        (told({"worker": "host:1"}), "names no address"),
        (told({"worker": ["host", "b:2"]}), "names the address 'host'"),
        (told({"worker": ["a:1", 7]}), "names the address 7"),
        (told({"worker": ["a:1", "a:1"]}), "one address twice"),
        (told({"chief": ["a:1", "b:1"], "worker": WORKERS}, "chief"), "several chiefs"),
        (told({"worker": WORKERS}, "chief"), "says that this task is a 'chief'; expected one of worker"),
        (told({"worker": WORKERS}, index=3), "says that this task is number 3; expected 0 to 2"),
        (told({"worker": WORKERS}, index=-1), "number -1"),
        (told({"worker": WORKERS}, index=None), "number None"),
        (told({"worker": WORKERS}, index=1.0), "number 1.0"),
    ],
)
def test_what_is_no_cluster_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        read_task(environ)
    assert refused.value.exit_code == 2
    assert "unset it to train on this machine alone" in str(refused.value)


def test_the_command_says_so_before_it_loads_tensorflow(covidcxr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "{")
    done = covidcxr("train", "--arch", "base")
    assert done.code == 2 and "TF_CONFIG is no JSON" in done.err
    monkeypatch.setenv("TF_CONFIG", told({"worker": WORKERS})["TF_CONFIG"])
    done = covidcxr("train", "--arch", "base", "--find-lr")
    assert done.code == 2 and "--find-lr where TF_CONFIG names several workers" in done.err


SILENT = """Collective ops is aborted by: Error reported from /job:worker/task:2: The following tasks are unhealthy \
(stopped sending heartbeats):
/job:worker/replica:0/task:1
The tasks have crashed. [[{{node CollectiveReduceV2}}]]"""
RESET = """Collective ops is aborted by: recvmsg:Connection reset by peer
Additional GRPC error information from remote target /job:worker/replica:0/task:0 while calling /tensorflow.Worker"""


@pytest.mark.parametrize(
    ("index", "message", "name"),
    [
        (0, SILENT, "worker 1 (host-b:2)"),  # told of by worker 2, which lives
        (2, RESET, "worker 0 (host-a:1)"),
        (0, SILENT.replace("task:1\n", "task:1\n/job:worker/replica:0/task:2\n"), "worker 1 (host-b:2) and worker 2"),
        (0, "Matrix size-incompatible on /job:worker/replica:0/task:0/device:CPU:0", None),  # its own fault
        (0, "Out of range: End of sequence", None),
    ],
)
def test_who_is_gone_is_named(index: int, message: str, name: str | None) -> None:
    gone = Task("worker", index, {"worker": tuple(WORKERS)}).gone(message)
    assert gone == name if name is None else (gone or "").startswith(name)
