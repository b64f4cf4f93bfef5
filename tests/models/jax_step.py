"""Run by test_jax.py in a process of its own: Keras chooses its backend when it is imported.

    python jax_step.py FOLDER

For each FOLDER/<arch>.npz (images, labels, weights) writes FOLDER/<arch>_jax.npz: the logits, and the loss and its
gradients of one training step, computed on JAX.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiling takes the time here, not running
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import jax
import keras
import numpy as np

from covidcxr_tf import models
from covidcxr_tf.config import TrainConfig
from covidcxr_tf.models.losses import build_loss


def one_step(name: str, options: dict[str, Any], stored: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return logits, loss and gradients (``gradient_0``...) of one architecture."""
    with keras.StatelessScope(initialize_variables=False):  # JAX compiles a program for each kernel that it draws
        model = models.build(name, **options)
    values = {weight.path: stored[f"weight_{number}"] for number, weight in enumerate(model.weights)}
    trainable, others = (
        [values[weight.path] for weight in part] for part in (model.trainable_weights, model.non_trainable_weights)
    )
    images, labels = stored["images"], stored["labels"]
    dense = labels.ndim == 4
    train = TrainConfig(loss="bce_dice" if dense else "cross_entropy")
    loss = build_loss(train, 2, "segmentation" if dense else "classification")

    def mean_loss(trainable: list) -> jax.Array:
        return keras.ops.mean(loss(labels, model.stateless_call(trainable, others, images, training=True)[0]))

    @jax.jit
    def both(trainable: list) -> tuple:
        judged, _ = model.stateless_call(trainable, others, images, training=False)
        return judged, *jax.value_and_grad(mean_loss)(trainable)

    logits, value, gradients = both(trainable)
    found = {f"gradient_{number}": np.asarray(gradient) for number, gradient in enumerate(gradients)}
    return {"logits": np.asarray(logits), "loss": np.asarray(value), **found}


def main(folder: Path) -> None:
    """Work through the folder."""
    assert keras.backend.backend() == "jax"
    for path in sorted(folder.glob("*.json")):
        with np.load(path.with_suffix(".npz")) as stored:
            found = one_step(path.stem, json.loads(path.read_text()), dict(stored))
        np.savez(folder / f"{path.stem}_jax.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
