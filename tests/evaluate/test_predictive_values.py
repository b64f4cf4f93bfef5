from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.predictive_values import predictive_values
from covidcxr_tf.evaluate.proportions import Share, clustered_share


def share(hits: int, n: int) -> Share:
    return clustered_share(np.arange(n) < hits, np.arange(n))


def test_by_hand() -> None:
    # of 1000 people 50 are sick: 45 called; of 950 well ones 95 called
    found = predictive_values(share(90, 100), share(180, 200), 0.05)
    assert found["ppv"]["value"] == pytest.approx(45 / 140)
    assert found["npv"]["value"] == pytest.approx(855 / 860)
    # Mercaldo's logit: variance .1/(.9 x 100) + .9/(.1 x 200), and .1/(.9 x 200) + .9/(.1 x 100)
    for name, odds, variance in (
        ("ppv", 45 / 95, 0.1 / 90 + 0.9 / 20),
        ("npv", 855 / 5, 0.1 / 180 + 0.9 / 10),
    ):
        logit, reach = np.log(odds), 1.959963984540054 * np.sqrt(variance)
        expected = [1 / (1 + np.exp(-(logit + side * reach))) for side in (-1, 1)]
        assert found[name]["ci95"] == pytest.approx(expected, abs=1e-9)
    assert found["ppv"]["prevalence"] == 0.05


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(0, 30), st.floats(0.001, 0.999))
def test_the_value_lies_in_its_interval_and_a_swap_of_sides_swaps_the_values(
    sick: int, well: int, prevalence: float
) -> None:
    found = predictive_values(share(sick, 20), share(well, 30), prevalence)
    swapped = predictive_values(share(well, 30), share(sick, 20), 1 - prevalence)
    for name, other in (("ppv", "npv"), ("npv", "ppv")):
        metric, mirror = found[name], swapped[other]
        if metric["value"] is None:
            assert mirror["value"] is None
            assert metric["ci95"] is None
            assert "no film was called" in metric["why"]
            continue
        lower, upper = metric["ci95"]
        assert 0 <= lower <= metric["value"] <= upper <= 1
        assert upper > lower
        assert metric["value"] == pytest.approx(mirror["value"])
        assert metric["ci95"] == pytest.approx(mirror["ci95"])


def test_at_the_films_own_share_it_is_their_precision() -> None:
    found = predictive_values(share(15, 20), share(25, 30), 0.4)
    assert found["ppv"]["value"] == pytest.approx(15 / 20)
    assert found["npv"]["value"] == pytest.approx(25 / 30)


def test_more_films_of_the_same_patients_do_not_narrow_it() -> None:
    hit, patients = np.arange(40) < 30, np.arange(40)
    once = predictive_values(clustered_share(hit, patients), share(25, 30), 0.1)
    often = predictive_values(clustered_share(np.repeat(hit, 5), np.repeat(patients, 5)), share(25, 30), 0.1)
    widths = [np.diff(found["npv"]["ci95"])[0] for found in (once, often)]
    assert widths[1] == pytest.approx(widths[0], rel=0.03)


def test_undefined_and_refused() -> None:
    nothing = predictive_values(share(0, 0), share(25, 30), 0.1)
    assert nothing["ppv"]["value"] is None
    assert nothing["npv"]["why"] == "no film with the disease"
    silent = predictive_values(share(0, 20), share(30, 30), 0.1)
    assert silent["ppv"]["why"] == "no film was called positive"
    assert silent["npv"]["value"] == pytest.approx(0.9)
    for prevalence in (0, 1, -0.1, float("nan")):
        with pytest.raises(UsageError, match="prevalence"):
            predictive_values(share(1, 2), share(1, 2), prevalence)
