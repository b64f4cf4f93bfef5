"""How far the source of a film tells its label."""

from __future__ import annotations

import pandas as pd

from covidcxr_tf.audit.association import cramers_v
from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.evaluate.table import UNKNOWN_SOURCE, sources

NAME = "label_source"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return Cramer's V of label and source over the films of the manifest; of each split in ``details``."""
    films = evidence.manifest
    names = sources(films)
    if set(names) == {UNKNOWN_SOURCE}:
        return limits.skip(NAME, "the manifest does not say where its films come from (column source)")
    arguments = (evidence.resamples, evidence.seed)
    patients = films["patient_id"].to_numpy(str)
    labels = films["label"].to_numpy(str)
    found = cramers_v(labels, names, patients, *arguments)
    splits = {}
    for name, rows in films.groupby("split").groups.items() if "split" in films else ():
        chosen = films.index.get_indexer(rows)
        splits[str(name)] = cramers_v(labels[chosen], names[chosen], patients[chosen], *arguments)
    counts = pd.crosstab(labels, names)
    alone = [str(label) for label in counts.index if (counts.loc[label] > 0).sum() == 1]
    ending = f" All films of {', '.join(alone)} come from one source each." if alone else ""
    sentence = f"Label and source go together with V = {found['value'] or 0:.2f} of 1.{ending}"
    details = {"splits": splits, "films": {str(label): counts.loc[label].to_dict() for label in counts.index}}
    return limits.judge(NAME, "Cramer's V of label and source", found, sentence, details)
