"""What the two tuberculosis sets of the National Library of Medicine share."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex

LICENSE = "NLM Tuberculosis Chest X-ray Datasets: use with attribution, see source"

_SEX = re.compile(r"(?:sex:\s*|^\s*)(femal\w*|male|f|m)\b", re.IGNORECASE | re.MULTILINE)
_AGE = re.compile(r"(\d+)\s*(yrs?|years?|y|months?|mon|weeks?|days?)\b", re.IGNORECASE)
_HEAD = re.compile(r"^\s*(?:patient's (?:sex|age):.*|(?:femal\w*|male)\b[^a-z\n]*\d+\s*[a-z]*)\s*$", re.I | re.M)


class Reading(NamedTuple):
    """A radiologist's reading: sex (M, F or ""), age in years or None, the text that is left."""

    sex: str
    age: float | None
    text: str


def film_stems(tree: Tree, prefix: str) -> list[PurePosixPath]:
    """Return the films ``<prefix>_0001_0.png`` of the set, its masks left out."""
    form = re.compile(rf"{prefix}_\d+_[01]", re.IGNORECASE)
    found = [path for path in tree.films() if form.fullmatch(path.stem)]
    return [path for path in found if not any("mask" in part.lower() for part in path.parts[:-1])]


def tb_label(film: PurePosixPath) -> str:
    """Return the label that the last digit of the name gives: 0 normal, 1 tuberculosis (Jaeger 2014)."""
    return "tuberculosis" if film.stem.endswith("_1") else "normal"


def reading(tree: Tree, film: PurePosixPath, gatherer: Gatherer) -> Reading:
    """Return what ``ClinicalReadings/<film>.txt`` says; blanks, with a note, where there is no such file."""
    found = tree.named(f"{film.stem}.txt", under=("ClinicalReadings",))
    if found is None:
        note = "some films have no ClinicalReadings/*.txt: age and sex are left empty"
        if note not in gatherer.notes:
            gatherer.notes.append(note)
        return Reading("", None, "")
    return parse_reading((tree.folder / found).read_text(encoding="utf-8", errors="replace"))


def parse_reading(text: str) -> Reading:
    """Return a reading in either set's form: ``Patient's Age: 027Y`` or ``male 45yrs``, ``femal 16month``."""
    sex = _SEX.search(text)
    age = _AGE.search(text)
    rest = " ".join(_HEAD.sub(" ", text).split())
    return Reading(parse_sex(sex[1]) if sex else "", parse_age("".join(age.groups())) if age else None, rest)
