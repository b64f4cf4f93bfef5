"""``metrics.json`` for models of findings: a film has any number of them, so each is ranked by itself.

A film whose ``findings`` are empty is unknown, which is not the same as free of them: it is left out. Source: Fricks
2021, Table 1 (AUROC of each of the 14 findings of ChestX-ray14).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats, bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import RankedScores
from covidcxr_tf.evaluate.table import check_predictions, class_names, holds_findings, probabilities, sources

AREAS = ("auroc", "auprc")
Key = tuple[str, ...]
Statistics = Callable[[Floats], dict[Key, Floats]]


@dataclass(frozen=True)
class Found:
    """Films with known findings: `present` is bool [films, findings], `probs` float64 of the same shape."""

    names: tuple[str, ...]
    present: npt.NDArray[np.bool_]
    probs: Floats
    patient_ids: npt.NDArray[Any]

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Found:
        """Return the chosen films only."""
        return Found(self.names, self.present[chosen], self.probs[chosen], self.patient_ids[chosen])

    def ranked(self) -> tuple[str, ...]:
        """Return the findings that some films have and others do not: those whose areas are defined."""
        shares = self.present.mean(axis=0).tolist()
        return tuple(name for name, share in zip(self.names, shares, strict=True) if 0 < share < 1)


def known_films(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose findings are known, index 0..n-1.

    Raises
    ------
    ManifestError
        For a table without ``findings``, or with none known.
    """
    if "findings" not in table.columns:
        raise ManifestError("column findings is missing", expected="names joined by |, 'No Finding', or empty: unknown")
    known = table[table["findings"] != ""].reset_index(drop=True)
    if not len(known):
        raise ManifestError("no film has known findings", expected="at least one row with findings or 'No Finding'")
    return known


def presence(table: pd.DataFrame, findings: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return bool [films, findings]: whether a film's ``findings`` name each of them."""
    named = [set(cell.split("|")) for cell in table["findings"]]
    return np.array([[name in films for name in findings] for films in named], bool).reshape(len(table), len(findings))


def evaluate_findings(table: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Return the document of ``metrics.json`` of a model of findings.

    Parameters
    ----------
    table : DataFrame
        A predictions table with ``findings`` and one ``prob_<finding>`` a finding (`holds_findings`).
    resamples, seed : int
        Of the bootstrap over patients.

    Returns
    -------
    dict
        ``n`` films with known findings of ``patients``; ``unknown`` films left out; ``per_class``: for each finding
        ``auroc`` and ``auprc`` with intervals, ``support`` (films that have it) and ``rest``; ``auroc`` and ``auprc``:
        the mean over the findings that are defined, which ``over`` names and ``left_out`` does not;
        ``by_source``: the means within each source. What is undefined is null and says why.

    Raises
    ------
    ManifestError
        A faulty table, one of another kind, or one without any known film.
    """
    table = check_predictions(table, findings="allowed")
    if not holds_findings(table):
        raise ManifestError("the table is of a model of classes", expected="one prob_<finding> a finding of NIH's 14")
    known = known_films(table)
    names = class_names(known)
    films = Found(names, presence(known, names), probabilities(known, names), known["patient_id"].to_numpy(object))
    values, samples, patients = _measure(films, resamples, seed)
    return {
        "schema_version": 1,
        "task": "multilabel",
        "n": len(known),
        "patients": patients,
        "unknown": len(table) - len(known),
        "splits": sorted(set(table["split"])) if "split" in table.columns else [],
        "classes": list(names),
        "bootstrap": {"unit": "patient", "method": "percentile", "level": LEVEL, "resamples": resamples, "seed": seed},
        **{area: _mean_metric(films, area, values, samples, patients) for area in AREAS},
        "per_class": {
            name: {
                **{area: _metric(films, name, area, values, samples, patients) for area in AREAS},
                "support": int(films.present[:, number].sum()),
                "rest": int((~films.present[:, number]).sum()),
            }
            for number, name in enumerate(names)
        },
        "by_source": _by_source(films, sources(known), resamples, seed),
    }


def finding_against_rest(table: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Floats, npt.NDArray[np.bool_]]:
    """Return the films with known findings, the probability of one finding [films] and whether each has it."""
    if name not in class_names(table):
        raise UsageError(f"'{name}' is no finding of the table", expected=", ".join(class_names(table)))
    known = known_films(table)
    return known, probabilities(known, [name])[:, 0], presence(known, [name])[:, 0]


def _measure(films: Found, resamples: int, seed: int) -> tuple[dict[Key, float], dict[Key, Floats], int]:
    statistics = _statistics(films)
    values = {key: float(value[0]) for key, value in statistics(np.ones((len(films.present), 1))).items()}
    patients = patient_numbers(films.patient_ids)[1]
    return values, bootstrap(statistics, films.patient_ids, resamples if patients > 1 else 0, seed), patients


def _statistics(films: Found) -> Statistics:
    """Return the function from film weights [films, K] to each area [K] and their means."""
    ranked = films.ranked()
    order = {
        name: RankedScores.sort(films.probs[:, number], films.present[:, number])
        for number, name in enumerate(films.names)
        if name in ranked
    }

    def statistics(weights: Floats) -> dict[Key, Floats]:
        result: dict[Key, Floats] = {}
        for name, scores in order.items():
            result[name, "auroc"], result[name, "auprc"] = scores.areas(weights)
        for area in AREAS:
            # The same findings in every resample: a mean over fewer of them would be another quantity.
            result[area,] = (
                np.mean([result[name, area] for name in order], axis=0) if order else np.full(weights.shape[1], np.nan)
            )
        return result

    return statistics


def _metric(
    films: Found, name: str, area: str, values: dict[Key, float], samples: dict[Key, Floats], patients: int
) -> dict[str, Any]:
    if (name, area) in values:
        return describe(values[name, area], samples[name, area], patients)
    some = bool(films.present[:, films.names.index(name)].any())
    return describe(np.nan, np.empty(0), patients, f"every film has {name}" if some else f"no film has {name}")


def _mean_metric(
    films: Found, area: str, values: dict[Key, float], samples: dict[Key, Floats], patients: int
) -> dict[str, Any]:
    over = films.ranked()
    found = describe(values[area,], samples[area,], patients, "no finding is there in some films and absent in others")
    kind = "mean over findings, each against its absence"
    return {
        **found,
        "kind": kind if area == "auroc" else f"average precision, {kind}",
        "over": list(over),
        "left_out": [name for name in films.names if name not in over],
    }


def _by_source(films: Found, source: npt.NDArray[np.object_], resamples: int, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in sorted(set(source)):
        part = films.rows(source == name)
        values, samples, patients = _measure(part, resamples, seed)
        means = {area: _mean_metric(part, area, values, samples, patients) for area in AREAS}
        found[name] = {"n": len(part.present), "patients": patients, **means}
    return found
