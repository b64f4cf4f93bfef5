"""What a trained classifier learns of its own limits: a temperature from validation films, a gate from training films.

Both are stored with the model, so that `predict`, `explain`, the export and the server say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covidcxr_tf.config import Config
from covidcxr_tf.errors import DataError, SplitError, UsageError
from covidcxr_tf.evaluate.temperature import fit_table_temperature
from covidcxr_tf.gate import fit_gate
from covidcxr_tf.models.features import heat_layer, with_channel_means
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.train.validation import evaluate_batches

Step = Callable[[Any], Any]


def gate_layer(config: Config, model: keras.Model) -> str | None:
    """Return the layer whose channel means the gate is about; None for models of patches and without such a layer."""
    return None if config.patches.size else heat_layer(model, config.arch)


def build_step(model: keras.Model, loss: Callable[[Any, Any], Any], layer: str | None) -> Step:
    """Return a compiled function: a batch -> logits and then channel means in one row a film, losses film by film."""
    network = model if layer is None else with_channel_means(model, layer)

    @tf.function(reduce_retracing=True, jit_compile=False)
    def step(batch: dict[str, Any]) -> tuple[Any, Any]:
        found = network(batch["image"], training=False)
        logits, means = (found, found[:, :0]) if layer is None else found
        return tf.concat([logits, means], axis=1), loss(batch["target"], logits)

    return step


def gate_facts(
    step: Step, sets: Datasets, strategy: Any, layer: str | None, validation: np.ndarray, logits: int
) -> dict[str, Any]:
    """Return ``gate``, ready to be stored, and where there is none ``gate_why``.

    Parameters
    ----------
    step : callable
        Of `build_step`.
    sets : Datasets
        Its training films are seen once more, as they are.
    layer : str or None
    validation : float (M, F)
        Channel means of the validation films.
    logits : int
        How many columns stand before the means.
    """
    if layer is None:
        return {"gate": None, "gate_why": "this kind of model has none"}
    try:
        # Where films are redrawn, all that are drawn from were trained on.
        _, _, outputs, _ = evaluate_batches(step, replace(sets.training, redraw=None), strategy)
        return {"gate": fit_gate(outputs[:, logits:], validation, layer).as_facts()}
    except UsageError as why:
        return {"gate": None, "gate_why": str(why)}


def temperature_facts(validation: pd.DataFrame, config: Config) -> dict[str, Any]:
    """Return ``temperature`` and ``temperature_from`` of the validation films' table; 1 and why where there is none.

    Source: Guo et al. 2017, section 4.2.
    """
    if config.task != "classification":
        return {}
    if config.data.redraw_validation:
        return {"temperature": 1.0, "temperature_from": "none: every validation film was trained on in other epochs"}
    try:
        found = fit_table_temperature(validation)
    except (DataError, SplitError) as why:
        return {"temperature": 1.0, "temperature_from": f"none: {why.problem}"}
    origin = (
        f"validation, least negative log likelihood ({found.nll_before:.3f} to {found.nll_after:.3f} nats, "
        f"{found.films} films of {found.patients} patients)"
    )
    return {"temperature": found.value, "temperature_from": origin}
