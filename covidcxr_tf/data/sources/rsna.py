"""RSNA Pneumonia Detection Challenge 2018, stage 2."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pandas as pd
import pydicom

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex, parse_view
from covidcxr_tf.errors import ManifestError

EXPECTED = "stage_2_detailed_class_info.csv, stage_2_train_labels.csv and stage_2_train_images/"
LICENSE = "RSNA Pneumonia Detection Challenge (films of the NIH): research use, see source"
LABELS = {"Normal": "normal", "Lung Opacity": "pneumonia", "No Lung Opacity / Not Normal": "other"}
_HEADER = ("PatientAge", "PatientSex", "ViewPosition")
_BOX = ("x", "y", "width", "height")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the training films of the challenge (the test films have no labels).

    Age, sex and view come from the DICOM headers. `boxes` holds the radiologists' opacities in pixels of the film, one
    ``x y width height`` each, joined by |. The films are NIH's: with the challenge's
    ``pneumonia-challenge-dataset-mappings_2018.json`` in the folder, `nih_image` names the film and `patient_id`
    is the one that the importer nih-cxr14 gives, so that the two sets can be split together.

    Raises
    ------
    DataError, ManifestError
        If a table is missing, lacks a column or holds an unknown class, or none of its films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "rsna", LICENSE)
    path = tree.metadata("stage_2_detailed_class_info.csv")
    # One row a box: a film with two opacities stands twice.
    table = read_csv(path, ("patientId", "class")).drop_duplicates("patientId")
    boxes = _boxes(tree)
    nih = nih_images(tree)
    if not nih:
        gatherer.notes.append(
            "without pneumonia-challenge-dataset-mappings_2018.json the films' NIH patients are unknown: "
            "do not mix this set with nih-cxr14"
        )
    for index, entry in table.iterrows():
        film_id = entry["patientId"]
        if entry["class"] not in LABELS:
            raise ManifestError(
                f"unknown class '{entry['class']}'",
                where=f"{path}, row {int(str(index)) + 2}, column class",
                expected=", ".join(LABELS),
            )
        film = tree.film(film_id, under=("stage_2_train_images",))
        header = _header(tree.folder, film)
        origin = nih.get(film_id, "")
        gatherer.add(
            film,
            film_id,
            label=LABELS[entry["class"]],
            patient=film_id,
            finding=entry["class"],
            view=parse_view(header.get("ViewPosition", "")),
            age=parse_age(header.get("PatientAge", "")),
            sex=parse_sex(header.get("PatientSex", "")),
            boxes=boxes.get(film_id, ""),
            nih_image=origin,
            **({"patient_id": nih_patient(origin)} if origin else {}),
        )
    return gatherer.frame(with_lateral)


def _boxes(tree: Tree) -> dict[str, str]:
    path = tree.metadata("stage_2_train_labels.csv")
    table = read_csv(path, ("patientId", *_BOX, "Target"))
    found: dict[str, list[str]] = {}
    for entry in table[table["Target"] == "1"].to_dict("records"):
        found.setdefault(entry["patientId"], []).append(" ".join(entry[name] for name in _BOX))
    return {film_id: "|".join(sorted(set(texts))) for film_id, texts in found.items()}


def _header(folder: Path, film: PurePosixPath | None) -> dict[str, str]:
    """Return age, sex and view of a DICOM file; nothing of another kind of file or a damaged one."""
    if film is None or film.suffix.lower() not in (".dcm", ".dicom"):
        return {}
    try:
        # The set writes ages as 51, not 051Y as DICOM wants: no warning for each film.
        with pydicom.config.disable_value_validation():
            header = pydicom.dcmread(folder / film, stop_before_pixels=True, specific_tags=list(_HEADER))
            return {name: str(header.get(name) or "") for name in _HEADER}
    except Exception:  # pydicom raises many kinds on damaged files; `data check` names such a film
        return {}


def nih_patient(image: str) -> str:
    """Return the `patient_id` that the importer nih-cxr14 gives the film ``00000013_005.png``."""
    return f"nih-cxr14_{int(image[:8])}"


def nih_images(tree: Tree) -> dict[str, str]:
    """Return challenge film -> NIH file name (``00000013_005.png``) from the published mapping, empty without it.

    Raises
    ------
    ManifestError
        If a file of that name holds something else.
    """
    found = tree.matching("pneumonia-challenge-dataset-mappings*.json")
    if not found:
        return {}
    path = tree.folder / found[0]
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {entry["subset_img_id"]: entry["img_id"] for entry in entries if entry["img_id"][:8].isdigit()}
    except (ValueError, KeyError, TypeError) as cause:
        raise ManifestError(
            f"not the published mapping: {cause!r}", where=path, expected="a list of {subset_img_id, img_id}"
        ) from cause
