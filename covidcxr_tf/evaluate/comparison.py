"""Several models on the same films: areas with intervals, and tests of each two, corrected for their number.

Source: Fricks 2021, section 2.3 and Tables 3 to 5. Differs from paper: intervals and tests are also given over patients
(Obuchowski 1997), and come first, as DeLong's take films of one patient for independent; Holm beside Bonferroni.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, patient_numbers
from covidcxr_tf.evaluate.delong import (
    DeLong,
    bonferroni,
    clustered_delong,
    delong,
    holm,
    interval,
    paired_tests,
    standard_errors,
)
from covidcxr_tf.evaluate.multilabel import finding_against_rest
from covidcxr_tf.evaluate.significance import mcnemar
from covidcxr_tf.evaluate.table import check_predictions, class_names, holds_findings, one_against_rest

BASES = ("by_patient", "by_film")
ASSUMPTION = (
    "by_film (DeLong 1988) takes every film for an independent draw; films of one patient are not. by_patient "
    "(Obuchowski 1997) takes patients for independent, and is the same where every patient has one film."
)


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


def compare_tables(
    tables: Mapping[str, pd.DataFrame], positive: str | None = None, *, common: bool = False, level: float = LEVEL
) -> dict[str, Any]:
    """Return the document of ``comparison.json``.

    Parameters
    ----------
    tables : mapping
        Name of the model -> its predictions table.
    positive : str, optional
        Class (against the rest) or finding; the last one of the first table if omitted.
    common : bool
        As in `join_tables`.
    level : float
        Of the intervals.

    Returns
    -------
    dict
        ``n``, ``patients``, ``positives``, ``negatives``, ``left_out``, ``assumption``; ``models``: name, ``auroc``,
        its interval ``by_patient`` and ``by_film``; ``comparisons`` (the number of pairs, Bonferroni's factor);
        ``pairs``: ``first``, ``second``, ``difference``, and ``by_patient`` and ``by_film`` with ``z``, ``p``,
        ``bonferroni``, ``holm`` and the ``ci95`` of the difference; null with ``why`` where undefined. Where all tables
        say what was called, ``mcnemar`` (``significance.mcnemar`` of films called right, by patient, mid-p).

    Raises
    ------
    UsageError, ManifestError
        As `join_tables`; films of one side only.
    """
    checked = {name: check_predictions(table, where=name, findings="allowed") for name, table in tables.items()}
    if positive is None and checked:
        positive = class_names(next(iter(checked.values())))[-1]
    joined = join_tables(checked, str(positive), common=common)
    results = {
        "by_patient": clustered_delong(joined.scores, joined.is_positive, joined.patient_ids),
        "by_film": delong(joined.scores, joined.is_positive),
    }
    pairs = list(itertools.combinations(range(len(joined.names)), 2))
    tests = {basis: _pair_metrics(result, pairs, level) for basis, result in results.items()}
    aucs = results["by_film"].aucs
    return {
        "schema_version": 1,
        "n": len(joined.paths),
        "patients": patient_numbers(joined.patient_ids)[1],
        "positive": positive,
        "positives": int(joined.is_positive.sum()),
        "negatives": int((~joined.is_positive).sum()),
        "left_out": joined.left_out,
        "level": level,
        "assumption": ASSUMPTION,
        "models": [
            {"name": name, "auroc": float(aucs[k])}
            | {basis: interval(result, k, level) for basis, result in results.items()}
            for k, name in enumerate(joined.names)
        ],
        "comparisons": len(pairs),
        "pairs": [
            {"first": joined.names[i], "second": joined.names[j], "difference": float(aucs[i] - aucs[j])}
            | {basis: tests[basis][number] for basis in BASES}
            | _calls_compared(joined, i, j)
            for number, (i, j) in enumerate(pairs)
        ],
    }


def models_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a model of ``comparison.json``: area, and lower and upper bound by patient and by film."""
    rows = []
    for model in document["models"]:
        row = {"model": model["name"], "auroc": model["auroc"]}
        for basis in BASES:
            row[f"lower_{basis}"], row[f"upper_{basis}"] = model[basis]["ci95"] or (np.nan, np.nan)
        rows.append(row | {"why": model["by_patient"].get("why", "")})
    return pd.DataFrame(rows)


def pairs_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a pair of ``comparison.json``: difference, and z, p, Bonferroni's and Holm's p on each basis."""
    columns = ("z", "p", "bonferroni", "holm")
    return pd.DataFrame(
        [
            {"first": pair["first"], "second": pair["second"], "difference": pair["difference"]}
            | {f"{column}_{basis}": pair[basis][column] for basis in BASES for column in columns}
            for pair in document["pairs"]
        ]
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


def _pair_metrics(result: DeLong, pairs: list[tuple[int, int]], level: float) -> list[dict[str, Any]]:
    tests = paired_tests(result)
    p_values = np.array([tests.p_values[pair] for pair in pairs])
    columns = {"p": p_values, "bonferroni": bonferroni(p_values), "holm": holm(p_values)}
    found = []
    for number, pair in enumerate(pairs):
        if np.isfinite(p_values[number]):
            difference, reach = tests.difference[pair], standard_errors(level) * tests.standard_error[pair]
            bounds = {"ci95": [float(difference - reach), float(difference + reach)], "z": float(tests.z[pair])}
            found.append(bounds | {name: float(values[number]) for name, values in columns.items()})
        else:
            nothing: dict[str, Any] = dict.fromkeys(("ci95", "z", *columns))
            found.append(nothing | {"why": _why(result, pair)})
    return found


def _calls_compared(joined: Joined, first: int, second: int) -> dict[str, Any]:
    if joined.right is None:
        return {}
    return {"mcnemar": mcnemar(joined.right[first], joined.right[second], joined.patient_ids, "mid-p").as_dict()}


def _why(result: DeLong, pair: tuple[int, int]) -> str:
    if not np.isfinite(result.covariance[pair]):
        return f"a variance needs two {'patients' if result.by_patient else 'films'} on each side"
    if result.aucs[pair[0]] == result.aucs[pair[1]]:
        return "both models place every film alike: there is nothing to test"
    return "the difference is the same for every film: its variance is 0"
