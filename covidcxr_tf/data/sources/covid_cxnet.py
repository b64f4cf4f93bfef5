"""COVID-CXNet's own collection (armiro/COVID-CXNet), chest_xray_images/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv
from covidcxr_tf.data.sources.vocabulary import folder_label, parse_age, parse_sex, parse_view

EXPECTED = "chest_xray_images/covid19/ (and normal/), metadata.csv beside it"
LICENSE = "CC BY 4.0 (collection; per-image sources vary)"
_COLUMNS = ("filename", "patient_id", "sex", "age", "view", "label")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of ``chest_xray_images/<label>/``; the sub-folder is the label.

    Patients, sex, age and view come from ``metadata.csv`` where a clone has one (it covers only part of the films and
    writes ``374.png`` for the file ``374.PNG``, ``484.png`` for ``484p.png``); other films count as patients of
    their own. Films from 510 on were taken over from the Hannover repository: look for repeats before mixing the two.

    Raises
    ------
    DataError, ManifestError
        If there are no films, or ``metadata.csv`` cannot be used.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "covid-cxnet", LICENSE)
    described = _described(tree)
    for film in tree.films():
        label = folder_label(film.parent.name)
        if label is None:
            continue
        entry = described.get(film.stem.lower()) or described.get(_plain(film.stem)) or {}
        patient = entry.get("patient_id", "")
        if not patient:
            gatherer.own_patients("films that metadata.csv gives no patient id")
        gatherer.add(
            film,
            film.as_posix(),
            label=label,
            patient=patient or f"film-{film.parent.name.lower()}-{film.name.lower()}",
            finding=entry.get("label", "") or film.parent.name,
            view=parse_view(entry.get("view", "")),
            age=parse_age(entry.get("age", "")),
            sex=parse_sex(entry.get("sex", "")),
        )
    return gatherer.frame(with_lateral)


def _described(tree: Tree) -> Mapping[str, dict[str, str]]:
    """Return the rows of metadata.csv by the stem of the file, as written and without its trailing mark."""
    found = tree.matching("metadata.csv")
    if not found:
        return {}
    table = read_csv(tree.folder / found[0], _COLUMNS)
    rows: dict[str, dict[str, str]] = {}
    for entry in table.to_dict("records"):
        stem = PurePosixPath(entry["filename"]).stem
        named = {str(key): str(value) for key, value in entry.items()}
        rows[stem.lower()] = named
        rows.setdefault(_plain(stem), named)
    return rows


def _plain(stem: str) -> str:
    """Return the stem without the mark ("p", "-") that the collection puts behind some numbers."""
    return stem.lower().rstrip("p-")
