"""All checks on one model and one set of films."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding, worst
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.catalog import AUDITS, entry, resolve
from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.errors import UsageError

SCHEMA_VERSION = 1
#: Films that are judged unless told otherwise: a dozen passes of the network over them take minutes, not hours.
FILMS = 400


def chosen_checks(only: Sequence[str] = ()) -> list[str]:
    """Return the names of the checks to run, in the catalog's order; all where none is named.

    Raises
    ------
    UsageError
        For a check that there is not.
    """
    for name in only:
        entry("audits", name)
    return [name for name in AUDITS if not only or name in only]


def draw_films(films: pd.DataFrame, most: int = FILMS, seed: int = 0) -> pd.DataFrame:
    """Return at most `most` films, each label and source with its share, at least one of each; index 0..n-1."""
    if len(films) <= most:
        return films
    random = np.random.default_rng(seed)
    parts = ["label", *(["source"] if "source" in films else [])]
    kept: list[int] = []
    for rows in films.groupby(parts, sort=True).groups.values():
        wanted = max(1, round(most * len(rows) / len(films)))
        kept += list(random.choice(np.asarray(rows), min(wanted, len(rows)), replace=False))
    drawn = films.loc[sorted(kept)].reset_index(drop=True)
    drawn.attrs = films.attrs
    return drawn


def run_checks(evidence: Evidence, limits: Mapping[str, Limits], only: Sequence[str] = ()) -> list[Finding]:
    """Return what every check says.

    Raises
    ------
    UsageError
        If the model has no classes to tell apart, or a check that there is not is named.
    """
    loaded = evidence.loaded
    if not isinstance(loaded, LoadedModel) or loaded.task != "classification":
        raise UsageError(
            f"the model {loaded.name} is no single classifier of classes",
            expected="one network that tells classes apart",
            remedy="name the folder of one level, member or fold",
        )
    return [resolve("audits", name)(evidence, limits[name]) for name in chosen_checks(only)]


def as_document(evidence: Evidence, findings: Sequence[Finding], **about: Any) -> dict[str, Any]:
    """Return ``audit.json``: the model, the films, and every finding.

    Parameters
    ----------
    **about
        Further facts for the head of the document, for example the manifest's name.
    """
    counts = Counter(one.verdict for one in findings)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": evidence.loaded.name, "arch": evidence.loaded.arch, "sha256": evidence.loaded.digest},
        "positive": evidence.positive,
        "films": len(evidence.films),
        "patients": int(evidence.films["patient_id"].nunique()),
        "labels": {str(name): int(number) for name, number in evidence.films["label"].value_counts().items()},
        "resamples": evidence.resamples,
        "seed": evidence.seed,
        **about,
        "verdict": worst(list(findings)),
        "verdicts": {name: counts.get(name, 0) for name in ("pass", "warn", "fail", "not applicable")},
        "findings": [one.as_dict() for one in findings],
        "note": "for research, not for diagnosis: a model that passes every check may still be wrong",
    }
