"""Several models on the same films: areas with intervals, and tests of each two, corrected for their number.

Source: Fricks 2021, section 2.3 and Tables 3 to 5. Differs from paper: intervals and tests are also given over patients
(Obuchowski 1997), and come first, as DeLong's take films of one patient for independent; Holm beside Bonferroni.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.bootstrap import LEVEL, patient_numbers
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
from covidcxr_tf.evaluate.joined import Joined, join_tables
from covidcxr_tf.evaluate.significance import mcnemar
from covidcxr_tf.evaluate.table import check_predictions, class_names

__all__ = ["BASES", "Joined", "compare_tables", "join_tables", "models_table", "pairs_table"]

BASES = ("by_patient", "by_film")
ASSUMPTION = (
    "by_film (DeLong 1988) takes every film for an independent draw; films of one patient are not. by_patient "
    "(Obuchowski 1997) takes patients for independent, and is the same where every patient has one film."
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
