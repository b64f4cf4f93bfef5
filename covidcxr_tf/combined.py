"""Classifiers made of several: the two levels of a hierarchical run, and ensembles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr_tf.classifiers import LoadedModel, to_probabilities
from covidcxr_tf.errors import WeightsError

#: What makes a run folder that of an ensemble.
ENSEMBLE = "ensemble.json"
#: Smallest probability that a logit is taken of: a float64 softmax of float32 logits can be 0.
LEAST_PROBABILITY = 1e-12


class HierarchicalModel:
    """Two classifiers in a row: the first sorts out its first class, the second divides the rest.

    Source: Haghanifar 2020, section 5.3 ("hierarchical approach"), Table 5. Probabilities multiply along the tree,
    so they sum to 1: the paper only takes the class at the end of the path, which is the same wherever both
    levels are sure.
    """

    task = "classification"

    def __init__(self, first: LoadedModel, second: LoadedModel, path: Path) -> None:
        self.first, self.second, self.path = first, second, path
        self.classes = (first.classes[0], *second.classes)
        self.positive = second.positive
        self.name = path.name
        self.image = first.image
        self.films_at_once = min(first.films_at_once, second.films_at_once)

    def predict(self, films: Sequence[np.ndarray]) -> np.ndarray:
        """Return float64 (N, classes) for films float32 (H, W) in [0, 1]."""
        return combine_levels(self.first.predict(films), self.second.predict(films))

    def predict_with_columns(self, films: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return `predict`, and no more columns."""
        return self.predict(films), {}


class EnsembleModel:
    """Several classifiers of the same classes, asked together: their logits are averaged.

    Attributes
    ----------
    members : tuple of LoadedModel
    classes, positive, task, threshold, facts
        As of a `LoadedModel`; the cut-off and the positive class are those of ``ensemble.json`` where it has them.
    path : Path
        ``ensemble.json`` in the ensemble's run folder.

    Source: Fricks 2021, discussion (the authors' suggestion); mean of logits.
    """

    def __init__(self, members: Sequence[LoadedModel], path: Path, stored: dict[str, Any] | None = None) -> None:
        stored = stored or {}
        first = members[0]
        for member in members[1:]:
            if (member.classes, member.task) != (first.classes, first.task):
                raise WeightsError(
                    f"the members {first.name} and {member.name} have different classes",
                    where=path,
                    expected=f"{first.task} of {', '.join(first.classes)}",
                )
        self.members, self.path = tuple(members), path
        self.classes, self.task = first.classes, first.task
        self.positive = str(stored.get("positive") or first.positive)
        self.threshold: float | None = stored.get("threshold")
        self.name = str(stored.get("name") or path.parent.name)
        self.image = first.image
        self.facts = {**first.facts, **stored}
        self.films_at_once = min(member.films_at_once for member in members)

    @classmethod
    def load(cls, folder: str | Path) -> EnsembleModel:
        """Return the ensemble in a run folder: ``ensemble.json`` names the members' folders, relative to it.

        Raises
        ------
        WeightsError
            If the file is no list of members, a member cannot be read, or the members' classes differ.
        """
        file = Path(folder) / ENSEMBLE
        try:
            stored = json.loads(file.read_text())
            named = [member if isinstance(member, str) else member["folder"] for member in stored["members"]]
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise WeightsError(
                "names no members", where=file, expected='"members": [{"folder": "member_a"}]'
            ) from cause
        if not named:
            raise WeightsError("has no member", where=file, expected="at least one")
        return cls([LoadedModel.load(Path(folder) / name) for name in named], file, stored)

    def predict(self, films: Sequence[np.ndarray]) -> np.ndarray:
        """Return float64 (N, classes) for films float32 (H, W) in [0, 1]."""
        return mean_of_logits(np.stack([member.predict(films) for member in self.members]), self.task)

    def predict_with_columns(self, films: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return `predict`, and the mean ``patch_coverage`` where every member sees patches."""
        found = [member.predict_with_columns(films) for member in self.members]
        shared = set.intersection(*(set(columns) for _, columns in found))
        means = {name: np.mean([columns[name] for _, columns in found], axis=0) for name in sorted(shared)}
        return mean_of_logits(np.stack([values for values, _ in found]), self.task), means


def mean_of_logits(probabilities: np.ndarray, task: str = "classification") -> np.ndarray:
    """Return the probabilities (N, classes) whose logits are the mean over the members' (members, N, classes).

    Parameters
    ----------
    probabilities : ndarray of float64, (members, N, classes)
    task : str
        ``classification``: classes are rivals; a film's logits are known but for one constant, which softmax takes
        out again. ``multilabel``: each finding has a logit of its own.
    """
    known = np.clip(probabilities, LEAST_PROBABILITY, 1.0)
    if task == "multilabel":
        rest = np.clip(1 - probabilities, LEAST_PROBABILITY, 1.0)
        return to_probabilities((np.log(known) - np.log(rest)).mean(axis=0), task)
    return to_probabilities(np.log(known).mean(axis=0), task)


def combine_levels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return P(class) from P(first class | film), P(rest | film) and P(class | rest), (N, 1 + second classes)."""
    return np.concatenate([first[:, :1], first[:, 1:].sum(axis=1, keepdims=True) * second], axis=1)
