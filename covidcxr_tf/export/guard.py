"""A film that cannot be decoded must not be an error: its neighbours in the request would fail with it.

TensorFlow has no `try` in a graph. A data set that ignores errors is one: what raises inside is left out of it, and
the fallback that is appended takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def guarded(function: Callable[[tf.Tensor], Any], argument: tf.Tensor, fallback: Any) -> Any:
    """Return `function(argument)`, or `fallback` where any operation in it fails.

    Parameters
    ----------
    function : callable
        From one tensor to tensors; traced, run on the CPU.
    argument : tensor
    fallback : tensors
        Same structure and types as the result; shapes may differ.

    Returns
    -------
    tensors
        Of the shape that result and fallback have in common.
    """
    as_it_is = tf.autograph.experimental.do_not_convert(function)
    tried = tf.data.Dataset.from_tensors(argument).map(as_it_is).ignore_errors()
    either = tried.concatenate(tf.data.Dataset.from_tensors(fallback)).take(1)
    options = tf.data.Options()
    # One element: nothing to tune, and no threads of its own to start.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return either.with_options(options).get_single_element()
