"""ResNet-18 on patches of the lungs that vote, and on whole films.

Source: Oh 2020, section II. Training sees one patch a film and epoch; a film's class is the one that most of K = 100
seeded patches vote for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.lungs.patches import cut, lung_pixels
from covidcxr_tf.predict import LoadedModel, PatchModel, predict_manifest
from covidcxr_tf.progress import track
from covidcxr_tf.recipes import classifier
from covidcxr_tf.recipes.classifier import model
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.train.loop import Job
from covidcxr_tf.voting import patch_batches

__all__ = ["judge", "model", "patch_levels"]


def judge(config: Config, job: Job, sets: Datasets) -> dict[str, Any]:
    """Write predictions by vote, metrics, figures and card, and return the metrics; whole films as every classifier."""
    if not config.patches.size:
        return classifier.judge(config, job, sets)
    loaded = LoadedModel.load(job.run.folder)
    tables = {}
    for split in ("validation", "test"):
        films = sets.manifest[sets.manifest["split"] == split].reset_index(drop=True)
        films.attrs = sets.manifest.attrs
        if len(films):
            tables[split], _ = predict_manifest(loaded, films)
    return classifier.write_tables(config, job, tables)


def patch_levels(loaded: PatchModel, films: pd.DataFrame) -> pd.DataFrame:
    """Return the grey levels of the patches that vote, and what each of them says.

    Parameters
    ----------
    loaded : PatchModel
    films : DataFrame
        A manifest whose labels are the model's classes.

    Returns
    -------
    DataFrame
        One row a patch: path, patient_id, label, called (its most probable class), mean and std (over its lung pixels,
        grey levels 0 to 255 of the preprocessed film; a patch without a lung pixel is left out).

    Notes
    -----
    Source: Oh 2020, section IV-C.3 and Figure 5. Pixels outside the lungs, which are black, do not count: they would
    tell where in the lungs a patch lies.
    """
    rows = []
    for row in track(films.index, len(films), "patches"):
        array = loaded.film_input(read_image(film_path(films, row))).array
        where = loaded.places(array)
        called = np.concatenate([loaded.patch_probabilities(batch) for batch in patch_batches(array, where)])
        patches = cut(array, where.corners, where.size)
        for patch, place in zip(patches, called.argmax(axis=1), strict=True):
            pixels = patch[..., 0][lung_pixels(patch)].astype(np.float64)
            if len(pixels):
                known = {name: films.at[row, name] for name in ("path", "patient_id", "label")}
                rows.append({**known, "called": loaded.classes[place], "mean": pixels.mean(), "std": pixels.std()})
    return pd.DataFrame(rows, columns=["path", "patient_id", "label", "called", "mean", "std"])
