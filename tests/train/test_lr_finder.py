"""The range test: a hand-worked slope, and a sweep on a problem whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.train.loop import Job, fit
from covidcxr_tf.train.lr_finder import range_test, steepest_fall


def test_steepest_fall_is_taken_against_the_logarithm() -> None:
    # Drops: 0.1 over one decade, then 0.5, then a rise. The middle of the steep stretch is 1e-3.
    table = pd.DataFrame({"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1], "smoothed": [1.0, 0.9, 0.6, 0.4, 2.0]})
    # Central differences: (0.6 - 1.0) / 2 = -0.2 at 1e-4, (0.4 - 0.9) / 2 = -0.25 at 1e-3.
    assert steepest_fall(table) == 1e-3


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(RunFailed, match="only 2 steps"):
        steepest_fall(pd.DataFrame({"learning_rate": [1, 2], "smoothed": [1, 2]}))


def test_a_sweep_rises_geometrically_and_suggests_a_rate_that_learns(make_job: Callable[..., Job]) -> None:
    job = make_job()
    found = range_test(job, low=1e-6, high=1.0, steps=40)
    rates = found.table["learning_rate"].to_numpy()
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10 ** (6 / 39), rtol=1e-6)
    assert found.table["loss"].iloc[0] > found.table["smoothed"].min()
    # The suggested rate learns: far more in three epochs than the sweep's lowest rate does.
    falls = {rate: fit(make_job(learning_rate=rate))["loss"] for rate in (found.suggestion, 1e-6)}
    drop = {rate: losses.iloc[0] - losses.iloc[-1] for rate, losses in falls.items()}
    assert drop[found.suggestion] > 10 * abs(drop[1e-6])


def test_the_sweep_takes_the_steps_of_the_training(make_job: Callable[..., Job]) -> None:
    plain, other = make_job(), make_job()
    other.config = other.config.model_copy(update={"l1": 1e-2})
    calls: list[int] = []

    def forward(images: Any) -> Any:  # recomputation, say, without which a large film does not fit the memory
        calls.append(1)
        return other.model(images, training=True)

    other.forward = forward
    first = [range_test(job, low=1e-9, high=1e-8, steps=3).table["loss"].iloc[0] for job in (plain, other)]
    kernels = [weight for weight in make_job().model.trainable_variables if weight.path.endswith("kernel")]
    penalty = 1e-2 * sum(float(np.abs(np.asarray(kernel)).sum()) for kernel in kernels)
    assert calls
    assert first[1] - first[0] == pytest.approx(penalty, rel=0.05)


def test_the_noisy_start_does_not_decide() -> None:
    # 20 steps: the first two (a tenth) fall steeply by chance, the true fall is at the twelfth.
    smoothed = [5.0, 1.2, *[1.0] * 9, 0.5, *[0.2] * 8]
    rates = [10.0 ** (-k / 2) for k in range(20, 0, -1)]
    assert steepest_fall(pd.DataFrame({"learning_rate": rates, "smoothed": smoothed})) == rates[11]
