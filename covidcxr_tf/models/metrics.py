"""What training prints beside the loss: one number a film, so that a loop can add it up over devices and steps.

Judging a model is the room `evaluate`, from the predictions table and in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

PerFilm = Callable[[Any, Any], Any]  # (labels, logits) -> float32 (N,)


def build_metric(task: str = "classification") -> tuple[str, PerFilm]:
    """Return the name and the function of the metric that a task is watched by.

    ``"segmentation"``: ``"dice"``; ``"multilabel"``: ``"findings_right"``; all others: ``"accuracy"``.
    """
    if task == "segmentation":
        return "dice", dice
    return ("findings_right", findings_right) if task == "multilabel" else ("accuracy", accuracy)


def accuracy(labels: Any, logits: Any) -> Any:
    """Return 1 for each film whose class is said right, else 0; float32 (N,).

    Parameters
    ----------
    labels : (N,) class indices or (N, C) one-hot rows
    logits : (N, C); a single logit, (N, 1), says class 1 above 0
    """
    indices = ops.argmax(labels, axis=-1) if len(labels.shape) == 2 and labels.shape[-1] > 1 else labels
    indices = ops.cast(ops.reshape(indices, (-1,)), "int32")
    said = logits[:, 0] > 0 if logits.shape[-1] == 1 else ops.argmax(logits, axis=-1)
    return ops.cast(ops.equal(ops.cast(said, "int32"), indices), "float32")


def findings_right(labels: Any, logits: Any) -> Any:
    """Return the share of known findings that are said right at a probability of .5; float32 (N,).

    `labels` (N, K): 1 present, 0 absent, negative or NaN unknown; a film with nothing known has the share 0.
    """
    labels = ops.cast(labels, "float32")
    known = ops.cast(labels >= 0, "float32")  # NaN compares False
    right = ops.cast(ops.equal(labels > 0.5, logits > 0), "float32") * known
    return ops.sum(right, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def dice(masks: Any, logits: Any) -> Any:
    """Return the Dice coefficient of each film at a probability of .5, mean over mask channels; float32 (N,).

    `masks` (N, H, W, C) 0 or 1, `logits` of the same shape. Nothing there and nothing found is 1.
    """
    masks = ops.reshape(ops.cast(masks, "float32"), ops.shape(logits))
    found = ops.cast(logits > 0, "float32")
    both = ops.sum(found * masks, axis=(1, 2))
    each = ops.sum(found, axis=(1, 2)) + ops.sum(masks, axis=(1, 2))
    return ops.mean(ops.where(each > 0, 2 * both / ops.maximum(each, 1.0), 1.0), axis=-1)
