from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.decision import at_prevalence, decision_curve

SCORES = np.array([0.9, 0.6, 0.3, 0.7, 0.2, 0.1, 0.05, 0.4, 0.15, 0.25])
SICK = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
PATIENTS = np.arange(10).astype(object)


def test_by_hand() -> None:
    curve = decision_curve(SCORES, SICK, PATIENTS, act_from=[0.2, 0.5, 0.8])
    assert curve is not None
    # from .2: 3 right, 4 wrong, odds 1/4; from .5: 2 right, 1 wrong, odds 1; from .8: 1 right, none wrong
    assert curve.model.tolist() == pytest.approx([0.3 - 0.4 / 4, 0.2 - 0.1, 0.1])
    assert curve.treat_all.tolist() == pytest.approx([0.3 - 0.7 / 4, 0.3 - 0.7, 0.3 - 0.7 * 4])
    assert (curve.prevalence, curve.stated) == (0.3, False)
    assert curve.better() == [[0.2, 0.8]]


def test_net_benefit_by_its_definition() -> None:
    generator = np.random.default_rng(0)
    scores, sick = generator.random(300), generator.random(300) < 0.4
    curve = decision_curve(scores, sick, np.arange(300).astype(object))
    assert curve is not None
    for cut, benefit in zip(curve.act_from, curve.model, strict=True):
        right, wrong = np.sum((scores >= cut) & sick), np.sum((scores >= cut) & ~sick)
        assert benefit == pytest.approx(right / 300 - wrong / 300 * cut / (1 - cut), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 0.9))
def test_bounds(seed: int, prevalence: float) -> None:
    generator = np.random.default_rng(seed)
    scores, sick = generator.random(40), np.arange(40) < 10
    curve = decision_curve(scores, sick, np.arange(40).astype(object), prevalence)
    assert curve is not None
    assert curve.model.max() <= prevalence + 1e-12  # no more true calls than there are sick
    everybody = decision_curve(np.full(40, 1.0), sick, np.arange(40).astype(object), prevalence)
    nobody = decision_curve(np.zeros(40), sick, np.arange(40).astype(object), prevalence)
    right = decision_curve(sick.astype(float), sick, np.arange(40).astype(object), prevalence)
    assert everybody is not None and nobody is not None and right is not None
    assert everybody.model == pytest.approx(everybody.treat_all)
    assert everybody.better() == []
    assert nobody.model.tolist() == [0.0] * 99
    assert right.model == pytest.approx(np.full(99, prevalence))


def test_a_prevalence_shifts_the_probabilities_as_bayes_has_it() -> None:
    # likelihood ratio 4 at even odds is .8; at odds of 1 to 9 it is 4/13
    assert at_prevalence(np.array([0.8, 0.5, 0.0, 1.0]), 0.5, 0.1).tolist() == pytest.approx([4 / 13, 0.1, 0, 1])
    scores = np.random.default_rng(1).random(50)
    assert at_prevalence(at_prevalence(scores, 0.3, 0.05), 0.05, 0.3) == pytest.approx(scores)
    stated = decision_curve(SCORES, SICK, PATIENTS, 0.3)
    own = decision_curve(SCORES, SICK, PATIENTS)
    assert stated is not None and own is not None
    assert stated.stated
    between = ~np.isin(np.round(own.act_from, 2), np.round(SCORES, 2))  # a score on the cut may fall to either side
    assert stated.model[between] == pytest.approx(own.model[between])


def test_the_band_holds_the_curve_and_needs_patients() -> None:
    generator = np.random.default_rng(2)
    sick = generator.random(200) < 0.4
    scores = np.clip(0.3 + 0.3 * sick + generator.normal(0, 0.15, 200), 0, 1)
    patients = (np.arange(200) // 2).astype(object)
    curve = decision_curve(scores, sick, patients, resamples=200, seed=3)
    again = decision_curve(scores, sick, patients, resamples=200, seed=3)
    assert curve is not None and again is not None
    assert curve.lower is not None and curve.upper is not None and again.lower is not None
    assert np.array_equal(curve.lower, again.lower)
    assert np.mean((curve.lower <= curve.model) & (curve.model <= curve.upper)) > 0.97
    alone = decision_curve(scores, sick, np.full(200, "p", object), resamples=200)
    assert alone is not None and alone.lower is None


def test_one_side_and_wrong_calls() -> None:
    assert decision_curve(SCORES, np.ones(10, bool), PATIENTS) is None
    for prevalence in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError, match="prevalence"):
            decision_curve(SCORES, SICK, PATIENTS, prevalence)
    with pytest.raises(UsageError, match="between 0 and 1"):
        decision_curve(SCORES, SICK, PATIENTS, act_from=[0.5, 1.0])
