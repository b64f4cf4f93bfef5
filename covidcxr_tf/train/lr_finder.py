"""Learning-rate range test: one rising sweep, and where the loss falls fastest.

Source: Smith 2017, section 3.3; Haghanifar 2020, section 5.1 ("the best learning rate is where the highest
decreasing slope happens").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.progress import Progress
from covidcxr_tf.train.loop import Job, build_train_step

#: Share of the old mean kept at each step: single batches are too noisy to take a slope of.
SMOOTHING = 0.9
#: Share of the sweep at its start whose slopes do not count: the running mean has seen too few batches there.
WARM_UP = 0.1
#: The sweep ends when the smoothed loss is this many times its lowest value.
DIVERGED = 4.0


@dataclass(frozen=True)
class RangeTest:
    """A sweep.

    Attributes
    ----------
    table : DataFrame
        learning_rate, loss, smoothed; one row a step.
    suggestion : float
        Learning rate of the steepest fall of the smoothed loss.
    """

    table: pd.DataFrame
    suggestion: float


def range_test(job: Job, low: float = 1e-6, high: float = 1.0, steps: int = 100) -> RangeTest:
    """Train `steps` batches while the learning rate rises geometrically from `low` to `high`; return the curve.

    The model is changed by this: build it anew before training.

    Raises
    ------
    RunFailed
        If the loss is no number so early that no slope can be seen.
    """
    step = build_train_step(
        job.model, job.loss, job.optimizer, job.strategy,
        forward=job.forward, l1=job.config.l1, accumulate=job.config.accumulate_steps,
    )  # fmt: skip
    rates = np.geomspace(low, high, steps)
    rows: list[tuple[float, float, float]] = []
    progress = Progress(steps, "learning-rate range test", "steps")
    mean, epoch = 0.0, 0
    batches = iter(job.training.training(epoch))
    for number, rate in enumerate(rates):
        batch = next(batches, None)
        if batch is None:
            epoch += 1
            batches = iter(job.training.training(epoch))
            batch = next(batches)
        job.optimizer.learning_rate = float(rate)
        loss = float(step(batch))
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING ** (number + 1))
        rows.append((float(rate), loss, smoothed))
        progress.advance(1, f"rate {rate:.1e}, loss {smoothed:.3f}")
        if smoothed > DIVERGED * min(row[2] for row in rows):
            break
    progress.close()
    table = pd.DataFrame(rows, columns=["learning_rate", "loss", "smoothed"])
    return RangeTest(table, steepest_fall(table))


def steepest_fall(table: pd.DataFrame) -> float:
    """Return the learning rate where the smoothed loss falls fastest against log10 of the rate.

    The first tenth of the sweep is left out.
    """
    if len(table) < 3:
        raise RunFailed(f"only {len(table)} steps had a finite loss", expected="at least 3", remedy="start lower")
    slopes = np.gradient(table["smoothed"].to_numpy(np.float64), np.log10(table["learning_rate"].to_numpy(np.float64)))
    first = int(WARM_UP * len(table))
    return float(table["learning_rate"].iloc[first + int(slopes[first:].argmin())])
