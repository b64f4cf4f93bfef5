"""NIH ChestX-ray14, Data_Entry_2017.csv or Data_Entry_2017_v2020.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.schema import FINDINGS, NO_FINDING
from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex, parse_view
from covidcxr_tf.errors import ManifestError

EXPECTED = "Data_Entry_2017*.csv and the films in images_001/images/ ... or images/"
LICENSE = "NIH ChestX-ray14: free use with attribution to the NIH Clinical Center, see source"
_COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
_ALIASES = {"Patient Sex": "Patient Gender"}


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of ChestX-ray14 that lie in the folder (any part of the twelve archives).

    `label` is normal for "No Finding", pneumonia where Pneumonia is among the findings, else other; `findings` holds
    the text-mined names. `published_split` holds train_val or test where ``train_val_list.txt`` and
    ``test_list.txt`` lie beside the table. Ages come as ``058Y`` or ``58``; those over 120 years are left empty.

    Raises
    ------
    DataError, ManifestError
        If the table is missing, lacks a column or holds an unknown finding, or none of its films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "nih-cxr14", LICENSE)
    path = tree.metadata("Data_Entry_2017*.csv")
    table = read_csv(path, _COLUMNS, aliases=_ALIASES)
    parts = {**_listed(tree, "train_val_list.txt", "train_val"), **_listed(tree, "test_list.txt", "test")}
    for number, entry in enumerate(table.to_dict("records"), start=2):
        name = entry["Image Index"]
        findings = _findings(entry["Finding Labels"], f"{path}, row {number}, column Finding Labels")
        gatherer.add(
            tree.named(name, under=("images",)),
            name,
            label=_label(findings),
            patient=entry["Patient ID"].lstrip("0") or "0",
            finding=entry["Finding Labels"],
            view=parse_view(entry.get("View Position", "")),
            age=parse_age(entry["Patient Age"]),
            sex=parse_sex(entry["Patient Gender"]),
            findings="|".join(findings),
            original_width=entry.get("OriginalImage[Width", ""),
            original_height=entry.get("Height]", ""),
            follow_up=entry["Follow-up #"],
            published_split=parts.get(name, ""),
        )
    return gatherer.frame(with_lateral)


def _findings(text: str, where: str) -> list[str]:
    names = [name.strip() for name in text.split("|")]
    for name in names:
        if name not in (*FINDINGS, NO_FINDING):
            raise ManifestError(
                f"finding '{name}' is not one of the set's", where=where, expected=", ".join((*FINDINGS, NO_FINDING))
            )
    present = [name for name in names if name != NO_FINDING]
    return present or [NO_FINDING]


def _label(findings: list[str]) -> str:
    if findings == [NO_FINDING]:
        return "normal"
    return "pneumonia" if "Pneumonia" in findings else "other"


def _listed(tree: Tree, name: str, part: str) -> dict[str, str]:
    found = tree.named(name)
    if found is None:
        return {}
    lines = (tree.folder / found).read_text(encoding="utf-8", errors="replace").split()
    return dict.fromkeys(lines, part)
