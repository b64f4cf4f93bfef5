"""Global batches to what one call of the training step takes: a share for each device, one batch or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from covidcxr_tf.train.job import Job
from covidcxr_tf.train.reading import readable


@dataclass(frozen=True)
class Portion:
    """What one call trains.

    Attributes
    ----------
    values : dict
        image, target, weight; a value for each device where there are several, with the batches along a first axis
        where `stacked`.
    rows : list of ndarray
        The films of each global batch.
    stacked : bool
        Whether it may hold several batches.
    """

    values: dict[str, Any]
    rows: list[np.ndarray]
    stacked: bool


def epoch_batches(job: Job, epoch: int, skip: int = 0) -> tuple[int, Iterator[Any]]:
    """Return how many batches an epoch has, and the global batches after the first `skip`."""
    training = job.training.for_epoch(epoch)
    whole, rest = divmod(training.rows, job.config.batch_size)
    # A device without a film has no batch statistics to give, and the others wait for them: where too few films are
    # left over for all, they are left out. They are others in each epoch.
    steps = whole + (rest >= job.strategy.num_replicas_in_sync)
    if skip >= steps:
        return steps, iter(())
    left = training.training(epoch, skip).take(steps - skip)
    return steps, readable(left, training.prepared, training.groups)


def portions(batches: Iterable[Any], whole: int, together: int, strategy: Any) -> Iterator[Portion]:
    """Yield the batches of an epoch in their order.

    Every process reads all of them and takes the films of its devices, so that films, order and random changes are
    those of a single device.

    Parameters
    ----------
    batches : iterable of dict
        Global batches: image, target, weight, row.
    whole : int
        Films in each but the last.
    together : int
        Batches in one portion; ones at the end that do not fill it come one by one, as their films may be fewer.
    strategy : tf.distribute.Strategy
    """
    left = iter(batches)
    while taken := list(islice(left, together)):
        if len(taken) == together > 1 and len(taken[-1]["weight"]) == whole:
            yield _portion(taken, strategy, stacked=True)
        else:
            yield from (_portion([batch], strategy, stacked=False) for batch in taken)


def _portion(taken: list[dict[str, Any]], strategy: Any, stacked: bool) -> Portion:
    rows = [np.asarray(batch["row"]) for batch in taken]
    names = ("image", "target", "weight")
    with tf.device("/cpu:0"):
        values = {name: tf.stack([one[name] for one in taken]) if stacked else taken[0][name] for name in names}
        if strategy.num_replicas_in_sync > 1:
            values = _shared(values, len(rows[0]), strategy, stacked)
    return Portion(values, rows, stacked)


def _shared(values: dict[str, Any], films: int, strategy: Any, stacked: bool) -> dict[str, Any]:
    count = strategy.num_replicas_in_sync

    def own(context: Any) -> dict[str, Any]:
        place = context.replica_id_in_sync_group
        first, after = films * place // count, films * (place + 1) // count
        return {name: value[:, first:after] if stacked else value[first:after] for name, value in values.items()}

    shared: dict[str, Any] = strategy.experimental_distribute_values_from_function(own)
    return shared
