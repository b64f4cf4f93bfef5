"""Which devices a run uses."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from covidcxr_tf.errors import UsageError


def build_strategy(devices: str = "all") -> Any:
    """Return the distribution strategy for ``all``, ``cpu`` or a number of GPUs.

    One device needs no strategy of its own; two or more are mirrored: each holds the weights, takes its share
    of the batch, and gradients are summed.

    Raises
    ------
    UsageError
        If more devices are asked for than there are, or the word is none of these.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if devices == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if devices == "all":
        count = len(gpus)
    elif devices.isdigit() and int(devices) > 0:
        count = int(devices)
    else:
        raise UsageError(f"--devices {devices}", expected="all, cpu, or a number of devices")
    # Logical CPU devices stand in for GPUs in tests.
    known = gpus or tf.config.list_logical_devices("CPU")
    if count > len(known):
        raise UsageError(f"--devices {count}", expected=f"at most {len(known)}, as many as there are here")
    if count <= 1:
        return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/cpu:0")
    return tf.distribute.MirroredStrategy([device.name for device in known[:count]])
