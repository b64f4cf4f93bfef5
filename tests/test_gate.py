"""The gate: distances by hand, films from elsewhere, and what is stored comes back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.gate import Gate, fit_gate


def features(films: int, seed: int) -> np.ndarray:
    """Return correlated features (N, 12): four hidden causes and a little noise."""
    causes = np.random.default_rng(0).normal(size=(4, 12))
    random = np.random.default_rng(seed)
    return random.normal(size=(films, 4)) @ causes + 0.05 * random.normal(size=(films, 12)) + 3


def test_the_distance_by_hand() -> None:
    """Two features, one direction of spread 2: (4, 0) lies 2 spreads away, (0, 3) has 9 left over in two features."""
    gate = Gate(np.zeros(2, np.float32), np.array([[0.5, 0.0]], np.float32), 0.5, 2.0, "relu", 30)
    assert gate.score(np.array([[4.0, 0.0], [0.0, 3.0], [0.0, 0.0]])) == pytest.approx([4 / 2, (9 / 2) / 0.5 / 2, 0.0])


def test_equals_the_mahalanobis_distance_where_nothing_is_left_over() -> None:
    training = features(400, 1)[:, :4]
    gate = fit_gate(training, training, "relu")
    inverse = np.linalg.inv(np.cov(training.T))
    centred = training - training.mean(axis=0)
    expected = np.einsum("nf,fg,ng->n", centred, inverse, centred) / 4
    assert gate.score(training) * gate.limit == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_one_validation_film_in_a_hundred_lies_beyond_the_limit() -> None:
    validation = features(1000, 2)
    gate = fit_gate(features(500, 1), validation, "relu")
    assert (gate.score(validation) > 1).mean() == pytest.approx(0.01, abs=0.002)
    assert (gate.score(features(1000, 3)) > 1).mean() < 0.04


def test_films_from_elsewhere_lie_beyond_it() -> None:
    gate = fit_gate(features(500, 1), features(200, 2), "relu")
    broken = features(100, 4)[:, ::-1]
    assert (gate.score(broken) > 1).all(), "the causes are others"
    assert (gate.score(np.zeros((1, 12))) > 1).all()


def test_what_is_stored_comes_back() -> None:
    gate = fit_gate(features(100, 1), features(100, 2), "relu")
    again = Gate.from_facts(json.loads(json.dumps(gate.as_facts())))
    probe = features(20, 5)
    assert (again.score(probe) == gate.score(probe)).all()
    assert (again.layer, again.films) == ("relu", 100)


@pytest.mark.parametrize("harm", ["mean", "directions", "limit", "residual"])
def test_a_damaged_gate_is_refused(harm: str) -> None:
    facts = fit_gate(features(100, 1), features(100, 2), "relu").as_facts()
    for value in (None, "AAAA", 0 if harm in ("limit", "residual") else "?"):
        with pytest.raises(WeightsError, match="gate"):
            Gate.from_facts({**facts, harm: value})


def test_too_few_films_and_a_dead_network_are_refused() -> None:
    with pytest.raises(UsageError, match="19 training"):
        fit_gate(features(19, 1), features(100, 2), "relu")
    with pytest.raises(UsageError, match="do not differ"):
        fit_gate(np.ones((50, 3)), np.ones((50, 3)), "relu")
