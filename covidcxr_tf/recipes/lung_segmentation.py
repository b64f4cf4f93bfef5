"""Lung U-Net: films and masks to a network that finds lungs.

Source: Haghanifar 2020, section 3.2 and figure 4 (AHE, U-Net, dilation, crop and resize); Ronneberger 2015.
Differs from paper: CLAHE at the network's size instead of rank equalisation on the whole film, as that has no exact
twin in an exported graph.
"""

from __future__ import annotations

from typing import Any

import keras

from covidcxr_tf.catalog import resolve
from covidcxr_tf.config import Config
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.judging import overlap_table
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.models.files import model_digest
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.report.card import write_card
from covidcxr_tf.report.run_figures import draw_overlap
from covidcxr_tf.train.loop import Job


def model(config: Config, *, synchronized: bool = False) -> keras.Model:
    """Return the U-Net that the config asks for."""
    image = config.image
    return resolve("archs", config.arch)(
        (image.size, image.size, len(image.channels)),
        1,
        weights=config.model.init,
        filters=config.model.filters,
        dropout=config.model.dropout,
        synchronized=synchronized,
        seed=config.seed,
    )


def judge(config: Config, job: Job, sets: Datasets) -> dict[str, Any]:
    """Write Dice and Jaccard of every validation and test film, and return the metrics.

    Masks are compared at the film's own size and as `segment` writes them: resized, cleaned. Anything else would
    measure a network nobody uses.
    """
    run = job.run
    finder = LungFinder(job.model, config.image, config.name, model_digest(run.model), run.model)
    metrics: dict[str, Any] = {"schema_version": 1, "task": "segmentation"}
    for split in ("validation", "test"):
        rows = sets.manifest[sets.manifest["split"] == split].reset_index(drop=True)
        rows.attrs = sets.manifest.attrs
        if rows.empty:
            continue
        table = overlap_table(finder, rows)
        write_text(run.folder / f"overlap_{split}.csv", table.to_csv(index=False))
        metrics[split] = evaluate_masks(table, seed=config.seed)
        draw_overlap(table, metrics[split], run.figures / f"overlap_{split}.png", f"{config.name}, {split}")
    write_json(run.folder / "metrics.json", metrics)
    write_card(run.folder, job.facts | {"sha256": finder.sha256}, metrics)
    return metrics
