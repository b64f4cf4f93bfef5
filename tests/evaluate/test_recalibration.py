from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import DataError, SplitError, UsageError
from covidcxr_tf.evaluate.inputs import recalibrated
from covidcxr_tf.evaluate.recalibration import apply_to_table, as_recalibration, recalibrate, recalibrate_table
from covidcxr_tf.evaluate.roc import areas
from covidcxr_tf.evaluate.thresholds import Threshold


def films(sick: int, well: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    truth = np.arange(sick + well) < sick
    logit = generator.normal(0, 1.5, len(truth)) + 1.2 * truth + 1
    return 1 / (1 + np.exp(-2 * logit)), truth


def table(sick: int = 30, well: int = 40, prefix: str = "p", seed: int = 0) -> pd.DataFrame:
    probs, truth = films(sick, well, seed)
    return pd.DataFrame(
        {
            "path": [f"{prefix}{i}.png" for i in range(len(truth))],
            "patient_id": [f"{prefix}{i}" for i in range(len(truth))],
            "label": np.where(truth, "covid19", "normal"),
            "predicted": np.where(probs > 0.5, "covid19", "normal"),
            "prob_normal": 1 - probs,
            "prob_covid19": probs,
        }
    )


@pytest.mark.parametrize(
    ("sick", "well", "kind"),
    [(10, 300, "intercept"), (300, 19, "intercept"), (20, 20, "slope and intercept"), (200, 25, "slope and intercept")],
)
def test_as_much_is_fitted_as_patients_allow(sick: int, well: int, kind: str) -> None:
    found = recalibrate(*films(sick, well), np.arange(sick + well))
    assert found.kind == kind
    assert (found.slope == 1) == (kind == "intercept")
    assert (found.positive_patients, found.negative_patients, found.patients) == (sick, well, sick + well)
    assert found.log_loss_after < found.log_loss_before


def test_too_few_patients_are_refused_however_many_films_they_have() -> None:
    probs, truth = films(9, 50)
    with pytest.raises(DataError, match="9 patients with and 50 without the class; expected at least 10"):
        recalibrate(probs, truth, np.arange(59))
    with pytest.raises(DataError, match="9 patients with"):
        recalibrate(np.repeat(probs, 20), np.repeat(truth, 20), np.repeat(np.arange(59), 20))
    with pytest.raises(DataError, match="at least 20"):
        recalibrate(*films(19, 50), np.arange(69), "slope and intercept")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["intercept", "slope and intercept"]))
def test_mean_and_slope_are_mended_and_ranks_stay(seed: int, kind: str) -> None:
    probs, truth = films(40, 60, seed)
    found = recalibrate(probs, truth, np.arange(100), kind)  # type: ignore[arg-type]
    mended = found.apply(probs)
    assert mended.mean() == pytest.approx(truth.mean(), abs=1e-6)
    assert areas(mended, truth)[0] == pytest.approx(areas(probs, truth)[0])
    again = recalibrate(mended, truth, np.arange(100), kind)  # type: ignore[arg-type]
    assert (again.intercept, again.slope) == pytest.approx((0, 1), abs=1e-5)


def test_a_slope_that_turns_the_ranking_round_is_left_out() -> None:
    probs, truth = films(30, 30)
    turned = recalibrate(1 - probs, truth, np.arange(60))
    assert (turned.kind, turned.slope) == ("intercept", 1.0)
    assert "turn the ranking round" in turned.note
    with pytest.raises(DataError, match="no slope can be fitted"):
        recalibrate(1 - probs, truth, np.arange(60), "slope and intercept")
    parted = recalibrate(np.where(truth, 0.9, 0.2), truth, np.arange(60))
    assert parted.kind == "intercept"
    assert "separates" in parted.note


def test_by_hand() -> None:
    # all at .5, a fifth sick: the intercept is log(1/4)
    found = recalibrate(np.full(50, 0.5), np.arange(50) < 10, np.arange(50))
    assert found.intercept == pytest.approx(np.log(1 / 4))
    assert found.apply([0.5, 0.8]).tolist() == pytest.approx([0.2, 0.5])
    assert as_recalibration(found.as_dict()) == found


def test_tables() -> None:
    local, judged = table(seed=1), table(prefix="q", seed=2)
    found = recalibrate_table(local, "covid19")
    changed = apply_to_table(judged, found, "covid19")
    assert "predicted" not in changed
    assert (changed["prob_normal"] + changed["prob_covid19"]).to_numpy() == pytest.approx(1)
    assert changed["prob_covid19"].to_numpy() == pytest.approx(found.apply(judged["prob_covid19"]))
    mirrored = recalibrate_table(local, "normal")
    assert mirrored.apply(0.3) == pytest.approx(1 - found.apply(0.7), abs=1e-8)
    three = table().assign(prob_flu=0.0)
    with pytest.raises(UsageError, match="3 classes"):
        recalibrate_table(three, "covid19")


def test_a_stored_cut_off_moves_along_and_a_plain_one_stays() -> None:
    local, judged = table(seed=1), table(prefix="q", seed=2)
    stored = Threshold(0.8, "stored", "the run's own", "covid19")
    changed, found, moved = recalibrated(judged, local, "covid19", stored)
    assert isinstance(moved, Threshold)
    assert moved.value == pytest.approx(float(found.apply(0.8)))
    assert moved.threshold_from == "the run's own, recalibrated"
    before, after = judged["prob_covid19"] >= 0.8, changed["prob_covid19"] >= moved.value
    assert before.tolist() == after.tolist()
    assert recalibrated(judged, local, "covid19", 0.5)[2] == 0.5
    with pytest.raises(SplitError, match="30 patients of the judged films"):
        recalibrated(judged.head(30).assign(patient_id=local["patient_id"].head(30)), local, "covid19", None)


def test_wrong_calls() -> None:
    probs, truth = films(30, 30)
    with pytest.raises(UsageError, match="'isotonic' is no recalibration"):
        recalibrate(probs, truth, np.arange(60), "isotonic")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="59 patients"):
        recalibrate(probs, truth, np.arange(59))
