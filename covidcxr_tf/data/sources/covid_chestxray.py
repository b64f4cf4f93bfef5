"""covid-chestxray-dataset (J. P. Cohen), images/ and metadata.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import SEE_SOURCE, Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex, parse_view

EXPECTED = "metadata.csv and images/ of ieee8023/covid-chestxray-dataset"
_COLUMNS = ("patientid", "offset", "sex", "age", "finding", "view", "filename")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the X-rays of covid-chestxray-dataset; its CT slices are left out.

    Both forms of the column `finding` are read: ``"COVID-19, ARDS"`` and ``"Pneumonia/Viral/COVID-19"``. `offset`
    (days since the first symptoms or the admission) and `survival` are kept as they are. The files named by eight
    hexadecimal digits are Hannover's: look for repeats before mixing the two.

    Raises
    ------
    DataError, ManifestError
        If ``metadata.csv`` is missing or lacks a column, or none of its films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "covid-chestxray")
    table = read_csv(tree.metadata("metadata.csv"), _COLUMNS, aliases={"Patientid": "patientid"})
    for entry in table.to_dict("records"):
        name = entry["filename"]
        if entry.get("modality", "X-ray").lower() not in ("x-ray", "xray", ""):
            gatherer.leave_out("not X-ray by the column modality", f"{name} ({entry['modality']})")
            continue
        patient = entry["patientid"]
        if not patient:
            gatherer.own_patients("rows without a patientid")
        gatherer.add(
            tree.named(name, under=("images",)),
            name,
            label=gatherer.label_of(entry["finding"]),
            patient=patient or f"film-{name}",
            finding=entry["finding"],
            view=parse_view(entry["view"]),
            age=parse_age(entry["age"]),
            sex=parse_sex(entry["sex"]),
            license=entry.get("license", "") or SEE_SOURCE,
            offset_days=entry["offset"],
            survival=entry.get("survival", ""),
        )
    return gatherer.frame(with_lateral)
