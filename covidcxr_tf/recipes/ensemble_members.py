"""The members of an ensemble: finished runs, and whether they may be averaged."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.data.splits import patient_digest
from covidcxr_tf.errors import ManifestError, SplitError, UsageError, WeightsError
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.models.files import model_digest, read_facts

#: Columns that must agree where two members' tables hold one path.
SAME_FILM = ("label", "patient_id", "findings")


@dataclass(frozen=True)
class Member:
    """A finished run.

    Attributes
    ----------
    name, folder
        Whose and where.
    facts : dict
        Stored with its model.
    split : DataFrame
        ``split.csv``: path, patient_id, split...
    tables : dict
        ``test`` and, where it has one, ``validation``: predictions tables with the index ``path``.
    """

    name: str
    folder: Path
    facts: dict[str, Any]
    split: pd.DataFrame
    tables: dict[str, pd.DataFrame]

    def trained_on(self, patients: Iterable[str]) -> set[str]:
        """Return those patients whose films it, or an earlier phase that its weights come from, was trained on."""
        own = set(self.split.loc[self.split["split"] == "train", "patient_id"])
        digests = {digest for record in self.facts.get("history", []) for digest in record["patients"]}
        return {patient for patient in patients if patient in own or patient_digest(patient) in digests}


def read_members(runs: Sequence[str | Path], names: Sequence[str] = ()) -> list[Member]:
    """Return the members of an ensemble, named by their folders unless names are given.

    Raises
    ------
    UsageError
        Fewer than 2 or more than 26 runs, names that do not tell them apart.
    WeightsError
        A folder that is no finished run of one classifier.
    """
    if not 2 <= len(runs) <= len(string.ascii_lowercase):
        raise UsageError(f"{len(runs)} run(s)", expected="2 to 26 run folders")
    chosen = list(names) or [Path(run).resolve().name for run in runs]
    if len(chosen) != len(runs) or len(set(chosen)) < len(chosen):
        raise UsageError(
            f"the names {', '.join(chosen)} for {len(runs)} runs",
            expected="one name a run, each another",
            remedy="name them with --names",
        )
    return [_read_member(Path(run), name) for run, name in zip(runs, chosen, strict=True)]


def _read_member(folder: Path, name: str) -> Member:
    for needed, remedy in (
        ("model.keras", "an ensemble, a hierarchical run and folds have several models: name a folder inside them"),
        ("split.csv", None),
        ("predictions_test.csv", "train with films in the split 'test'"),
    ):
        if not (folder / needed).is_file():
            raise WeightsError(f"holds no {needed}", where=folder, expected="a finished run folder", remedy=remedy)
    facts = read_facts(folder / "model.keras")
    if facts.get("task") not in ("classification", "multilabel"):
        raise WeightsError(
            f"is a model for {facts.get('task', 'an unknown task')}", where=folder, expected="a classifier"
        )
    files = {part: folder / f"predictions_{part}.csv" for part in ("test", "validation")}
    tables = {part: read_predictions(file).set_index("path") for part, file in files.items() if file.is_file()}
    split = pd.read_csv(folder / "split.csv", dtype=str, keep_default_na=False)
    return Member(name, folder, facts, split, tables)


def check_members(members: Sequence[Member]) -> None:
    """Raise where members cannot be averaged: one model twice, other classes or test films, a test patient trained on.

    Raises
    ------
    UsageError, WeightsError, ManifestError, SplitError
    """
    first = members[0]
    _refuse_folds(members)
    _refuse_copies(members)
    for member in members:
        for key in ("task", "classes"):
            if member.facts[key] != first.facts[key]:
                raise WeightsError(
                    f"{key} {member.facts[key]}", where=member.folder, expected=f"{first.facts[key]}, as {first.folder}"
                )
        _check_test_films(first, member)
        for part in set(first.tables) & set(member.tables):
            _check_same_films(first, member, part)
    tested = set(first.tables["test"]["patient_id"])
    for member in members:
        seen = member.trained_on(tested)
        if seen:
            raise SplitError(
                f"was trained on {len(seen)} of the {len(tested)} patients that are tested on",
                where=member.folder,
                expected="one split by patient for all members",
                remedy="split all manifests together (`covidcxr data split --with`)",
            )


def _refuse_folds(members: Sequence[Member]) -> None:
    """Raise where two members are folds of one cross-validation, each of which tests on what the other trained on."""
    found: dict[Path, str] = {}
    for member in members:
        folder = member.folder.resolve()
        if not re.fullmatch(r"fold_\d+", folder.name):
            continue
        if folder.parent in found:
            raise UsageError(
                f"{found[folder.parent]} and {folder.name} are folds of one cross-validation: each was trained on "
                "films that the other is tested on",
                where=folder.parent,
                expected="runs that leave the same test films out",
                remedy="train the members on one split (data.folds=0)",
            )
        found[folder.parent] = folder.name


def _refuse_copies(members: Sequence[Member]) -> None:
    digests: dict[str, Member] = {}
    for member in members:
        earlier = digests.setdefault(model_digest(member.folder / "model.keras"), member)
        if earlier is not member:
            raise UsageError(
                f"{member.name} is the same model as {earlier.name}",
                where=member.folder,
                expected="another model: one that counts twice is no second opinion",
            )


def _check_test_films(first: Member, member: Member) -> None:
    films, others = first.tables["test"], member.tables["test"]
    if set(films.index) != set(others.index):
        apart = sorted(set(films.index) ^ set(others.index))
        raise ManifestError(
            f"other test films than {first.name}: {len(apart)} stand in one of the two only, '{apart[0]}' first",
            where=member.folder / "predictions_test.csv",
            expected="the same test films",
        )


def _check_same_films(first: Member, member: Member, part: str) -> None:
    """Raise where a path that stands in both members' tables is not one film: another patient, label or findings."""
    common = first.tables[part].index.intersection(member.tables[part].index, sort=False)
    films, others = first.tables[part].loc[common], member.tables[part].loc[common]
    for column in SAME_FILM:
        if column not in films or column not in others:
            continue
        for row in np.flatnonzero((films[column] != others[column]).to_numpy())[:1]:
            raise ManifestError(
                f"the film '{others.index[row]}' has the {column} '{others[column].iloc[row]}'",
                where=member.folder / f"predictions_{part}.csv",
                expected=f"'{films[column].iloc[row]}', as in {first.name}",
            )
