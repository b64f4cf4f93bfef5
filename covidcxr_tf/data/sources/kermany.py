"""Kermany 2018: films of children aged 1 to 5 from Guangzhou, chest_xray/."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree

EXPECTED = "chest_xray/train|test|val/NORMAL|PNEUMONIA with person1000_bacteria_2931.jpeg, IM-0115-0001.jpeg"
_NAMES = (
    # person1000_bacteria_2931, person1_virus_6
    re.compile(r"(?P<patient>person\d+)_(?P<cause>bacteria|virus)_\d+"),
    # BACTERIA-1008087-0001, VIRUS-..., NORMAL-... of the later release
    re.compile(r"(?P<cause>bacteria|virus|normal)-(?P<patient>\d+)-\d+"),
    # IM-0115-0001, NORMAL2-IM-1277-0001-0002
    re.compile(r"(?P<patient>(?:normal2-)?im-\d+)-\d+(?:-\d+)?"),
)
_LABELS = {"bacteria": "bacterial", "virus": "viral"}


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of ``chest_xray/``; the file name tells bacterial from viral.

    A person's number is one patient, whichever cause and whichever published part the file name stands in: the set
    does not say whether person1_bacteria and person1_virus are two children, and a patient must not be cut.
    `published_split` holds the part. The cohort is 1 to 5 years old; ages are left empty as none is given for a film.
    The archive of Kaggle holds everything twice (``chest_xray/chest_xray``): one copy is taken.

    Raises
    ------
    DataError
        If there are no such films.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "kermany", "CC BY 4.0")
    taken: set[tuple[str, ...]] = set()
    for film in sorted(tree.films(), key=lambda path: (len(path.parts), path)):
        group = film.parent.name.upper()
        if group not in ("NORMAL", "PNEUMONIA"):
            continue
        tail = tuple(part.lower() for part in film.parts[-3:])
        if tail in taken:
            gatherer.leave_out("second copy of a film that lies in the folder twice", film.as_posix())
            continue
        taken.add(tail)
        label, patient = _named(film, group)
        part = film.parent.parent.name.lower()
        gatherer.add(
            film,
            film.as_posix(),
            label=label,
            patient=patient,
            finding=f"{group} {film.stem}",
            published_split=part if part in ("train", "val", "test") else "",
        )
    return gatherer.frame(with_lateral)


def _named(film: PurePosixPath, group: str) -> tuple[str, str]:
    """Return label and patient of a file name; one of an unknown form keeps its folder's label and stands alone."""
    stem = film.stem.lower()
    for form in _NAMES:
        found = form.match(stem)
        if found:
            cause = found.groupdict().get("cause") or ""
            label = "normal" if group == "NORMAL" else _LABELS.get(cause, "pneumonia")
            return label, found["patient"]
    return ("normal" if group == "NORMAL" else "pneumonia"), f"film-{group.lower()}-{stem}"
