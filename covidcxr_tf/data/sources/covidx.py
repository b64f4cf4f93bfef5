"""COVIDx (COVID-Net), train/ and test/ with their text files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.figure1 import patient_of
from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.rsna import nih_images, nih_patient
from covidcxr_tf.errors import DataError, ManifestError

EXPECTED = "train*.txt and test*.txt (patient, file, class, source) with the films in train/ and test/"
LICENSE = "COVIDx collection: see the licence of each film's own source"
# "negative" is everything but COVID-19, healthy or not: it cannot be called normal.
LABELS = {
    "normal": "normal",
    "pneumonia": "pneumonia",
    "covid-19": "covid19",
    "positive": "covid19",
    "negative": "other",
}
SOURCES = {"cohen": "covid-chestxray", "fig1": "figure1", "actmed": "actualmed", "sirm": "radiography"}
_PARTS = ("train", "test", "val")


class Line(NamedTuple):
    """One line of a COVIDx text file."""

    patient: str
    film: str
    label: str
    source: str


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of one version of COVIDx.

    `source` and `patient_id` are those of the set that a film came from (``covid-chestxray_19`` for cohen's patient
    19), the same as its own importer gives, so that COVIDx can be split together with it. RSNA's films get the ids of
    their NIH patients where ``pneumonia-challenge-dataset-mappings_2018.json`` lies in the folder. `published_split`
    holds train, val or test. The label "negative" of the two-class versions is `other`. Films whose names say that
    they show the abdomen (among stonybrook's) are left out.

    Raises
    ------
    DataError, ManifestError
        If there is no text file or several of one part, a line cannot be read, or none of the films is there.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "covidx", LICENSE)
    nih = nih_images(tree)
    for part, path in _lists(tree).items():
        text = (tree.folder / path).read_text(encoding="utf-8-sig", errors="replace")
        for number, words in enumerate(text.splitlines(), start=1):
            if not words.strip():
                continue
            line = parse_line(words, f"{tree.folder / path}, row {number}")
            if "ABDOMEN" in line.film.upper() or "-ABD_" in line.film.upper():
                gatherer.leave_out("of the abdomen by its name", line.film)
                continue
            source = SOURCES.get(line.source, line.source or "covidx")
            gatherer.add(
                tree.named(line.film, under=(part,)),
                line.film,
                label=LABELS[line.label.lower()],
                patient=patient_of(line.patient) if source == "figure1" else line.patient.replace(" ", "-"),
                finding=line.label,
                source=source,
                published_split=part,
                **({"patient_id": nih_patient(nih[line.patient])} if line.patient in nih else {}),
            )
    return gatherer.frame(with_lateral)


def parse_line(words: str, where: str) -> Line:
    """Return the parts of ``"19 film.jpg positive cohen"``; a patient may hold spaces, the source may be missing.

    Raises
    ------
    ManifestError
        If no known class stands where it should.
    """
    cells = words.split()
    at = next((index for index in (len(cells) - 2, len(cells) - 1) if index > 1 and cells[index].lower() in LABELS), 0)
    if not at:
        raise ManifestError(
            f"'{words[:80]}' has no known class",
            where=where,
            expected=f"patient, file name, class ({', '.join(LABELS)}), source",
        )
    source = cells[at + 1] if at + 1 < len(cells) else ""
    return Line(" ".join(cells[: at - 1]), cells[at - 1], cells[at], source.lower())


def _lists(tree: Tree) -> dict[str, PurePosixPath]:
    lists: dict[str, PurePosixPath] = {}
    for part in _PARTS:
        found = tree.matching(f"{part}.txt", f"{part}_*.txt")
        if len(found) > 1:
            raise DataError(
                f"{len(found)} lists of {part} films: {', '.join(path.name for path in found[:6])}",
                where=tree.folder,
                expected="the text files of one COVIDx version",
                remedy="keep one train*.txt and one test*.txt beside the films",
            )
        if found:
            lists[part] = found[0]
    if not lists:
        raise DataError("no train*.txt or test*.txt here", where=tree.folder, expected=EXPECTED)
    return lists
