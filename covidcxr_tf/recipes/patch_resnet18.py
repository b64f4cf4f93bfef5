"""ResNet-18 on patches of the lungs that vote, and on whole films.

Source: Oh 2020, section II. Training sees one patch a film and epoch; a film's class is the one that most of K = 100
seeded patches vote for.
"""

from __future__ import annotations

from typing import Any

from covidcxr_tf.config import Config
from covidcxr_tf.predict import LoadedModel, predict_manifest
from covidcxr_tf.recipes import classifier
from covidcxr_tf.recipes.classifier import model
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.train.loop import Job

__all__ = ["judge", "model"]


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
