"""What one training is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from covidcxr_tf.config import TrainConfig
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.train.run_dir import RunDir


@dataclass
class Job:
    """All that one training needs.

    Attributes
    ----------
    model : keras.Model
        Built within ``strategy.scope()``; gives float32 logits.
    loss : callable
        (targets, logits) -> float32 (N,), one loss a film.
    optimizer : keras.optimizers.Optimizer
        Made within ``strategy.scope()``.
    config : TrainConfig
        Epochs, patience and the rest.
    training, validation : Batches
        Where the films come from.
    run : RunDir
        Where results go; ``model.keras`` is the best epoch by ``config.monitor``.
    facts : dict
        Stored within the saved model: classes, image config...
    strategy : tf.distribute.Strategy
        From `build_strategy`.
    callbacks : sequence of keras callbacks
        On top of those that the config asks for.
    forward : callable, optional
        Images -> logits in training, instead of calling the model: recomputation.
    identity : dict
        Name -> what may not change while a run is resumed, such as the digest of its split; stands in each checkpoint.
    profile : bool
        Write a TensorBoard profile of a few steps.
    """

    model: keras.Model
    loss: Callable[[Any, Any], Any]
    optimizer: keras.optimizers.Optimizer
    config: TrainConfig
    training: Batches
    validation: Batches
    run: RunDir
    facts: dict[str, Any]
    strategy: Any
    callbacks: Sequence[keras.callbacks.Callback] = field(default_factory=tuple)
    forward: Callable[[Any], Any] | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    profile: bool = False


def monitor_mode(monitor: str) -> str:
    """Return ``min`` for losses, ``max`` for scores."""
    return "min" if monitor.endswith("loss") else "max"
