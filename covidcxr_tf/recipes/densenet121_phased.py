"""DenseNet121 in up to three phases: 14 findings, pneumonia, COVID-19.

Source: Fricks 2021, section 2 and figure 1. The phases are tables of the config (``recipes.phases`` runs them); the six
paths a to f are the configs ``densenet121_path_a`` to ``_f``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from covidcxr_tf.config import Config
from covidcxr_tf.models.files import kind_of, read_facts
from covidcxr_tf.models.layers import he_normal
from covidcxr_tf.recipes import classifier
from covidcxr_tf.recipes.classifier import judge

__all__ = ["judge", "model"]

OUTPUT = "logits"


def model(config: Config, **settings: Any) -> keras.Model:
    """Return the network of one phase: as every classifier's, but with a new output layer where the task is new.

    Parameters
    ----------
    config : Config
    **settings
        As `covidcxr_tf.recipes.classifier.model` takes them.

    Notes
    -----
    Sections 2.2 and 2.3: each phase replaces the output layer, with He initialisation. Weights are handed over by name
    and shape, and the single outputs for pneumonia and for COVID-19 have one shape: without this, phase 3 would begin
    as a detector of pneumonia.
    """
    built = classifier.model(config, **settings)
    if other_task(config):
        output = built.get_layer(OUTPUT)
        output.kernel.assign(he_normal(config.seed, OUTPUT)(output.kernel.shape))
        output.bias.assign(keras.ops.zeros_like(output.bias))
    return built


def other_task(config: Config) -> bool:
    """Return whether the initial weights are a model of ours with other outputs than the config's."""
    init = config.model.init
    if init in ("none", "imagenet") or init.startswith("chexnet:"):
        return False
    if not Path(init).is_file() or kind_of(Path(init)) != "zip":
        return False
    return tuple(read_facts(init).get("classes", ())) != config.class_names
