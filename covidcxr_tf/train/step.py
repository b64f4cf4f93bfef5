"""One compiled training step over any number of devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


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
