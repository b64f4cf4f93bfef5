"""Every architecture on Keras' JAX backend: the same logits, loss and gradients as on TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf import catalog
from covidcxr_tf.config import TrainConfig
from covidcxr_tf.models.losses import build_loss

pytest.importorskip("jax", reason="JAX is missing; bash scripts/test.sh --all installs it")
pytestmark = pytest.mark.parity

SEGMENTERS = ("unet", "fcdensenet103", "fcdensenet67")


@pytest.fixture(scope="module")
def stepped(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., keras.Model], tiny_options: Callable[..., dict]
) -> Path:
    """Return a folder in which JAX has computed a step of every architecture; one process for all."""
    folder = tmp_path_factory.mktemp("jax")
    rng = np.random.default_rng(8)
    for name in catalog.ARCHS:
        model = tiny(name, dropout=0.0)
        images = rng.random((4, *model.input_shape[1:]), dtype=np.float32)
        labels = (images[..., :1] > 0.5).astype(np.float32) if name in SEGMENTERS else np.arange(4) % 2
        # New networks have zero biases and unit variances, which would hide a mix-up.
        weights = [array + rng.uniform(0, 0.1, array.shape).astype(array.dtype) for array in model.get_weights()]
        model.set_weights(weights)
        stored = {f"weight_{number}": array for number, array in enumerate(weights)}
        np.savez(folder / f"{name}.npz", images=images, labels=labels, **stored)
        (folder / f"{name}.json").write_text(json.dumps(tiny_options(name, dropout=0.0)))
    script = Path(__file__).with_name("jax_step.py")
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, script, folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", catalog.ARCHS)
def test_one_step_is_that_of_tensorflow(name: str, stepped: Path, tiny: Callable[..., keras.Model]) -> None:
    with np.load(stepped / f"{name}.npz") as stored, np.load(stepped / f"{name}_jax.npz") as found:
        stored, found = dict(stored), dict(found)
    model = tiny(name, dropout=0.0)
    model.set_weights([stored[f"weight_{number}"] for number in range(len(model.weights))])
    logits = np.asarray(model(stored["images"]))
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5 * np.abs(logits).max())

    dense = name in SEGMENTERS
    train = TrainConfig(loss="bce_dice" if dense else "cross_entropy")
    loss = build_loss(train, 2, "segmentation" if dense else "classification")
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(stored["labels"], model(stored["images"], training=True)))
    gradients = tape.gradient(value, [weight.value for weight in model.trainable_variables])
    assert found["loss"] == pytest.approx(float(value), rel=1e-4)
    largest = max(float(np.abs(gradient).max()) for gradient in gradients)
    assert largest > 0
    for number, gradient in enumerate(gradients):
        np.testing.assert_allclose(found[f"gradient_{number}"], gradient, rtol=1e-2, atol=1e-3 * largest)
