from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate import bootstrap as module
from covidcxr_tf.evaluate.bootstrap import bootstrap, describe, patient_numbers, resample_counts


def mean_of(values: np.ndarray) -> module.Statistics:
    return lambda weights: {"mean": values @ weights / weights.sum(axis=0)}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 5), st.integers(1, 50))
def test_counts_do_not_depend_on_the_chunk(patients: int, resamples: int, seed: int, chunk: int) -> None:
    whole = list(resample_counts(patients, resamples, seed, max(resamples, 1)))
    parts = list(resample_counts(patients, resamples, seed, chunk))
    assert [part.shape[1] <= chunk for part in parts] == [True] * len(parts)
    if resamples:
        assert np.array_equal(np.concatenate(parts, axis=1), whole[0])
        assert (whole[0].sum(axis=0) == patients).all()
        assert whole[0].dtype == np.float64
    else:
        assert parts == []


def test_equals_a_plain_loop_over_repeated_films(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    values, patients = generator.random(40), generator.integers(0, 12, 40)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 100)  # several chunks
    fast = bootstrap(mean_of(values), patients, 50, seed=4)["mean"]
    numbers, count = patient_numbers(patients)
    (counts,) = resample_counts(count, 50, 4, 50)
    for k in range(50):
        # each film written out as often as its patient was drawn
        films = [v for v, number in zip(values, numbers, strict=True) for _ in range(int(counts[number, k]))]
        assert fast[k] == pytest.approx(np.mean(films), abs=1e-12)


def test_seed_decides() -> None:
    values = np.random.default_rng(1).random(20)
    first, again, other = (bootstrap(mean_of(values), range(20), 30, seed)["mean"] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_spread_is_that_of_a_mean_and_grows_with_clusters() -> None:
    values = np.random.default_rng(2).normal(size=200)
    alone = bootstrap(mean_of(values), range(200), 4000)["mean"]
    assert alone.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.06)
    # Every film four times: by patient the spread stays, by film it would wrongly halve.
    fourfold, owners = np.repeat(values, 4), np.repeat(np.arange(200), 4)
    by_patient = bootstrap(mean_of(fourfold), owners, 4000)["mean"]
    by_film = bootstrap(mean_of(fourfold), range(800), 4000)["mean"]
    assert by_patient.std() == pytest.approx(alone.std(), rel=0.06)
    assert by_patient.std() / by_film.std() == pytest.approx(2, rel=0.08)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for trial in range(200):
        values = generator.normal(size=60)
        samples = bootstrap(mean_of(values), range(60), 400, trial)["mean"]
        lower, upper = describe(values.mean(), samples, 60)["ci95"]
        hits += lower <= 0 <= upper
    # binomial(200, .94): 178 to 197 holds more than 99.9 %
    assert 176 <= hits <= 198


def test_describe_percentiles_by_hand() -> None:
    result = describe(0.5, np.arange(41) / 40, 10)
    assert result["value"] == 0.5
    assert result["ci95"] == pytest.approx([0.025, 0.975])
    assert set(result) == {"value", "ci95"}


def test_describe_undefined_is_null_with_a_reason() -> None:
    assert describe(np.nan, np.ones(9), 5, "no film is covid19") == {
        "value": None,
        "ci95": None,
        "why": "no film is covid19",
    }
    assert describe(np.inf, np.ones(9), 5)["value"] is None


def test_describe_no_interval_from_one_patient_or_no_resample() -> None:
    one = describe(0.7, np.full(9, 0.7), 1)
    assert (one["value"], one["ci95"]) == (0.7, None)
    assert "two" in one["why"]
    assert describe(0.7, np.empty(0), 5)["ci95"] is None
    assert describe(0.7, np.full(9, np.nan), 5)["ci95"] is None


def test_describe_tells_of_dropped_resamples_above_five_percent() -> None:
    samples = np.linspace(0, 1, 100)
    few, many = samples.copy(), samples.copy()
    few[:5], many[:6] = np.nan, np.nan
    assert "undefined_share" not in describe(0.5, few, 9)
    told = describe(0.5, many, 9)
    assert told["undefined_share"] == pytest.approx(0.06)
    assert told["ci95"] == pytest.approx(np.quantile(samples[6:], [0.025, 0.975]).tolist())


def test_describe_an_interval_without_width_is_not_left_uncommented() -> None:
    assert "no width" in describe(1.0, np.ones(50), 9)["note"]


def test_patients_are_compared_as_text() -> None:
    numbers, count = patient_numbers(["2", 2, "10", None])
    assert numbers.tolist() == [1, 1, 0, 2]
    assert count == 3
    assert patient_numbers([])[1] == 0


def test_no_resamples_and_wrong_ones() -> None:
    assert len(bootstrap(mean_of(np.ones(3)), range(3), 0)["mean"]) == 0
    with pytest.raises(UsageError, match="-1 resamples"):
        bootstrap(mean_of(np.ones(3)), range(3), -1)
