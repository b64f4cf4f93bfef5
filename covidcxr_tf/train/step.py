"""Compiled training steps over any number of devices and machines: one, or several in one call; whole or in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SUM = tf.distribute.ReduceOp.SUM


def build_train_step(
    model: keras.Model,
    loss: Callable,
    optimizer: Any,
    strategy: Any,
    *,
    forward: Callable[[Any], Any] | None = None,
    l1: float = 0.0,
    accumulate: int = 1,
) -> Callable[[Any], Any]:
    """Return a compiled function: one global batch -> its mean weighted loss (scalar).

    `forward` (images -> logits) replaces the call of the model; `l1` times the sum of all absolute kernel weights is
    added to the loss; `accumulate` as in `Steps`.
    """
    steps = Steps(model, loss, optimizer, strategy, forward=forward, l1=l1, accumulate=accumulate)
    return lambda batch: steps.one(batch, NOTHING_SAID)[0]


#: Flags of a worker that wants nothing.
NOTHING_SAID = np.zeros(2, np.float32)


class Steps:
    """Training steps of a model.

    Parameters
    ----------
    model, loss, optimizer, strategy
        As in `Job`.
    forward : callable, optional
        Images -> logits, instead of calling the model.
    l1 : float
        Times the sum of all absolute kernel weights, added to the loss.
    accumulate : int
        Each device computes its share of the batch in so many parts, one after the other, and moves the weights once,
        by the sum of their gradients. Batch statistics are then those of the parts, and their moving means move with
        each part; all else is as with the whole batch.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable,
        optimizer: Any,
        strategy: Any,
        *,
        forward: Callable[[Any], Any] | None = None,
        l1: float = 0.0,
        accumulate: int = 1,
    ) -> None:
        self.model, self.loss, self.optimizer, self.strategy = model, loss, optimizer, strategy
        self.call = forward or (lambda images: model(images, training=True))
        self.l1, self.accumulate, self.replicas = l1, accumulate, strategy.num_replicas_in_sync
        self.kernels = [weight for weight in model.trainable_variables if weight.path.endswith("kernel")] if l1 else []
        with strategy.scope():  # the optimiser's variables lie beside the model's
            optimizer.build(model.trainable_variables)
            shapes = [weight.shape for weight in model.trainable_variables] if accumulate > 1 else []
            self.sums = [_own(shape) for shape in shapes]  # gradients of the parts so far
            self.total = _own(()) if accumulate > 1 else None  # and their losses
        self.unused: set[int] = set()  # weights that the loss does not hang on

    @tf.function(reduce_retracing=True, jit_compile=False)
    def one(self, batch: Any, flags: Any) -> tuple[Any, Any]:
        """Train one global batch; return its loss and the sums of all workers' `flags`, float32 (2,)."""
        return self._step(batch, flags, None)

    @tf.function(reduce_retracing=True, jit_compile=False)
    def several(self, stack: Any, flags: Any, count: int) -> tuple[Any, Any]:
        """Train `count` batches, stacked along a first axis; return their losses (count,) and the flags' sums."""
        losses, heard = tf.TensorArray(tf.float32, count), tf.zeros(2)
        for number in tf.range(count):
            loss, heard = self._step(stack, flags, number)
            losses = losses.write(number, loss)
        return losses.stack(), heard

    def _step(self, batch: Any, flags: Any, number: Any) -> tuple[Any, Any]:
        run = self.strategy.run
        counts = run(self._count, args=(batch, flags, number))
        if self.accumulate == 1:
            each = run(self._whole, args=(batch, counts, number))
        else:
            # On the outside of `run`: devices cannot meet for their batch statistics within a loop of their own.
            for part in tf.range(run_once(self.strategy, run(self._parts, args=(counts,)))):
                run(self._part, args=(batch, counts, number, part))
            each = run(self._move)
        heard = run_once(self.strategy, counts)[1:]
        return self.strategy.reduce(SUM, each, axis=None), heard

    def _count(self, batch: Any, flags: Any, number: Any) -> Any:
        """Return the films really in the batch, over all replicas, and the flags: an epoch's last batch is smaller."""
        shape = tf.shape(batch["weight"])
        films = shape[0] if number is None else shape[1]
        counts = tf.concat([[tf.cast(films, tf.float32)], tf.cast(flags, tf.float32)], axis=0)
        return counts if self.replicas == 1 else tf.distribute.get_replica_context().all_reduce(SUM, counts)

    def _whole(self, batch: Any, counts: Any, number: Any) -> Any:
        films = _numbered(batch, number)
        mean, gradients = self._gradients(films["image"], films["target"], films["weight"], counts[0], 1.0)
        self._apply(gradients)
        return mean

    def _parts(self, counts: Any) -> Any:
        """Return how many parts all replicas have films for."""
        fewest = tf.cast(counts[0], tf.int32) // self.replicas
        return tf.maximum(tf.minimum(self.accumulate, fewest), 1)

    def _part(self, batch: Any, counts: Any, number: Any, part: Any) -> None:
        films, parts = _numbered(batch, number), self._parts(counts)
        count = tf.shape(films["weight"])[0]
        first, after = count * part // parts, count * (part + 1) // parts
        image, target, weight = (films[name][first:after] for name in ("image", "target", "weight"))
        mean, gradients = self._gradients(image, target, weight, counts[0], tf.cast(parts, tf.float32))
        assert self.total is not None
        self.total.assign_add(mean)
        for place, (held, gradient) in enumerate(zip(self.sums, gradients, strict=True)):
            if gradient is None:
                self.unused.add(place)
            else:
                held.assign_add(tf.cast(gradient, held.dtype))

    def _move(self) -> Any:
        found = [None if place in self.unused else tf.identity(held) for place, held in enumerate(self.sums)]
        mean = tf.identity(self.total)
        with tf.control_dependencies([mean, *(value for value in found if value is not None)]):
            for held in (self.total, *self.sums):
                held.assign(tf.zeros_like(held))
        self._apply(found)
        return mean

    def _gradients(self, images: Any, target: Any, weight: Any, count: Any, parts: Any) -> tuple[Any, list[Any]]:
        """Return a share of the mean loss over `count` films, and its gradients; penalties are split evenly."""
        with tf.GradientTape() as tape:
            mean = tf.reduce_sum(self.loss(target, self.call(images)) * weight) / count
            if self.model.losses:  # weight penalties
                mean += tf.add_n(self.model.losses) / (self.replicas * parts)
            if self.kernels:
                total = tf.add_n([tf.reduce_sum(tf.abs(tf.cast(kernel, tf.float32))) for kernel in self.kernels])
                mean += self.l1 * total / (self.replicas * parts)
            scaled = self.optimizer.scale_loss(mean)
        return mean, tape.gradient(scaled, self.model.trainable_variables)

    def _apply(self, gradients: list[Any]) -> None:
        if self.replicas > 1 and isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # It asks only one device whether its gradients overflowed: let all say the same.
            there = [gradient for gradient in gradients if gradient is not None]
            nothing = tf.add_n([tf.reduce_sum(gradient * 0) for gradient in there])  # or no number
            nothing = tf.distribute.get_replica_context().all_reduce(SUM, nothing)
            gradients = [None if gradient is None else gradient + nothing for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))


def _own(shape: Any) -> Any:
    """Return a variable that each device has its own value of."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def run_once(strategy: Any, values: Any) -> Any:
    """Return the value of this process's first device, where all have the same."""
    return strategy.experimental_local_results(values)[0]


def _numbered(batch: Any, number: Any) -> Any:
    """Return one batch of those that are stacked, or the batch itself; how many films it has is left open.

    Where devices have different numbers of films, known numbers would make graphs that meet in different places.
    """
    names = ("image", "target", "weight")
    found = {name: batch[name] if number is None else batch[name][number] for name in names}
    return {
        name: tf.compat.v1.placeholder_with_default(values, [None, *values.shape[1:]]) for name, values in found.items()
    }
