"""JSRT nodule films with the SCR masks."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from covidcxr_tf.data.sources.common import MASK_PARTS, PARTS, Gatherer
from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.vocabulary import parse_age, parse_sex

EXPECTED = "JPCLN001.IMG ... JPCNN093.IMG (or .png/.jpg of the same names); masks/left lung, right lung, heart of SCR"
LICENSE = "JSRT database and SCR masks: research use with attribution, see source"
_FILM = re.compile(r"JPC(LN|NN)\d{3}", re.IGNORECASE)
_LUNGS = ("left lung", "right lung")
_ALL_MASKS = (*_LUNGS, "heart", "left clavicle", "right clavicle")


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the 247 PA films (one a patient): JPCLN with a nodule are other, JPCNN normal.

    The films come raw (``.IMG``: 2048x2048, big-endian 16 bit words of 12 bits, bone dark) and are no picture files:
    `covidcxr_tf.data.sources.derived` writes 16-bit PNG. Where a clone holds only converted pictures, those are taken.
    The SCR masks (van Ginneken 2006, 1024x1024, ``.gif``) leave the lung behind the heart out. Age, sex and diagnosis
    come from ``CLNDAT_EN.txt`` and ``CNNDAT_EN.TXT``, whose columns are not those of the printed guide: the age stands
    before the sex in both.

    Raises
    ------
    DataError
        If there are no such films.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "jsrt", LICENSE)
    clinical = _clinical(tree)
    if not clinical:
        gatherer.notes.append("no CLNDAT_EN.txt or CNNDAT_EN.TXT: age, sex and diagnosis are left empty")
    for stem, film in _films(tree).items():
        nodule = stem.startswith("JPCLN")
        age, sex, finding = clinical.get(stem, (None, "", ""))
        gatherer.add(
            film,
            film.name,
            label="other" if nodule else "normal",
            patient=stem,
            finding=finding or ("nodule" if nodule else "non-nodule"),
            view="PA",
            age=age,
            sex=sex,
            **_masks(tree, stem),
        )
    return gatherer.frame(with_lateral)


def _films(tree: Tree) -> dict[str, PurePosixPath]:
    """Return stem -> film; the raw file where there is one, as it holds all 12 bits."""
    films: dict[str, PurePosixPath] = {}
    for path in [*tree.films(), *tree.matching("JPC*.IMG")]:
        is_mask = any(part.lower() in (*_ALL_MASKS, "masks") for part in path.parts[:-1])
        if _FILM.fullmatch(path.stem) and not is_mask:
            films[path.stem.upper()] = path
    return films


def _masks(tree: Tree, stem: str) -> dict[str, str]:
    sides = [tree.film_below(stem, name) for name in _LUNGS]
    heart = tree.film_below(stem, "heart")
    found = {}
    if None not in sides:
        found[MASK_PARTS["mask_path"]] = PARTS.join(side.as_posix() for side in sides if side is not None)
    if heart is not None:
        found[MASK_PARTS["heart_mask_path"]] = heart.as_posix()
    return found


def _clinical(tree: Tree) -> dict[str, tuple[float | None, str, str]]:
    """Return stem -> (age, sex, words) of the two tables."""
    rows: dict[str, tuple[float | None, str, str]] = {}
    for path in tree.matching("CLNDAT_EN.txt", "CNNDAT_EN.txt"):
        for line in (tree.folder / path).read_text(encoding="latin-1").splitlines():
            cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]
            sexes = [index for index, cell in enumerate(cells) if cell.lower() in ("male", "female")]
            if not sexes or not _FILM.match(cells[0]):
                continue
            at = sexes[0]
            # After the sex come x and y of the nodule, where there is one, and then words.
            words = [cell for cell in cells[at + 1 :] if cell and not cell.isdigit()]
            rows[cells[0][:8].upper()] = (parse_age(cells[at - 1]), parse_sex(cells[at]), ", ".join(words))
    return rows
