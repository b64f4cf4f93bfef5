"""Your own films: one sub-folder a label."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covidcxr_tf.data.sources.common import Gatherer
from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.vocabulary import folder_label

EXPECTED = "one sub-folder a label: LABEL/film.png, or LABEL/PATIENT/film.png where a patient has several films"


def read(folder: Path, *, with_lateral: bool = False) -> pd.DataFrame:
    """Return the films of a folder with one sub-folder a label.

    ``LABEL/film.png`` is a patient of its own, ``LABEL/PATIENT/.../film.png`` belongs to PATIENT, also where a folder
    of the same name lies under another label. Sub-folder names that mean a canonical label (COVID-19, Normal, TB)
    become it; any other stays as it is, for the config's ``classes`` to map. View, age and sex are unknown.

    Raises
    ------
    DataError
        If there is no folder or no film in it.
    """
    tree = Tree(folder, EXPECTED)
    gatherer = Gatherer(tree, tree.folder.resolve().name, license="")
    for film in tree.films():
        if len(film.parts) == 1:
            gatherer.leave_out("outside any label's sub-folder", film.as_posix())
            continue
        name = film.parts[0]
        if len(film.parts) == 2:
            gatherer.own_patients("films directly in a label's folder name no patient")
            patient = f"{name}/{film.name}"
        else:
            patient = film.parts[1]
        label = folder_label(name) or name.strip()
        gatherer.add(film, film.as_posix(), label=label, patient=patient, finding=name)
    return gatherer.frame(with_lateral)
