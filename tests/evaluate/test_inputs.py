from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from covidcxr_tf.errors import SplitError, UsageError
from covidcxr_tf.evaluate.inputs import BESIDE, refuse_shared_patients, validation_films


def table(splits: list[str], prefix: str = "p") -> pd.DataFrame:
    numbers = range(len(splits))
    return pd.DataFrame(
        {
            "path": [f"{prefix}{i}.png" for i in numbers],
            "patient_id": [f"{prefix}{i}" for i in numbers],
            "label": ["normal", "covid19"] * (len(splits) // 2),
            "split": splits,
            "prob_normal": 0.4,
            "prob_covid19": 0.6,
        }
    )


def test_where_validation_films_are_looked_for(tmp_path: Path) -> None:
    whole = table(["validation", "validation", "test", "test"])
    assert validation_films(None, whole, tmp_path)["path"].tolist() == ["p0.png", "p1.png"]
    only_test = table(["test", "test"])
    with pytest.raises(UsageError, match=r"no validation films to choose a cut-off on.*--validation"):
        validation_films(None, only_test, tmp_path)
    table(["validation"] * 2, "beside").to_csv(tmp_path / BESIDE, index=False)
    assert validation_films(None, only_test, tmp_path)["path"].iloc[0] == "beside0.png"
    assert validation_films(None, None, tmp_path)["path"].iloc[0] == "beside0.png"
    table(["validation", "train"], "given").to_csv(tmp_path / "given.csv", index=False)
    given = validation_films(tmp_path / "given.csv", whole, tmp_path)
    assert given["path"].tolist() == ["given0.png"]


def test_shared_patients_are_refused() -> None:
    refuse_shared_patients(table(["test"] * 2, "a"), table(["test"] * 2, "b"), "that choose")
    with pytest.raises(SplitError, match="2 patients of the judged films also stand in those that choose, 'a0' first"):
        refuse_shared_patients(table(["test"] * 2, "a"), table(["test"] * 2, "a"), "that choose")
