"""Leaving sources out: every film of theirs is tested, and no patient of theirs is seen before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.held_out import hold_out_sources
from covidcxr_tf.errors import ManifestError


def films() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        (f"{source}{patient}_{film}.png", random.choice(["normal", "covid19"]), f"{source}{patient}", source)
        for source in "abc"
        for patient in range(20)
        for film in range(2)
    ]
    # Patient a0 was also seen in hospital b.
    rows.append(("shared.png", "normal", "a0", "b"))
    return pd.DataFrame(rows, columns=["path", "label", "patient_id", "source"], dtype="str")


def test_all_and_only_films_of_the_source_are_tested() -> None:
    split = hold_out_sources(films(), ["a"], (0.6, 0.2, 0.2), seed=1)
    assert set(split.loc[split["split"] == "test", "source"]) == {"a"}
    assert (split.loc[split["source"] == "a", "split"] == "test").all()
    assert set(split["split"]) == {"train", "validation", "test"}


def test_a_patient_of_the_source_is_seen_by_nobody_before() -> None:
    split = hold_out_sources(films(), ["a"], (0.6, 0.2, 0.2), seed=1)
    assert "shared.png" not in set(split["path"])
    assert len(split) == len(films()) - 1
    assert split.groupby("patient_id")["split"].nunique().max() == 1


def test_the_shares_of_train_and_validation_keep_their_ratio() -> None:
    split = hold_out_sources(films(), ["a"], (0.6, 0.2, 0.2), seed=1)
    rest = split[split["split"] != "test"].groupby("split")["patient_id"].nunique()
    assert rest["validation"] / rest.sum() == pytest.approx(0.25, abs=0.05)


def test_an_old_split_is_replaced_and_attributes_stay() -> None:
    manifest = films().assign(split="test")
    manifest.attrs["manifest"] = "m.csv"
    split = hold_out_sources(manifest, ["b", "c"], (0.5, 0.5, 0.0), seed=0)
    assert split.attrs["manifest"] == "m.csv"
    assert set(split.loc[split["source"] == "a", "split"]) == {"train", "validation"}


@pytest.mark.parametrize(
    ("manifest", "sources", "message"),
    [
        (films(), ["z"], "no film of the source 'z'"),
        (films().drop(columns="source"), ["a"], "no column 'source'"),
        (films(), ["a", "b", "c"], "every patient"),
    ],
)
def test_what_cannot_be_held_out_is_refused(manifest: pd.DataFrame, sources: list[str], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        hold_out_sources(manifest, sources)
