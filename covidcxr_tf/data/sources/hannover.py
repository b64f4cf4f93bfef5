"""COVID-19 Image Repository of Hannover Medical School, png/ and data.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex, parse_view

EXPECTED = "data.csv and png/ of ml-workgroup/covid-19-image-repository"
_COLUMNS = ("patient_id", "image_id", "sex", "age", "admission_offset", "projection")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of Hannover, all labelled covid19 as the repository says of its patients.

    Early films can look normal, and films long before the admission are of a healthy chest; `admission_offset_days`
    (the column `admission_offset` as it is) lets one judge. Ages are redacted in the source.

    Raises
    ------
    DataError, ManifestError
        If ``data.csv`` is missing or lacks a column, or none of its films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "hannover", "CC BY 3.0")
    for entry in read_csv(tree.metadata("data.csv"), _COLUMNS).to_dict("records"):
        gatherer.add(
            tree.film(entry["image_id"], under=("png",)),
            entry["image_id"],
            label="covid19",
            patient=entry["patient_id"],
            finding="COVID-19",
            view=parse_view(entry["projection"]),
            age=parse_age(entry["age"]),
            sex=parse_sex(entry["sex"]),
            admission_offset_days=entry["admission_offset"],
        )
    return gatherer.frame(with_lateral)
