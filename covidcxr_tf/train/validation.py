"""One pass over the validation films: loss and the task's score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import f1_score, roc_auc_score

from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.train.reading import bad_shard, readable

#: Added above and below in Dice, so that two empty masks agree (1) instead of dividing by zero.
EMPTY = 1e-6


def build_eval_step(model: keras.Model, loss: Callable[[Any, Any], Any], dense: bool) -> Callable[[Any], Any]:
    """Return a compiled function: a batch -> outputs and losses film by film; outputs are Dice where `dense`."""

    @tf.function(reduce_retracing=True, jit_compile=False)
    def step(batch: dict[str, Any]) -> tuple[Any, Any]:
        logits = model(batch["image"], training=False)
        each = loss(batch["target"], logits)
        return (_dice(batch["target"], logits) if dense else logits), each

    return step


def validate(
    step: Callable[[Any], Any], batches: Batches, strategy: Any, *, watch: Callable[[], object] | None = None
) -> dict[str, float]:
    """Return ``val_loss`` (mean over films, no class weights) and scores.

    Classification: ``val_accuracy``, ``val_f1`` (mean over the classes) and, where it is defined, ``val_auroc`` (the
    last class for two classes, the macro mean of one against rest for more). Findings: ``val_auroc``, mean over those
    that some film has and some film has not. Segmentation: ``val_dice``, mean over films at 0.5 (with several classes:
    mean over all but the background). With patches, each patch counts as a film. `watch` is called after each batch,
    and what it raises ends the pass.

    Raises
    ------
    DataError
        If a shard of prepared films cannot be read.
    """
    _, targets, outputs, losses = evaluate_batches(step, batches, strategy, watch=watch)
    measured = {"val_loss": float(losses.mean())}
    if batches.targets is None:
        return measured | {"val_dice": float(outputs.mean())}
    if targets.ndim > 1:  # several findings a film
        return measured | _findings_auroc(targets, outputs)
    if outputs.shape[1] == 1:  # a single sigmoid: its logit against 0
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    called = outputs.argmax(1)
    measured["val_accuracy"] = float((called == targets).mean())
    measured["val_f1"] = float(f1_score(targets, called, average="macro", zero_division=0))
    present = np.unique(targets)
    if len(present) == outputs.shape[1]:
        margin = outputs[:, 1] - outputs[:, 0]
        scores = [margin] if outputs.shape[1] == 2 else [_log_odds(outputs, k) for k in present]
        truths = [targets == 1] if outputs.shape[1] == 2 else [targets == k for k in present]
        measured["val_auroc"] = float(np.mean([roc_auc_score(t, s) for t, s in zip(truths, scores, strict=True)]))
    return measured


def evaluate_batches(
    step: Callable[[Any], Any], batches: Batches, strategy: Any, *, watch: Callable[[], object] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows (ascending), targets, outputs (logits, or Dice where the target is a mask) and losses, by film."""
    dense = batches.targets is None
    collected: list[tuple[Any, Any, Any, Any]] = []
    # Every replica holds the same weights: the films are judged on one device.
    with strategy.scope():
        for batch in readable(batches.plain(), batches.prepared, batches.groups):
            outputs, losses = step(batch)
            target = np.zeros(len(losses)) if dense else batch["target"].numpy()
            collected.append((batch["row"].numpy(), target, outputs.numpy(), losses.numpy()))
            if watch is not None:
                watch()
    rows, targets, outputs, losses = (np.concatenate(part) for part in zip(*collected, strict=True))
    if len(np.unique(rows)) != batches.rows:  # a shard that was cut between two records
        raise bad_shard(batches.prepared, None, f"{len(np.unique(rows))} films of {batches.rows} came out of them")
    order = np.argsort(rows, kind="stable")  # a table in the order of the manifest, whatever that of the shards
    return rows[order], targets[order], outputs[order].astype(np.float64), losses[order].astype(np.float64)


def _findings_auroc(targets: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return ``val_auroc`` over the findings for which it is defined; nothing where there is none."""
    areas = []
    for truth, scores in zip(targets.T, logits.T, strict=True):
        known = truth >= 0
        if len(np.unique(truth[known])) == 2:
            areas.append(roc_auc_score(truth[known], scores[known]))
    return {"val_auroc": float(np.mean(areas))} if areas else {}


def _dice(masks: Any, logits: Any) -> Any:
    if logits.shape[-1] > 1:
        return _class_dice(masks, logits)
    inside = tf.cast(logits > 0, tf.float32)
    both = tf.reduce_sum(inside * masks, axis=(1, 2, 3))
    return (2 * both + EMPTY) / (tf.reduce_sum(inside, axis=(1, 2, 3)) + tf.reduce_sum(masks, axis=(1, 2, 3)) + EMPTY)


def _class_dice(masks: Any, logits: Any) -> Any:
    """Return the mean Dice (N,) over the classes but 0 of class numbers (N, H, W, 1) and logits (N, H, W, C)."""
    count = logits.shape[-1]
    truth = tf.one_hot(tf.cast(masks[..., 0], tf.int32), count)[..., 1:]
    called = tf.one_hot(tf.argmax(logits, axis=-1), count)[..., 1:]
    both = tf.reduce_sum(truth * called, axis=(1, 2))
    each = tf.reduce_sum(truth, axis=(1, 2)) + tf.reduce_sum(called, axis=(1, 2))
    return tf.reduce_mean((2 * both + EMPTY) / (each + EMPTY), axis=-1)


def _log_odds(logits: np.ndarray, k: int) -> np.ndarray:
    rest = np.delete(logits, k, axis=1)
    top = rest.max(axis=1)
    return logits[:, k] - (top + np.log(np.exp(rest - top[:, None]).sum(axis=1)))
