"""Mean and standard deviation of training films, for the layer that normalises a network's input."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.pipeline.dataset import Batches

#: A channel that hardly varies is not blown up: one grey level of 255.
LEAST_DEVIATION = 1 / 255


def estimate_normalisation(training: Batches, films: int = 2048) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, of [0, 1], over all pixels of some training films.

    Source: Fricks 2021, sections 2.1 and 2.2 (16,384 films in phase 1, 2048 in phase 2). The shards hold films in a
    drawn order, so the first ones are a random choice. Sums in float64.

    Parameters
    ----------
    training : Batches
        Read as they are, without random changes.
    films : int
        So many at most; of patches, all that `plain` draws of each of these films count.
    """
    each = training.patches.validation_votes if training.patches else 1
    left, count = films * each, 0
    total = squares = np.zeros(0)
    for batch in training.plain():
        pixels = batch["image"].numpy()[:left].astype(np.float64)
        flat = pixels.reshape(-1, pixels.shape[-1])
        if not count:
            total, squares = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
        total, squares, count = total + flat.sum(0), squares + (flat**2).sum(0), count + len(flat)
        left -= len(pixels)
        if left <= 0:
            break
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.tolist(), np.maximum(deviation, LEAST_DEVIATION).tolist()
