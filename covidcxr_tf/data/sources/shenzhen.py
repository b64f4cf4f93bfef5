"""NLM Shenzhen set: CXR_png/, ClinicalReadings/, and the lung masks published apart (mask/)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.nlm import LICENSE, film_stems, reading, tb_label

EXPECTED = "CXR_png/CHNCXR_0001_0.png, ClinicalReadings/, mask/CHNCXR_0001_0_mask.png of ChinaSet_AllFiles"


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the 662 frontal films (one a patient); the name's last digit tells normal from tuberculosis.

    The lung masks (Stirenko 2018, 566 films) come as ``<film>_mask.png`` in a folder of any name below.

    Raises
    ------
    DataError
        If there are no such films.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, "shenzhen", LICENSE)
    for film in film_stems(tree, "CHNCXR"):
        clinical = reading(tree, film, gatherer)
        mask = tree.film(f"{film.stem}_mask")
        gatherer.add(
            film,
            film.name,
            label=tb_label(film),
            patient=film.stem.rsplit("_", 1)[0],
            finding=clinical.text or film.stem[-1],
            age=clinical.age,
            sex=clinical.sex,
            **(gatherer.masks(film, "mask_path", [mask]) if mask else {}),
        )
    return gatherer.frame(with_lateral)
