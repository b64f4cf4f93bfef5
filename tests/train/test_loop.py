"""The loop: it learns, equals a step written by hand, keeps the best epoch, obeys callbacks, stops on NaN."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.models.files import load_model
from covidcxr_tf.train.loop import Job, build_train_step, fit, monitor_mode

MakeJob = Callable[..., Job]


def test_it_learns_and_writes_what_a_run_folder_holds(make_job: MakeJob) -> None:
    job = make_job(epochs=15, learning_rate=0.02)
    history = fit(job)
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert history["val_auroc"].iloc[-1] == 1.0
    # The best epoch's scores, worked out again from the model that was kept.
    films = next(iter(job.validation.plain()))
    logits, targets = job.model(films["image"], training=False).numpy(), films["target"].numpy()
    best = history.loc[history["val_loss"].idxmin()]
    assert best["val_accuracy"] == pytest.approx((logits.argmax(1) == targets).mean())
    assert best["val_loss"] == pytest.approx(-np.log(np.exp(logits)[range(8), targets] / np.exp(logits).sum(1)).mean())
    assert best["val_loss"] < history["val_loss"].iloc[0]
    assert history["epoch"].tolist() == list(range(1, 16))
    pd.testing.assert_frame_equal(pd.read_csv(job.run.history), history, check_dtype=False)
    assert "epoch 15" in (job.run.folder / "train.log").read_text()
    assert list(job.run.tensorboard.rglob("events.out*"))


def test_one_step_equals_gradient_descent_written_out(make_job: MakeJob) -> None:
    job = make_job(optimizer="sgd", momentum=0.0, learning_rate=0.5)
    images = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)
    targets, weights = np.array([0, 1, 1, 0]), np.array([1.0, 2.0, 0.5, 0.0])
    kernel, bias = (value.astype(np.float64) for value in job.model.get_weights())
    logits = images.reshape(4, -1) @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    one_hot = np.eye(2)[targets]
    loss = -(weights * np.log(probabilities[np.arange(4), targets])).sum() / 4
    error = weights[:, None] * (probabilities - one_hot) / 4  # derivative by the logits
    step = build_train_step(job.model, job.loss, job.optimizer, job.strategy)
    batch = {"image": images, "target": targets, "weight": weights.astype(np.float32), "row": np.arange(4)}
    assert float(step({key: tf.constant(value) for key, value in batch.items()})) == pytest.approx(loss, rel=1e-5)
    after_kernel, after_bias = job.model.get_weights()
    np.testing.assert_allclose(after_kernel, kernel - 0.5 * images.reshape(4, -1).T @ error, atol=1e-6)
    np.testing.assert_allclose(after_bias, bias - 0.5 * error.sum(0), atol=1e-6)


def test_the_same_seed_gives_the_same_losses(make_job: MakeJob) -> None:
    columns = ["loss", "val_loss"]
    once, again, other = fit(make_job(seed=3)), fit(make_job(seed=3)), fit(make_job(seed=4))
    np.testing.assert_array_equal(once[columns], again[columns])
    assert not np.array_equal(once[columns], other[columns])


def test_the_best_epoch_is_kept_and_put_back(make_job: MakeJob) -> None:
    class Spoil(keras.callbacks.Callback):
        """Ruins the weights after the second epoch."""

        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            if epoch == 2:
                self.model.set_weights([value * -50 for value in self.model.get_weights()])

    job = make_job(callbacks=(Spoil(),), epochs=3)
    history = fit(job)
    best = int(history["val_loss"].idxmin()) + 1
    assert best == 2
    stored, facts = load_model(job.run.model)
    assert facts["epoch"] == 2
    for kept, restored in zip(stored.get_weights(), job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, restored)
    with zipfile.ZipFile(job.run.model) as archive:
        assert json.loads(archive.read("covidcxr.json"))["classes"] == ["dark", "bright"]


def test_learning_rate_falls_and_training_stops_without_progress(make_job: MakeJob) -> None:
    # A rate this small changes no digit of the loss: every epoch after the first is one without progress.
    patience = {"reduce_lr_patience": 2, "reduce_lr_factor": 0.1, "early_stopping_patience": 5}
    job = make_job(epochs=12, learning_rate=1e-12, **patience)
    history = fit(job)
    assert len(history) < 12
    assert history["learning_rate"].iloc[-1] < 1e-12


def test_learning_rate_falls_along_half_a_cosine(make_job: MakeJob) -> None:
    history = fit(make_job(epochs=4, learning_rate=1e-3, decay="cosine"))
    shares = [1, (1 + np.sqrt(0.5)) / 2, 0.5, (1 - np.sqrt(0.5)) / 2]
    np.testing.assert_allclose(history["learning_rate"], 1e-3 * np.array(shares), rtol=1e-5)


def test_keras_csv_logger_works_here_as_in_fit(make_job: MakeJob, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    history = fit(make_job(callbacks=(keras.callbacks.CSVLogger(str(path)),), epochs=2))
    logged = pd.read_csv(path)
    np.testing.assert_allclose(logged["loss"], history["loss"], rtol=1e-6)
    assert logged["epoch"].tolist() == [0, 1]


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_best_model(make_job: MakeJob) -> None:
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            if epoch == 1:
                self.model.set_weights([np.full_like(value, np.nan) for value in self.model.get_weights()])

    job = make_job(callbacks=(Poison(),), epochs=3)
    with pytest.raises(RunFailed, match=r"loss is nan in epoch 2, step 1") as caught:
        fit(job)
    assert caught.value.exit_code == 5
    assert load_model(job.run.model)[1]["epoch"] == 1
    assert len(pd.read_csv(job.run.history)) == 1


def test_film_weights_weigh(make_job: MakeJob) -> None:
    # Only dark films count: whatever the network says of bright ones costs nothing.
    only_dark = (1 - np.arange(40) % 2).astype(np.float32)
    job = make_job(weights=only_dark, epochs=8)
    history = fit(job)
    assert history["loss"].iloc[-1] < 0.1
    assert history["val_accuracy"].iloc[-1] == 0.5


def test_scores_rise_and_losses_fall() -> None:
    assert monitor_mode("val_loss") == "min"
    assert monitor_mode("val_dice") == "max"
