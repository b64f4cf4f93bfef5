"""The base model against its papers' sizes."""

from __future__ import annotations

import pytest

from covidcxr_tf.models import base

# 400 -> 199 -> 99 -> 49 -> 24 -> 11 (3x3) and 400 -> 198 -> 98 -> 48 -> 23 -> 11 (5x5 first): 11 * 11 * 32 features.
INNER = 4 * (3 * 3 * 32 * 32 + 32) + (11 * 11 * 32 * 10 + 10) + (10 * 10 + 10)


@pytest.mark.parametrize(
    ("compat", "first", "outputs"), [("paper", 3 * 3 * 32 + 32, 1), ("authors", 5 * 5 * 32 + 32, 1), ("ours", 320, 2)]
)
def test_parameters_by_hand(compat: str, first: int, outputs: int) -> None:
    model = base.build(compat=compat)
    assert model.count_params() == first + INNER + 11 * outputs
    assert model.get_layer("conv5").output.shape == (None, 11, 11, 32)


@pytest.mark.parametrize(("compat", "smallest"), [("paper", 63), ("authors", 65)])
def test_smallest_film(compat: str, smallest: int) -> None:
    model = base.build((smallest, smallest, 1), compat=compat, filters=2)
    assert model.get_layer("conv5").output.shape == (None, 1, 1, 2)
    with pytest.raises(ValueError, match=f"expected at least {smallest}"):
        base.build((smallest - 1, smallest, 1), compat=compat)
