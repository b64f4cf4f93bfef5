"""Actualmed COVID-19 Chest X-ray Dataset Initiative, images/ and metadata.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex, parse_view

EXPECTED = "metadata.csv and images/ of agchung/Actualmed-COVID-chestxray-dataset"
_COLUMNS = ("patientid", "sex", "age", "finding", "view", "modality", "imagename")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of Actualmed.

    A row without a finding is called inconclusive in the notes of the set and is `other`, not `normal`. A patient
    can have films of several findings.

    Raises
    ------
    DataError, ManifestError
        If ``metadata.csv`` is missing or lacks a column, or none of its films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "actualmed")
    for entry in read_csv(tree.metadata("metadata.csv"), _COLUMNS).to_dict("records"):
        gatherer.add(
            tree.named(entry["imagename"], under=("images",)),
            entry["imagename"],
            label=gatherer.label_of(entry["finding"]),
            patient=entry["patientid"],
            finding=entry["finding"],
            view=parse_view(entry["view"]),
            age=parse_age(entry["age"]),
            sex=parse_sex(entry["sex"]),
        )
    return gatherer.frame(with_lateral)
