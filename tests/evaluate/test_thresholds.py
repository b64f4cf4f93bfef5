from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import DataError, SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.bootstrap import patient_numbers, resample_counts
from covidcxr_tf.evaluate.cut_offs import aim_of
from covidcxr_tf.evaluate.proportions import wilson
from covidcxr_tf.evaluate.thresholds import (
    choose_threshold,
    cut_off_interval,
    fixed_threshold,
    stored_threshold,
    threshold_from_words,
)


def table(scores: list[float], sick: list[int], split: str = "validation") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(len(scores))],
            "patient_id": [f"p{i}" for i in range(len(scores))],
            "label": ["covid19" if s else "normal" for s in sick],
            "split": split,
            "prob_normal": 1 - np.array(scores),
            "prob_covid19": scores,
        }
    )


def test_youden_by_hand() -> None:
    #          cut at:  .2: 1+0    .4: 1+1/3   .6: 1+2/3   .7: 2/3+2/3   .8: 2/3+1   .9: 1/3+1
    found = choose_threshold(table([0.2, 0.4, 0.7, 0.6, 0.8, 0.9], [0, 0, 0, 1, 1, 1]))
    # .6 and .8 both reach 5/3 - 1; the lower one misses nobody
    assert (found.value, found.sensitivity, found.specificity) == (0.6, 1, pytest.approx(2 / 3))
    assert found.threshold_from == "validation, Youden index (6 films of 6 patients)"
    assert found.positive == "covid19"


def test_sensitivity_by_hand() -> None:
    films = table([0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.6], [0, 1, 1, 1, 1, 1, 0])
    assert choose_threshold(films, method="sensitivity", target=0.8).value == 0.3
    assert choose_threshold(films, method="sensitivity", target=0.81).value == 0.2
    assert choose_threshold(films, method="sensitivity", target=1).value == 0.2
    found = choose_threshold(films, method="sensitivity", target=0.6)
    assert (found.value, found.sensitivity, found.specificity) == (0.5, 0.6, 0.5)


def test_the_other_class_can_be_positive() -> None:
    found = choose_threshold(table([0.25, 0.5, 0.75], [0, 1, 1]), positive="normal")
    assert found.value == 0.75
    assert found.positive == "normal"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3000), st.integers(4, 40), st.sampled_from([3, 1000]))
def test_no_cut_off_is_better(seed: int, films: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels + 1, films) / levels
    sick = generator.integers(0, 2, films)
    sick[:2] = [0, 1]
    data = table(scores.tolist(), sick.tolist())

    def rates(cut: float) -> tuple[float, float]:
        return float(np.mean(scores[sick == 1] >= cut)), float(np.mean(scores[sick == 0] < cut))

    youden = choose_threshold(data)
    assert (youden.sensitivity, youden.specificity) == pytest.approx(rates(youden.value))
    grid = np.append(np.linspace(0, 1, 101), scores)
    assert max(sum(rates(cut)) for cut in grid) <= sum(rates(youden.value)) + 1e-9
    safe = choose_threshold(data, method="sensitivity", target=0.9)
    assert rates(safe.value)[0] >= 0.9
    assert all(rates(cut)[0] < 0.9 for cut in grid if cut > safe.value)
    if max(rates(score)[1] for score in scores) >= 0.6:
        sparing = choose_threshold(data, method="specificity", target=0.6)
        assert rates(sparing.value)[1] >= 0.6
        assert all(rates(cut)[1] < 0.6 for cut in scores if cut < sparing.value)


def test_only_validation_films_may_choose() -> None:
    films = table([0.2, 0.9, 0.4], [0, 1, 1])
    films.loc[1, "split"] = "test"
    with pytest.raises(SplitError, match="row 3, column split: the split is 'test'"):
        choose_threshold(films)
    with pytest.raises(SplitError, match="the split is 'train'"):
        choose_threshold(table([0.2, 0.9], [0, 1], split="train"))
    with pytest.raises(SplitError, match="the split is ''"):
        choose_threshold(table([0.2, 0.9], [0, 1]).drop(columns="split"))


def test_one_side_cannot_choose() -> None:
    with pytest.raises(SplitError, match="2 of 2 validation films are covid19"):
        choose_threshold(table([0.2, 0.9], [1, 1]))


def test_wrong_calls() -> None:
    films = table([0.2, 0.9], [0, 1])
    with pytest.raises(UsageError, match="'best'"):
        choose_threshold(films, method="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="target sensitivity 0"):
        choose_threshold(films, method="sensitivity", target=0)
    with pytest.raises(UsageError, match="'flu' is no class"):
        choose_threshold(films, positive="flu")
    with pytest.raises(UsageError, match=r"threshold 1\.5"):
        fixed_threshold(1.5)


def test_fixed_and_stored(tmp_path: Path) -> None:
    assert fixed_threshold(0.9).as_dict()["value"] == 0.9
    assert "0.9" in fixed_threshold(0.9).threshold_from
    assert stored_threshold(tmp_path) is None
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"threshold": None}))
    assert stored_threshold(tmp_path) is None
    path.write_text(json.dumps({"threshold": 0.3, "threshold_from": "validation, x", "positive": "covid19"}))
    found = stored_threshold(tmp_path)
    assert found is not None
    assert (found.value, found.positive, found.threshold_from) == (0.3, "covid19", "the run's own: validation, x")
    for damaged in ("{", "[1]", '{"threshold": "high"}'):
        path.write_text(damaged)
        with pytest.raises(WeightsError, match="damaged"):
            stored_threshold(tmp_path)


