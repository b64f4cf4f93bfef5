"""The optimiser that a config names."""

from __future__ import annotations

import keras

from covidcxr_tf.config import TrainConfig


def build_optimizer(config: TrainConfig, *, mixed_precision: str = "none") -> keras.optimizers.Optimizer:
    """Return Adam or SGD; under float16 wrapped so that small gradients do not vanish."""
    if config.optimizer == "adam":
        decay = config.weight_decay or None
        optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(config.learning_rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(
            config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay or None
        )
    if mixed_precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
