"""What weights have seen travels with them, and no one is tested on it."""

from __future__ import annotations

import hashlib

import pandas as pd
import pytest

from covidcxr_tf.config import load_config, merge
from covidcxr_tf.data.splits import patient_digest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.recipes.lineage import earlier_training, refuse_seen_patients, training_record


def manifest(**split: str) -> pd.DataFrame:
    rows = [{"path": f"{p}.png", "patient_id": p, "label": "normal", "split": s} for p, s in split.items()]
    return pd.DataFrame(rows)


def test_a_record_names_the_training_patients_only() -> None:
    record = training_record(load_config("base"), manifest(anna="train", ben="validation", cleo="test", dora="train"))
    expected = sorted(hashlib.sha256(name.encode()).hexdigest()[:12] for name in ("anna", "dora"))
    assert record["patients"] == expected
    assert "anna" not in str(record)


def test_redrawn_validation_films_count_as_trained_on() -> None:
    config = load_config("base", ["data.redraw_validation=true"])
    assert patient_digest("ben") in training_record(config, manifest(anna="train", ben="validation"))["patients"]


def test_a_test_patient_of_an_earlier_phase_is_refused() -> None:
    record = training_record(load_config("base"), manifest(anna="train", cleo="test"))
    refuse_seen_patients(manifest(anna="train", cleo="test"), [record])
    with pytest.raises(SplitError, match="1 of 2 test films") as caught:
        refuse_seen_patients(manifest(anna="test", cleo="test", ben="train"), [record])
    assert record["name"] in str(caught.value)


@pytest.mark.parametrize("init", ["none", "imagenet", "chexnet:somewhere.h5", "not_there.keras"])
def test_weights_that_are_no_model_file_of_ours_have_no_record(init: str) -> None:
    assert earlier_training(init) == []


def test_merge_keeps_phases_apart() -> None:
    assert merge({"phases": {"a": {"x": 1}, "b": {"x": 2}}}, {"phases": {"a": {"x": 3}}}) == {
        "phases": {"a": {"x": 3}, "b": {"x": 2}}
    }
