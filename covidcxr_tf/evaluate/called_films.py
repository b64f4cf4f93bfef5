"""A predictions table of classes as arrays: what each film is, and what it was called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import Floats
from covidcxr_tf.evaluate.table import class_indices, class_names, probabilities


@dataclass(frozen=True)
class Films:
    """Predictions as arrays: `truth` and `called` hold class numbers, `probs` is float64 [films, classes]."""

    classes: tuple[str, ...]
    positive: int
    truth: npt.NDArray[np.int64]
    called: npt.NDArray[np.int64]
    probs: Floats
    patient_ids: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Films:
        """Return the chosen films only."""
        return Films(
            self.classes,
            self.positive,
            self.truth[chosen],
            self.called[chosen],
            self.probs[chosen],
            self.patient_ids[chosen],
        )

    def support(self) -> list[int]:
        """Return the number of films of each class."""
        return [int(count) for count in np.bincount(self.truth, minlength=len(self.classes))]


def called_films(table: pd.DataFrame, positive: str | None, threshold: float | None, as_called: bool) -> Films:
    """Return a checked table's films; arguments and errors as those of ``classification.evaluate_table``."""
    classes = class_names(table)
    positive = classes[-1] if positive is None else positive
    if positive not in classes:
        raise UsageError(f"'{positive}' is no class of the table", expected=", ".join(classes))
    if threshold is not None and len(classes) != 2:
        raise UsageError(f"a threshold with {len(classes)} classes", expected="two classes", remedy="leave it out")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold}", expected="a number from 0 to 1")
    if as_called and threshold is not None:
        raise UsageError("a threshold, and films as they were called", expected="one of the two")
    if as_called and "predicted" not in table.columns:
        raise ManifestError("column predicted is missing", expected="the class that each film was called")
    number = classes.index(positive)
    probs = probabilities(table, classes)
    return Films(
        classes,
        number,
        class_indices(table["label"], classes),
        class_indices(table["predicted"], classes) if as_called else call_classes(probs, number, threshold),
        probs,
        table["patient_id"].to_numpy(object),
    )


def call_classes(probs: Floats, positive: int, threshold: float | None) -> npt.NDArray[np.int64]:
    """Return the called class of each film: by `threshold` on the positive one of two, else the most probable."""
    if threshold is None:
        return probs.argmax(axis=1)
    return np.where(probs[:, positive] >= threshold, positive, 1 - positive)