def test_specificity_by_hand() -> None:
    films = table([0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.6], [0, 0, 1, 0, 0, 1, 1])
    found = choose_threshold(films, method="specificity", target=0.75)
    assert (found.value, found.specificity, found.sensitivity) == (0.6, 0.75, pytest.approx(2 / 3))
    assert found.threshold_from == "validation, specificity of at least 0.75 (7 films of 7 patients)"
    assert choose_threshold(films, method="specificity", target=0.76).value == 0.9
    assert choose_threshold(films, method="specificity", target=0.01).value == 0.2  # at .1 none is cleared


def test_a_specificity_out_of_reach_is_told() -> None:
    with pytest.raises(DataError, match=r"specificity of 0\.9 and calls a film.*at most 0\.5"):
        choose_threshold(table([0.2, 0.9, 0.4], [0, 0, 1]), method="specificity", target=0.9)


def test_rates_at_the_cut_off_have_intervals() -> None:
    found = choose_threshold(table([0.2, 0.4, 0.7, 0.6, 0.8, 0.9], [0, 0, 0, 1, 1, 1]))
    assert found.specificity_ci95 == pytest.approx(wilson(2, 3))
    assert found.sensitivity_ci95 == pytest.approx((0.025 ** (1 / 3), 1))  # all found: Clopper-Pearson
    assert json.loads(json.dumps(found.as_dict()))["specificity_ci95"] == list(found.specificity_ci95 or ())
    assert fixed_threshold(0.5).sensitivity_ci95 is None


@pytest.mark.parametrize("method", ["youden", "sensitivity", "specificity"])
def test_the_interval_of_a_cut_off_is_where_resampled_patients_put_it(method: str) -> None:
    generator = np.random.default_rng(3)
    sick = np.arange(60) % 2
    scores = np.round(np.clip(generator.normal(0.4 + 0.2 * sick, 0.2), 0, 1), 2)
    data = table(scores.tolist(), sick.tolist())
    patients = data["patient_id"].to_numpy(object)
    found = cut_off_interval(scores, sick == 1, patients, method, 0.8, 40, 1)  # type: ignore[arg-type]
    assert found["value"] == choose_threshold(data, method=method, target=0.8).value  # type: ignore[arg-type]
    cuts = []
    for weights in np.concatenate(list(resample_counts(60, 40, 1, 40)), axis=1).T:  # the same draws, one by one
        rows = np.repeat(np.arange(60), weights[patient_numbers(patients)[0]].astype(int))
        drawn = table(scores[rows].tolist(), sick[rows].tolist())
        cuts.append(choose_threshold(drawn, method=method, target=0.8).value)  # type: ignore[arg-type]
    assert found["ci95"] == pytest.approx(np.quantile(cuts, [0.025, 0.975]).tolist())


def test_a_chosen_cut_off_carries_its_interval_and_says_how_it_was_chosen() -> None:
    generator = np.random.default_rng(4)
    sick = np.arange(80) % 2
    data = table(np.clip(generator.normal(0.4 + 0.2 * sick, 0.2), 0, 1).tolist(), sick.tolist())
    found = choose_threshold(data, method="sensitivity", target=0.9, resamples=200, seed=3)
    scores, patients = data["prob_covid19"].to_numpy(), data["patient_id"].to_numpy(object)
    expected = cut_off_interval(scores, sick == 1, patients, "sensitivity", 0.9, 200, 3)["ci95"]
    assert found.ci95 == tuple(expected)
    assert choose_threshold(data).ci95 is None
    assert aim_of(found.threshold_from) == ("sensitivity", 0.9)
    assert aim_of(choose_threshold(data).threshold_from) == ("youden", 0.95)
    for words in ("fixed beforehand at 0.5", "given", "argmax", "none: no film is covid19"):
        assert aim_of(words) is None


def test_one_patient_has_no_interval() -> None:
    scores, sick = np.array([0.2, 0.7]), np.array([False, True])
    assert cut_off_interval(scores, sick, np.array(["p", "p"], object))["ci95"] is None


def test_words_for_a_cut_off() -> None:
    films = table([0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.6], [0, 1, 1, 1, 1, 1, 0])
    assert threshold_from_words("youden", films).chosen_by == "youden"
    assert threshold_from_words("sensitivity=.8", films).value == 0.3
    assert threshold_from_words("specificity=0.5", films, "covid19").chosen_by == "specificity"
    for words in ("sensitivity", "youden=1", "best", "accuracy=.9", ""):
        with pytest.raises(UsageError, match=r"expected youden, sensitivity=0\.9"):
            threshold_from_words(words, films)
    for words, message in (("sensitivity=much", "a number after"), ("specificity=2", "target specificity 2")):
        with pytest.raises(UsageError, match=message):
            threshold_from_words(words, films)
