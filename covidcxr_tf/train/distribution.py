"""Which devices a run uses, on this machine and on others."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from typing import Any

import tensorflow as tf

from covidcxr_tf.errors import RunFailed, UsageError
from covidcxr_tf.train.crew import Crew
from covidcxr_tf.train.task import read_task

_connected: Crew | None = None


def connect(devices: str = "all") -> Crew:
    """Return the crew that ``TF_CONFIG`` names; the first call waits until all of it is there.

    It must come before anything else that TensorFlow computes. `devices` are those of each machine.

    Raises
    ------
    UsageError
        For a ``TF_CONFIG`` or `devices` that cannot be, or where TensorFlow has computed something before.
    RunFailed
        If the others do not come.
    """
    global _connected
    if _connected is None:
        task = read_task()
        if task is None:
            return Crew()
        _show(devices)
        print(f"{task.name}: waiting for all {task.size} workers", file=sys.stderr)
        try:
            _connected = Crew(task, tf.distribute.MultiWorkerMirroredStrategy())
        except (tf.errors.OpError, RuntimeError, ValueError) as fault:
            if "configured" in str(fault):
                raise UsageError(
                    "the environment variable TF_CONFIG is set, and TensorFlow has computed something before",
                    remedy="call `connect` first",
                ) from fault
            raise RunFailed(
                f"{task.name} does not reach the others: {str(fault).splitlines()[0]}",
                expected=f"{task.size} workers, started within an hour, that reach each other's ports",
            ) from fault
        if threading.current_thread() is threading.main_thread():
            # TensorFlow takes SIGTERM for itself, to tell the others, and would let no one here hear of it.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return _connected


def _show(devices: str) -> None:
    """Let TensorFlow see so many GPUs of this machine."""
    gpus = tf.config.list_physical_devices("GPU")
    if devices == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif devices != "all":
        count = _number(devices)
        if count > max(len(gpus), 1):
            raise UsageError(
                f"--devices {count}", expected=f"at most {max(len(gpus), 1)}, as many as this machine has here"
            )
        tf.config.set_visible_devices(gpus[:count], "GPU")


def build_strategy(devices: str = "all") -> Any:
    """Return the distribution strategy for ``all``, ``cpu`` or a number of GPUs.

    One device needs no strategy of its own; two or more are mirrored: each holds the weights, takes its share
    of the batch, and gradients are summed. So are those of several machines, where ``TF_CONFIG`` names them.

    Raises
    ------
    UsageError
        If more devices are asked for than there are, or the word is none of these.
    """
    crew = connect(devices)
    if not crew.alone:
        return crew.strategy
    gpus = tf.config.list_logical_devices("GPU")
    if devices == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    count = len(gpus) if devices == "all" else _number(devices)
    # Logical CPU devices stand in for GPUs in tests.
    known = gpus or tf.config.list_logical_devices("CPU")
    if count > len(known):
        raise UsageError(f"--devices {count}", expected=f"at most {len(known)}, as many as there are here")
    if count <= 1:
        return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/cpu:0")
    return _mirrored(tuple(device.name for device in known[:count]))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """Return the one strategy of a process for some devices: a second would number its meetings as the first did.

    TensorFlow then takes a sum of the second network for one of the first, and says that shapes do not match.
    """
    return tf.distribute.MirroredStrategy(list(devices))


def _number(devices: str) -> int:
    if devices.isdigit() and int(devices) > 0:
        return int(devices)
    raise UsageError(f"--devices {devices}", expected="all, cpu, or a number of devices")


def crew_of(strategy: Any) -> Crew:
    """Return the crew whose strategy this is; one that is alone for any other."""
    return _connected if _connected is not None and _connected.strategy is strategy else Crew()
