"""Measured values of films compared between classes, and between sources: patient means, tests, Holm's correction.

The unit is the patient: a patient's films of one group are averaged first, as the tests take values for independent.

Source: Oh 2020, section III.B (which test for which question) and Tables VI to IX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.delong import holm
from covidcxr_tf.evaluate.significance import (
    TestResult,
    asterisks,
    kolmogorov_smirnov,
    kolmogorov_smirnov_normal,
    wilcoxon_rank_sum,
)

# Where films are compared inside one source or one class: with fewer patients in a group nothing can come out.
LEAST_PATIENTS = 3
NO_SOURCE = "(none)"
ALL, WITHIN_SOURCE, WITHIN_LABEL = "all", "within source", "within label"
NORMALITY, TWO_SAMPLES, RANK_SUM = "normality", "Kolmogorov-Smirnov", "rank sum"

TEST_COLUMNS = (
    "scope",
    "within",
    "marker",
    "test",
    "first",
    "second",
    "n_first",
    "n_second",
    "patients_in_both",
    "statistic",
    "p_value",
    "stars",
    "p_holm",
    "stars_holm",
    "first_larger",
    "why",
)


def patient_means(table: pd.DataFrame, marker: str, by: str) -> dict[str, pd.Series]:
    """Return each group's patient means of a marker.

    Parameters
    ----------
    table : DataFrame
        One row a film: patient_id, `by` and the marker; films whose marker is missing do not count.
    marker : str
        Its column.
    by : str
        Column of the groups. A patient with films in several groups stands in each.

    Returns
    -------
    dict
        Group -> float64, index patient_id; groups and patients in order of their names.
    """
    known = table[[by, "patient_id", marker]].dropna(subset=[marker])
    means = known.groupby([by, "patient_id"], sort=True)[marker].mean()
    return {name: means.loc[name].astype(np.float64) for name in means.index.unique(level=0)}


def marker_summary(table: pd.DataFrame, markers: Sequence[str], by: Sequence[str] = ("label",)) -> pd.DataFrame:
    """Return films, patients, mean, standard deviation (n - 1) and quartiles of the patient means of each group.

    Parameters
    ----------
    table : DataFrame
        One row a film: patient_id, the columns of `by` and the markers.
    markers : sequence of str
    by : sequence of str
        ``("label",)`` or ``("label", "source")``.

    Returns
    -------
    DataFrame
        marker, the columns of `by`, films, patients, mean, std, lower_quartile, median, upper_quartile; NaN where a
        group has no value, or for `std` one patient only.
    """
    rows = []
    for marker in markers:
        for group, films in with_source(table).groupby(list(by), sort=True):
            known = films.dropna(subset=[marker])
            means = known.groupby("patient_id")[marker].mean().astype(np.float64)
            quartiles = means.quantile([0.25, 0.5, 0.75]).to_numpy()
            counts = {"films": len(known), "patients": len(means)}
            spread = dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True))
            rows.append(
                {"marker": marker, **dict(zip(by, group)), **counts, "mean": means.mean(), "std": means.std(), **spread}
            )
    return pd.DataFrame(rows)


def marker_tests(table: pd.DataFrame, markers: Sequence[str]) -> pd.DataFrame:
    """Return every test of every marker.

    Parameters
    ----------
    table : DataFrame
        One row a film: patient_id, label, maybe source, and the markers (NaN where not known).
    markers : sequence of str

    Returns
    -------
    DataFrame
        Columns `TEST_COLUMNS`. `scope` is ``all`` (classes against each other over all films), ``within source`` (the
        same inside one source) or ``within label`` (sources against each other inside one class: a difference there
        cannot be the disease's). `test` is ``normality`` of one group (Kolmogorov-Smirnov against a normal curve),
        ``Kolmogorov-Smirnov`` of two, or ``rank sum`` (Wilcoxon). `p_holm` corrects each two-sample p-value for all
        of its test and scope. `first_larger` is the share of pairs of patients in which the first group's value is
        the larger, ties half.
    """
    table = with_source(table)
    rows = [row for marker in markers for row in _tests(table, marker, "label", ALL, "")]
    scopes = ((WITHIN_SOURCE, "source", "label"), (WITHIN_LABEL, "label", "source"))
    for scope, outer, inner in scopes if len(set(table["source"])) > 1 else ():  # one source: `all` says it
        for name, part in table.groupby(outer, sort=True):
            for marker in markers:
                rows += _tests(part, marker, inner, scope, str(name), LEAST_PATIENTS)
    tests = pd.DataFrame(rows, columns=list(TEST_COLUMNS))
    for _, family in tests[tests["test"] != NORMALITY].groupby(["scope", "test"]):
        defined = family["p_value"].dropna()
        tests.loc[defined.index, "p_holm"] = holm(defined.to_numpy(np.float64))
    tests["stars_holm"] = ["" if pd.isna(p_value) else asterisks(p_value) for p_value in tests["p_holm"]]
    return tests


def with_source(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column `source` in which nothing is empty."""
    source = table["source"].astype(str).replace("", NO_SOURCE) if "source" in table else NO_SOURCE
    return table.assign(source=source)


def _tests(
    table: pd.DataFrame, marker: str, by: str, scope: str, within: str, least: int = 1
) -> Iterator[dict[str, Any]]:
    """Give the rows of one marker and one set of films."""
    groups = {name: means for name, means in patient_means(table, marker, by).items() if len(means) >= least}
    place = {"scope": scope, "within": within, "marker": marker}
    if scope == ALL:
        for name, means in groups.items():
            yield place | {"test": NORMALITY, "first": name} | _outcome(kolmogorov_smirnov_normal(means.to_numpy()))
    for (first, one), (second, other) in combinations(groups.items(), 2):
        both = {"first": first, "second": second, "patients_in_both": len(one.index.intersection(other.index))}
        pair = one.to_numpy(), other.to_numpy()
        yield place | both | {"test": TWO_SAMPLES} | _outcome(kolmogorov_smirnov(*pair))
        ranked = wilcoxon_rank_sum(*pair)
        # Mann and Whitney's U of the first sample counts those pairs.
        larger = ranked.statistic / (len(one) * len(other)) if ranked.statistic is not None else None
        yield place | both | {"test": RANK_SUM} | _outcome(ranked) | {"first_larger": larger}


def _outcome(result: TestResult) -> dict[str, Any]:
    counts = dict(zip(("n_first", "n_second"), result.n))
    found = {"statistic": result.statistic, "p_value": result.p_value, "stars": result.stars, "why": result.why}
    return {**counts, **found}
