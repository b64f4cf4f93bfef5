from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn.metrics import log_loss

from covidcxr_tf.errors import DataError, ManifestError, SplitError, UsageError
from covidcxr_tf.evaluate.temperature import apply_temperature, fit_table_temperature, fit_temperature


def outputs(
    seed: int, too_sure: float = 2.0, classes: int = 3, films: int = 400
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits that are `too_sure` times too large, and labels drawn from the true probabilities."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(0, 1.5, (films, classes))
    chance = special.softmax(logit, axis=1)
    return logit * too_sure, (chance.cumsum(axis=1) < generator.random((films, 1))).sum(axis=1)


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_the_true_temperature_is_found(too_sure: float) -> None:
    logit, labels = outputs(0, too_sure, films=20_000)
    assert fit_temperature(logit, labels).value == pytest.approx(too_sure, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 3, 5]))
def test_it_is_the_least_that_scipy_finds_and_scikit_learn_gives_the_losses(seed: int, classes: int) -> None:
    logit, labels = outputs(seed, classes=classes)
    found = fit_temperature(logit, labels)

    def loss(log_value: float) -> float:
        return log_loss(labels, special.softmax(logit / np.exp(log_value), axis=1), labels=range(classes))

    best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    assert found.value == pytest.approx(np.exp(best.x), rel=1e-5)
    assert found.nll_after == pytest.approx(loss(np.log(found.value)), abs=1e-9)
    assert found.nll_before == pytest.approx(loss(0), abs=1e-9)
    assert found.nll_after <= found.nll_before


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 5))
def test_calls_and_ranks_stay_and_probabilities_do_as_well_as_logits(seed: int, value: float) -> None:
    logit, labels = outputs(seed, films=60)
    probs = special.softmax(logit, axis=1)
    cooled = apply_temperature(logit, value)
    assert cooled == pytest.approx(apply_temperature(probs, value), abs=1e-9)
    assert cooled.sum(axis=1) == pytest.approx(np.ones(60))
    assert np.array_equal(cooled.argmax(axis=1), probs.argmax(axis=1))
    assert apply_temperature(probs, 1.0) == pytest.approx(probs, abs=1e-12)
    assert fit_temperature(probs, labels).value == pytest.approx(fit_temperature(logit, labels).value, rel=1e-6)
    once = fit_temperature(apply_temperature(logit, fit_temperature(logit, labels).value), labels)
    assert once.value == pytest.approx(1, abs=1e-6)


def test_by_hand() -> None:
    # three films of four called right at odds of 9: the best odds are 3, so that log 9 / T = log 3
    probs = np.array([[0.1, 0.9]] * 4)
    found = fit_temperature(probs, [1, 1, 1, 0])
    assert found.value == pytest.approx(2, abs=1e-9)
    assert found.nll_after == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)


@pytest.mark.parametrize(
    ("labels", "message"), [([1, 1, 0, 0], "the surer the better"), ([0, 0, 1, 1], "no better than chance")]
)
def test_no_least_is_no_temperature(labels: list[int], message: str) -> None:
    probs = np.array([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2], [0.6, 0.4]])
    with pytest.raises(DataError, match=message):
        fit_temperature(probs, labels)


def test_wrong_calls() -> None:
    probs = np.array([[0.1, 0.9], [0.3, 0.7]])
    for outputs_, labels in (
        (probs, [0]),
        (probs, [0, 2]),
        (probs, [0.0, 1.0]),
        (probs[0], [0]),
        (probs * np.nan, [0, 1]),
    ):
        with pytest.raises(UsageError):
            fit_temperature(outputs_, labels)
    for value in (0, -1, np.inf, np.nan):
        with pytest.raises(UsageError, match="temperature"):
            apply_temperature(probs, value)


def table(split: str = "validation") -> pd.DataFrame:
    logit, labels = outputs(2, classes=2, films=100)
    probs = special.softmax(logit, axis=1)
    names = np.array(["normal", "covid19"])
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(100)],
            "patient_id": [f"p{i // 2}" for i in range(100)],
            "label": names[labels],
            "split": split,
            "prob_normal": probs[:, 0],
            "prob_covid19": probs[:, 1],
        }
    )


def test_only_validation_films_may_fit_it() -> None:
    found = fit_table_temperature(table())
    assert (found.films, found.patients) == (100, 50)
    assert found.as_dict()["value"] == found.value
    with pytest.raises(SplitError, match="the split is 'test'; expected validation films only, as a temperature"):
        fit_table_temperature(table("test"))
    mixed = table()
    mixed.loc[7, "split"] = "test"
    with pytest.raises(SplitError, match="row 9"):
        fit_table_temperature(mixed)
    with pytest.raises(SplitError, match="one class only"):
        fit_table_temperature(table().query("label == 'normal'"))


def test_findings_share_no_softmax() -> None:
    findings = pd.DataFrame(
        {
            "path": ["a"],
            "patient_id": ["p"],
            "findings": ["Mass"],
            "split": ["validation"],
            "prob_Mass": [0.3],
            "prob_Edema": [0.9],
        }
    )
    with pytest.raises(ManifestError, match="model of findings"):
        fit_table_temperature(findings)
