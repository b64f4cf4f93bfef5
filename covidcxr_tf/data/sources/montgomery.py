"""NLM Montgomery County set: CXR_png/, ManualMask/, ClinicalReadings/."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.nlm import LICENSE, film_stems, reading, tb_label

EXPECTED = "CXR_png/MCUCXR_0001_0.png, ManualMask/leftMask and rightMask, ClinicalReadings/ of MontgomerySet"


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the 138 PA films (one a patient); the name's last digit tells normal from tuberculosis.

    Left and right lung masks are two files: their paths stand in `mask_parts` until
    `covidcxr_tf.data.sources.derived` has merged them.

    Raises
    ------
    DataError
        If there are no such films.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "montgomery", LICENSE)
    for film in film_stems(tree, "MCUCXR"):
        clinical = reading(tree, film, gatherer)
        sides = [tree.film_below(film.stem, side) for side in ("leftMask", "rightMask")]
        gatherer.add(
            film,
            film.name,
            label=tb_label(film),
            patient=film.stem.rsplit("_", 1)[0],
            finding=clinical.text or film.stem[-1],
            view="PA",
            age=clinical.age,
            sex=clinical.sex,
            **gatherer.masks(film, "mask_path", sides),
        )
    return gatherer.frame(with_lateral)
