"""Cramer's V against SciPy, and its limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association

from covidcxr_tf.audit.association import cramers_v


@pytest.mark.parametrize("seed", range(4))
def test_equals_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 3, 60).astype(str), random.integers(0, 4, 60).astype(str)
    expected = association(pd.crosstab(one, other).to_numpy(), method="cramer")
    assert cramers_v(one, other, np.arange(60), 50)["value"] == pytest.approx(expected, abs=1e-12)


def test_a_copy_gives_one_and_a_balanced_table_gives_zero() -> None:
    one = np.array(["a", "a", "b", "b"] * 5)
    other = np.array(["c", "d", "c", "d"] * 5)
    patients = np.arange(20)
    assert cramers_v(one, one, patients, 50)["value"] == 1.0
    assert cramers_v(one, other, patients, 50)["value"] == 0.0


def test_one_value_only_is_undefined() -> None:
    found = cramers_v(np.array(["a"] * 4), np.array(["b", "c"] * 2), np.arange(4), 50)
    assert found["value"] is None
    assert "single value" in found["why"]
