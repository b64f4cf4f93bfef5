"""Lungs, or heart and lungs: films and masks to a network that finds them.

Without ``classes`` the network finds lungs (one sigmoid a pixel); with the four of `covidcxr_tf.lungs.anatomy.CLASSES`
it finds the heart and each lung (softmax).

Source: Haghanifar 2020, section 3.2 and figure 4 (AHE, U-Net, dilation, crop and resize); Ronneberger 2015; Oh 2020,
II.A (FC-DenseNet, four classes). Differs from paper: CLAHE at the network's size instead of rank equalisation on the
whole film, as that has no exact twin in an exported graph.
"""

from __future__ import annotations

from typing import Any

import keras

from covidcxr_tf.config import Config
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.judging import overlap_table
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.anatomy import CONVENTION
from covidcxr_tf.lungs.drawn_masks import check_classes
from covidcxr_tf.models.files import model_digest
from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.recipes.network import build_network, prepared
from covidcxr_tf.report.card import write_card
from covidcxr_tf.report.run_figures import draw_overlap
from covidcxr_tf.train.loop import Job


def check(config: Config) -> None:
    """Raise where the parts of a config do not go together; cheap, so that it can stand before films are prepared.

    Raises
    ------
    ConfigError
        For other classes than heart and lungs, a loss that does not fit them, or pictures that are flipped.
    """
    check_classes(config.class_names)
    if not config.classes:
        return
    if config.train.loss != "cross_entropy":
        raise ConfigError(
            f"train.loss is {config.train.loss}; the masks have {len(config.classes)} classes",
            expected="cross_entropy",
        )
    if config.augment.horizontal_flip:
        raise ConfigError(
            "augment.horizontal_flip is true: it would turn left lungs into right ones",
            expected="false where left and right are classes",
        )


def model(config: Config, *, synchronized: bool = False, normalise: Normalisation | None = None) -> keras.Model:
    """Return the network that the config asks for.

    Raises
    ------
    ConfigError
        As `check`, `network.build_network` and `network.freeze`.
    """
    check(config)
    size = config.image.size
    settings: dict[str, Any] = {
        "filters": config.model.filters,
        "normalise": normalise,
        "synchronized": synchronized,
    }
    shape = (size, size, len(config.image.channels))
    return prepared(build_network(config, shape, max(len(config.classes), 1), settings), config)


def judge(config: Config, job: Job, sets: Datasets) -> dict[str, Any]:
    """Write Dice and Jaccard of every validation and test film, and return the metrics.

    Masks are compared at the film's own size and as `segment` writes them: resized, cleaned. Anything else would
    measure a network nobody uses.
    """
    run = job.run
    finder = LungFinder(job.model, config.image, config.name, model_digest(run.model), run.model, config.class_names)
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
    facts = job.facts | {"sha256": finder.sha256} | ({"lungs": CONVENTION} if finder.finds_heart else {})
    write_card(run.folder, facts, metrics)
    return metrics
