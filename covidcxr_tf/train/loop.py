"""The only training loop: one device or many, Keras callbacks, a run folder.

Why not `Model.fit`: under MultiWorkerMirroredStrategy it fails in Keras 3.15, and it restarts an epoch's data
from anywhere. Keras callbacks that watch epochs (EarlyStopping, ReduceLROnPlateau, TensorBoard, CSVLogger) work
here as they do there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covidcxr_tf.config import TrainConfig
from covidcxr_tf.errors import RunFailed
from covidcxr_tf.files import write_text
from covidcxr_tf.models.files import load_model, save_model
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.progress import Progress
from covidcxr_tf.train.run_dir import RunDir
from covidcxr_tf.train.validation import build_eval_step, validate


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


def fit(job: Job) -> pd.DataFrame:
    """Train, keep the best epoch as ``model.keras``, and return the history, one row an epoch.

    Columns: epoch (from 1), loss, val_loss, the task's ``val_`` scores, learning_rate, seconds, films_per_second.
    On return `job.model` holds the best epoch's weights.

    Raises
    ------
    RunFailed
        If the loss is not a number.
    """
    # Callbacks reach the learning rate through `model.optimizer`; the loop itself does not use what compile made.
    with job.strategy.scope():
        job.model.compile(optimizer=job.optimizer, jit_compile=False)
    job.model.stop_training = False
    callbacks = _callback_list(job)
    step = build_train_step(job.model, job.loss, job.optimizer, job.strategy, forward=job.forward, l1=job.config.l1)
    judge = build_eval_step(job.model, job.loss, dense=job.validation.targets is None)
    best = _Best(job)
    logger = job.run.logger()
    rows: list[dict[str, float]] = []
    callbacks.on_train_begin()
    for epoch in range(1, job.config.epochs + 1):
        callbacks.on_epoch_begin(epoch - 1)
        row = _one_epoch(job, step, judge, epoch, callbacks)
        rows.append(row)
        write_text(job.run.history, pd.DataFrame(rows).to_csv(index=False))
        logger.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.6g}" for k, v in row.items() if k != "epoch"))
        best.see(row)
        callbacks.on_epoch_end(epoch - 1, {k: v for k, v in row.items() if k not in ("epoch", "seconds")})
        if job.model.stop_training:
            logger.info("stopped after epoch %d: no better %s", epoch, job.config.monitor)
            break
    callbacks.on_train_end()
    best.restore()
    return pd.DataFrame(rows)


def build_train_step(
    model: keras.Model,
    loss: Callable,
    optimizer: Any,
    strategy: Any,
    *,
    forward: Callable[[Any], Any] | None = None,
    l1: float = 0.0,
) -> Callable[[Any], Any]:
    """Return a compiled function: one global batch -> its mean weighted loss (scalar).

    `forward` (images -> logits) replaces the call of the model; `l1` times the sum of all absolute kernel weights is
    added to the loss.
    """
    call = forward or (lambda images: model(images, training=True))
    kernels = [weight for weight in model.trainable_variables if weight.path.endswith("kernel")] if l1 else []
    with strategy.scope():  # the optimiser's variables lie beside the model's
        optimizer.build(model.trainable_variables)

    def replica_step(batch: dict[str, Any]) -> Any:
        context = tf.distribute.get_replica_context()
        count = tf.cast(tf.shape(batch["weight"])[0], tf.float32)
        # The films really in the batch, over all replicas: the last batch of an epoch is smaller.
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, count) if strategy.num_replicas_in_sync > 1 else count
        with tf.GradientTape() as tape:
            logits = call(batch["image"])
            each = loss(batch["target"], logits) * batch["weight"]
            mean = tf.reduce_sum(each) / count
            if model.losses:  # weight penalties; each replica adds its share
                mean += tf.add_n(model.losses) / strategy.num_replicas_in_sync
            if kernels:
                total = tf.add_n([tf.reduce_sum(tf.abs(tf.cast(kernel, tf.float32))) for kernel in kernels])
                mean += l1 * total / strategy.num_replicas_in_sync
            scaled = optimizer.scale_loss(mean)
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return mean

    @tf.function(reduce_retracing=True, jit_compile=False)
    def step(batch: Any) -> Any:
        each = strategy.run(replica_step, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

    return step


def _one_epoch(
    job: Job, step: Callable, judge: Callable, epoch: int, callbacks: keras.callbacks.CallbackList
) -> dict[str, float]:
    started = time.monotonic()
    training = job.training.for_epoch(epoch)
    films, batches = training.rows, training.training(epoch)
    if job.strategy.num_replicas_in_sync > 1:
        whole, rest = divmod(films, job.config.batch_size)
        if 0 < rest < job.strategy.num_replicas_in_sync:
            # A device without a film has no batch statistics to give, and the others wait for them. The few films
            # left over are others in each epoch.
            batches, films = batches.take(whole), whole * job.config.batch_size
        batches = job.strategy.experimental_distribute_dataset(batches)
    progress = Progress(films, f"epoch {epoch}/{job.config.epochs}")
    total, seen = 0.0, 0
    for number, batch in enumerate(batches):
        callbacks.on_train_batch_begin(number)
        size = min(job.config.batch_size, films - seen)
        loss = float(step(batch))
        if not math.isfinite(loss):
            raise RunFailed(
                f"the loss is {loss} in epoch {epoch}, step {number + 1}",
                where=job.run.folder,
                remedy="lower train.learning_rate; model.keras holds the best epoch before",
            )
        total += loss * size
        seen += size
        callbacks.on_train_batch_end(number, {"loss": loss})
        progress.advance(size, f"loss {total / seen:.4f}")
    measured = validate(judge, job.validation.for_epoch(epoch), job.strategy)
    seconds = time.monotonic() - started
    row = {"epoch": epoch, "loss": total / max(seen, 1), **measured}
    row |= {"learning_rate": float(np.asarray(job.optimizer.learning_rate)), "seconds": seconds}
    row["films_per_second"] = seen / seconds
    shown = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if "loss" in name or "val" in name)
    progress.close(shown)
    return row


def _callback_list(job: Job) -> keras.callbacks.CallbackList:
    config = job.config
    mode = monitor_mode(config.monitor)
    wanted: list[keras.callbacks.Callback] = [
        keras.callbacks.TensorBoard(str(job.run.tensorboard), write_graph=False, update_freq="epoch")
    ]
    if config.reduce_lr_patience:
        wanted.append(
            keras.callbacks.ReduceLROnPlateau(
                config.monitor, factor=config.reduce_lr_factor, patience=config.reduce_lr_patience, mode=mode
            )
        )
    if config.early_stopping_patience:
        wanted.append(keras.callbacks.EarlyStopping(config.monitor, patience=config.early_stopping_patience, mode=mode))
    return keras.callbacks.CallbackList(
        [*wanted, *job.callbacks], add_history=False, model=job.model, epochs=config.epochs
    )


def monitor_mode(monitor: str) -> str:
    """Return ``min`` for losses, ``max`` for scores."""
    return "min" if monitor.endswith("loss") else "max"


class _Best:
    """Keeps the best epoch on disk."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.sign = 1.0 if monitor_mode(job.config.monitor) == "max" else -1.0
        self.value = -math.inf

    def see(self, row: dict[str, float]) -> None:
        """Save the model if this epoch is the best so far."""
        monitor = self.job.config.monitor
        if monitor not in row:
            known = ", ".join(name for name in row if name.startswith("val_"))
            raise RunFailed(f"train.monitor is '{monitor}'", where=self.job.run.folder, expected=f"one of {known}")
        value = self.sign * row[monitor]
        # The first epoch is kept whatever its value, so that there is a model even if the score is undefined.
        if value > self.value or not self.job.run.model.exists():
            self.value = value if value == value else -math.inf
            save_model(self.job.model, self.job.run.model, {**self.job.facts, "epoch": int(row["epoch"])})

    def restore(self) -> None:
        """Put the best epoch's weights back into the model."""
        best, _ = load_model(self.job.run.model)
        self.job.model.set_weights(best.get_weights())
