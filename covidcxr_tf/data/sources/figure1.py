"""Figure 1 COVID-19 Chest X-ray Dataset Initiative, images/ and metadata.csv."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex, parse_view

EXPECTED = "metadata.csv and images/ of agchung/Figure1-COVID-chestxray-dataset"
_COLUMNS = ("patientid", "offset", "sex", "age", "finding", "view", "modality")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of Figure 1; a film is named by the column `patientid` (``COVID-00003a.jpg``).

    The letter behind the number tells films of one patient apart and is no part of `patient_id`. A row without a
    finding is `other` (undecided, not free of disease). Ages such as ``50+`` are left empty.

    Raises
    ------
    DataError, ManifestError
        If ``metadata.csv`` is missing or lacks a column, or none of its films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "figure1")
    for entry in read_csv(tree.metadata("metadata.csv"), _COLUMNS).to_dict("records"):
        name = entry["patientid"]
        gatherer.add(
            tree.film(name, under=("images",)),
            name,
            label=gatherer.label_of(entry["finding"]),
            patient=patient_of(name),
            finding=entry["finding"],
            view=parse_view(entry["view"]),
            age=parse_age(entry["age"]),
            sex=parse_sex(entry["sex"]),
            offset_days=entry["offset"],
        )
    return gatherer.frame(with_lateral)


def patient_of(name: str) -> str:
    """Return the patient of a film's name: ``COVID-00003a`` and ``COVID-00003b`` are COVID-00003."""
    return re.sub(r"(?<=\d)[a-z]$", "", name)
