"""COVID-19 Radiography Database (Kaggle, tawsifurrahman)."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree, read_csv, read_sheet

EXPECTED = "COVID/, Lung_Opacity/, Normal/, Viral Pneumonia/, each with images/ and masks/, and their *.metadata.xlsx"
LABELS = {"covid": "covid19", "lung-opacity": "pneumonia", "normal": "normal", "viral-pneumonia": "viral"}
# Part of the address in the column URL -> the set that the film came from.
ORIGINS = {
    "rsna-pneumonia-detection": "rsna",
    "chest-xray-pneumonia": "kermany",
    "ml-workgroup": "hannover",
    "armiro": "covid-cxnet",
    "covid-chestxray-dataset": "covid-chestxray",
    "bimcv": "bimcv",
    "sirm.org": "sirm",
    "eurorad": "eurorad",
}
_COLUMNS = ("FILE NAME", "URL")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of the four class folders, with or without the level ``images/`` (first releases).

    The set is a collection: with the ``*.metadata.xlsx`` files `source` is the set that a film came from (rsna,
    kermany, hannover, covid-cxnet, bimcv, sirm, ...) and `url` its address; otherwise `source` is radiography. This
    matters, as each class comes from other hospitals. No patient ids are published. "Lung_Opacity" is RSNA's class of
    that name and is `pneumonia`. The masks (256x256) are smaller than the films (299x299): they stand in `mask_parts`
    until `covidcxr_tf.data.sources.derived` has brought them to size.

    Raises
    ------
    DataError, ManifestError
        If there are no such films, or a metadata file cannot be used.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "radiography")
    urls = _urls(tree)
    if not urls:
        gatherer.notes.append("no *.metadata.xlsx: the sets that the films came from are unknown")
    for film in tree.films():
        group = film.parent.parent.name if film.parent.name.lower() == "images" else film.parent.name
        label = LABELS.get(_key(group))
        if label is None:
            continue
        url = urls.get(_key(film.stem), "")
        gatherer.own_patients("no patient ids are published")
        mask = next((path for path in _mask_places(film) if path in tree.known), None)
        gatherer.add(
            film,
            film.as_posix(),
            label=label,
            patient=f"radiography-{_key(film.stem)}",
            finding=group,
            source=next((name for part, name in ORIGINS.items() if part in url.lower()), None),
            url=url,
            **(gatherer.masks(film, "mask_path", [mask]) if mask else {}),
        )
    return gatherer.frame(with_lateral)


def _mask_places(film: PurePosixPath) -> list[PurePosixPath]:
    if film.parent.name.lower() != "images":
        return []
    return [film.parent.parent / name / film.name for name in ("masks", "Masks")]


def _urls(tree: Tree) -> dict[str, str]:
    """Return the key of a film's name -> the address that it came from."""
    urls: dict[str, str] = {}
    for path in tree.matching("*.metadata.xlsx", "*.metadata.csv"):
        read_table = read_csv if path.suffix.lower() == ".csv" else read_sheet
        table = read_table(tree.folder / path, _COLUMNS)
        urls.update(zip((_key(name) for name in table["FILE NAME"]), table["URL"], strict=True))
    return urls


def _key(name: str) -> str:
    """Return a name without what differs between files and tables: ``NORMAL-1``, ``Normal (1)`` -> normal-1."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
