"""The optimiser that a config names, and its learning rate."""

from __future__ import annotations

import math

import keras

from covidcxr_tf.config import TrainConfig


def build_optimizer(config: TrainConfig, *, mixed_precision: str = "none") -> keras.optimizers.Optimizer:
    """Return Adam or SGD; under float16 wrapped so that small gradients do not vanish."""
    rate, decay = scaled_rate(config), config.weight_decay or None
    if config.optimizer == "adam":
        optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=config.momentum, weight_decay=decay)
    if mixed_precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def scaled_rate(config: TrainConfig) -> float:
    """Return the learning rate for the batch that is trained with: ``learning_rate`` scaled as ``lr_scaling`` says.

    Source: Goyal 2017, section 2.1 (linear); Krizhevsky 2014, section 5 (square root).
    """
    if config.lr_scaling == "none" or not config.base_batch_size:
        return config.learning_rate
    share = config.batch_size / config.base_batch_size
    return config.learning_rate * (share if config.lr_scaling == "linear" else math.sqrt(share))


def told_rate(config: TrainConfig) -> str:
    """Return the learning rate and how it came about, for a log."""
    rate = scaled_rate(config)
    if rate == config.learning_rate:
        return f"learning rate {rate:.6g}"
    return (
        f"learning rate {rate:.6g}: {config.learning_rate:.6g} for batches of {config.base_batch_size}, "
        f"{config.lr_scaling} scaling to {config.batch_size}"
    )
