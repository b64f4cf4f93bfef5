"""Predictions of several models on the same films, film by film."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import Floats
from covidcxr_tf.evaluate.multilabel import finding_against_rest
from covidcxr_tf.evaluate.table import class_names, holds_findings, one_against_rest


@dataclass(frozen=True)
class Joined:
    """The films that all models judged, in the order of the first table.

    Attributes
    ----------
    names : tuple of str
    scores : float64 [models, films]
    is_positive : bool [films]
    patient_ids : object [films]
    paths : tuple of str
    left_out : dict
        Name -> films of that table which some other table does not hold.
    right : bool [models, films] or None
        Whether each film was called what it is; None where a table does not say what was called.
    """

    names: tuple[str, ...]
    scores: Floats
    is_positive: npt.NDArray[np.bool_]
    patient_ids: npt.NDArray[Any]
    paths: tuple[str, ...]
    left_out: dict[str, int]
    right: npt.NDArray[np.bool_] | None = None


def join_tables(tables: Mapping[str, pd.DataFrame], positive: str, *, common: bool = False) -> Joined:
    """Return the films of several predictions tables, joined by ``path`` (and ``source`` where all have it).

    Parameters
    ----------
    tables : mapping
        Name of the model -> its predictions table. Of a model of findings only films with known findings count.
    positive : str
        Class or finding, one that every table has.
    common : bool
        Keep the films that every table holds; else tables of different films are refused.

    Raises
    ------
    UsageError
        Fewer than two tables, or a class that a table has not.
    ManifestError
        A faulty table; different films; a film with different labels or patients.
    """
    if len(tables) < 2:
        raise UsageError(f"{len(tables)} table(s)", expected="at least two to compare")
    films = {name: _films(table, positive, name) for name, table in tables.items()}
    with_source = all("source" in table for table in films.values())
    keyed = {name: table.set_index(_keys(table, with_source)) for name, table in films.items()}
    first_name, first = next(iter(keyed.items()))
    shared = set.intersection(*(set(table.index) for table in keyed.values()))
    left_out = {name: len(table) - len(shared) for name, table in keyed.items()}
    if any(left_out.values()) and not common:
        _refuse_other_films(keyed)
    if not shared:
        raise ManifestError("no film stands in all tables", expected="predictions of the same films")
    order = [key for key in first.index if key in shared]
    aligned = {name: table.loc[order] for name, table in keyed.items()}
    for name, table in aligned.items():
        _refuse_other_words(aligned[first_name], table, first_name, name)
    judged = aligned[first_name]
    return Joined(
        tuple(aligned),
        np.stack([table["score"].to_numpy(np.float64) for table in aligned.values()]),
        judged["is_positive"].to_numpy(bool),
        judged["patient_id"].to_numpy(object),
        tuple(judged["path"]),
        left_out,
        np.stack([table["right"].to_numpy(bool) for table in aligned.values()])
        if all("right" in table for table in aligned.values())
        else None,
    )


def _films(table: pd.DataFrame, positive: str, name: str) -> pd.DataFrame:
    """Return path, patient, source, label, score and side of each film."""
    if positive not in class_names(table):
        raise UsageError(f"'{positive}' is no class of the table", where=name, expected=", ".join(class_names(table)))
    if holds_findings(table):
        rows, score, is_positive = finding_against_rest(table, positive)
        label = np.where(is_positive, positive, f"no {positive}")
    else:
        rows, label = table, table["label"].to_numpy(object)
        score, is_positive = one_against_rest(table, positive)
    kept = rows[[column for column in ("path", "patient_id", "source") if column in rows.columns]]
    if "predicted" in rows.columns and not holds_findings(table):
        kept = kept.assign(right=(rows["predicted"] == rows["label"]).to_numpy(bool))
    return kept.assign(label=label, classes="|".join(class_names(table)), score=score, is_positive=is_positive)


def _keys(table: pd.DataFrame, with_source: bool) -> pd.Index:
    columns = [table["path"], table["source"]] if with_source else [table["path"]]
    keys = pd.Index(list(zip(*columns, strict=True)), tupleize_cols=False)
    for film in keys[keys.duplicated()][:1]:
        raise ManifestError(
            f"the film '{film[0]}' stands there twice", expected="a column source that tells them apart in every table"
        )
    return keys


def _refuse_other_films(keyed: Mapping[str, pd.DataFrame]) -> None:
    for (one, first), (other, second) in itertools.permutations(keyed.items(), 2):
        for film in [key for key in first.index if key not in second.index][:1]:
            missing = len(first.index.difference(second.index, sort=False))
            raise ManifestError(
                f"lacks {missing} of the {len(first)} films of {one}, '{film[0]}' first",
                where=other,
                expected="predictions of the same films",
                remedy="--common compares on the films that all tables hold",
            )


def _refuse_other_words(first: pd.DataFrame, second: pd.DataFrame, one: str, other: str) -> None:
    """Raise where the same film has another patient or label; of tables with other classes only the side counts."""
    same_classes = first["classes"].iloc[0] == second["classes"].iloc[0]
    for column in ("patient_id", "label" if same_classes else "is_positive"):
        differs = np.flatnonzero((first[column] != second[column]).to_numpy())
        for row in differs[:1]:
            words = f"{column} '{second[column].iloc[row]}' and in {one} '{first[column].iloc[row]}'"
            raise ManifestError(
                f"the film '{first['path'].iloc[row]}' has {words} ({len(differs)} such films)",
                where=other,
                expected="the same films with the same words",
            )
