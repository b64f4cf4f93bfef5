from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.thresholds import choose_threshold, fixed_threshold, stored_threshold


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
