"""Losses, one number a film, from logits and in float32.

Weighting by class and averaging over the batch are the training loop's: only it knows the global batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from covidcxr_tf.config import TrainConfig
from covidcxr_tf.errors import ConfigError

Loss = Callable[[Any, Any], Any]  # (labels, logits) -> float32 (N,)

# Added to both sides of the Dice ratio, in pixels: an empty mask that is predicted empty then scores 1, not 0 / 0.
DICE_SMOOTH = 1.0


def build_loss(train: TrainConfig, num_classes: int, task: str = "classification") -> Loss:
    """Return a function from (labels, logits) to the loss of each film, float32 (N,).

    Parameters
    ----------
    train : TrainConfig
        ``loss``, ``label_smoothing`` and ``background_weight`` are read.
    num_classes : int
        Classes (or findings, or mask channels).
    task : str
        ``"segmentation"`` and ``"multilabel"`` take labels in the shape of the logits, but for the ``cross_entropy`` of
        a segmentation, which takes class numbers (N, H, W, 1); ``"classification"`` and ``"hierarchical"`` take class
        indices (N,) or one-hot rows (N, num_classes). A model with a single logit for two classes (the papers' sigmoid)
        takes the same labels: index 1 is the sigmoid's class. One-hot rows with another C numbers behind them, float32
        (N, 2 C), add these to the logits in training: log priors of the film's source (Menon 2021, equation 10).

    Raises
    ------
    ConfigError
        If the loss cannot be used with the task.
    """
    smoothing, name = train.label_smoothing, train.loss
    if task == "segmentation":
        return _segmentation_loss(train, num_classes)
    if name == "bce_dice":
        raise ConfigError(f"train.loss bce_dice needs masks; the task is {task}", expected="task = segmentation")
    if task == "multilabel":
        if name != "binary_cross_entropy":
            raise ConfigError(f"train.loss is {name}; the task is multilabel", expected="binary_cross_entropy")
        return lambda labels, logits: multilabel_cross_entropy(labels, logits, smoothing)
    chosen = cross_entropy if name == "cross_entropy" else one_against_rest

    def loss(labels: Any, logits: Any) -> Any:
        if len(labels.shape) == 2 and labels.shape[-1] == 2 * num_classes and logits.shape[-1] == num_classes:
            labels, offsets = labels[:, :num_classes], labels[:, num_classes:]
            return chosen(labels, ops.cast(logits, "float32") + offsets, smoothing)
        if logits.shape[-1] == 1:
            return binary_cross_entropy(_positive(labels), logits, smoothing)
        return chosen(_one_hot(labels, num_classes), logits, smoothing)

    return loss


def cross_entropy(targets: Any, logits: Any, smoothing: float = 0.0) -> Any:
    """Return the softmax cross entropy of each film, (N,), of one-hot `targets` (N, C) and `logits` (N, C).

    With smoothing s, 1 becomes 1 - s + s / C and 0 becomes s / C (Szegedy 2016, section 7).
    """
    targets = ops.cast(targets, "float32")
    targets = targets * (1 - smoothing) + smoothing / targets.shape[-1]
    return -ops.sum(targets * ops.log_softmax(ops.cast(logits, "float32"), axis=-1), axis=-1)


def binary_cross_entropy(targets: Any, logits: Any, smoothing: float = 0.0) -> Any:
    """Return the mean sigmoid cross entropy of each film, (N,); `targets` 0 or 1 in the shape of `logits` (N, ...).

    With smoothing s, 1 becomes 1 - s / 2 and 0 becomes s / 2.
    """
    targets = ops.reshape(ops.cast(targets, "float32"), ops.shape(logits))
    return _mean_of_film(_sigmoid_cross_entropy(targets * (1 - smoothing) + smoothing / 2, logits))


def one_against_rest(targets: Any, logits: Any, smoothing: float = 0.0) -> Any:
    """Return the mean over classes of the sigmoid cross entropies, (N,), of one-hot `targets` (N, C)."""
    return binary_cross_entropy(targets, logits, smoothing)


def multilabel_cross_entropy(labels: Any, logits: Any, smoothing: float = 0.0) -> Any:
    """Return the mean sigmoid cross entropy over the known findings of each film, (N,).

    Parameters
    ----------
    labels : (N, K)
        1 present, 0 absent, negative or NaN unknown: left out. A film with nothing known has the loss 0.
    logits : (N, K)
    """
    labels = ops.cast(labels, "float32")
    known = ops.cast(labels >= 0, "float32")  # NaN compares False
    targets = ops.where(labels > 0.5, 1 - smoothing / 2, smoothing / 2)
    losses = _sigmoid_cross_entropy(targets, logits) * known
    return ops.sum(losses, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def soft_dice_loss(masks: Any, logits: Any) -> Any:
    """Return 1 - soft Dice of each film, (N,), of `masks` 0 or 1 and `logits`, both (N, H, W, C); C is averaged over.

    Soft Dice = (2 sum(p m) + 1) / (sum(p) + sum(m) + 1), p = sigmoid(logits) (Milletari 2016, equation 2, with
    plain sums below as in the set's definition).
    """
    masks = ops.reshape(ops.cast(masks, "float32"), ops.shape(logits))
    inside = ops.sigmoid(ops.cast(logits, "float32"))
    both = ops.sum(inside * masks, axis=(1, 2))
    each = ops.sum(inside, axis=(1, 2)) + ops.sum(masks, axis=(1, 2))
    return 1 - ops.mean((2 * both + DICE_SMOOTH) / (each + DICE_SMOOTH), axis=-1)


def pixel_cross_entropy(numbers: Any, logits: Any, smoothing: float = 0.0, background_weight: float = 1.0) -> Any:
    """Return the mean softmax cross entropy over the pixels of each film, (N,).

    Parameters
    ----------
    numbers : (N, H, W, 1)
        Class of each pixel, 0 the background.
    logits : (N, H, W, C)
    smoothing : float
        As for `cross_entropy`.
    background_weight : float
        Weight of a background pixel in the mean; all others weigh 1. The mean is over the film's sum of weights.

    Notes
    -----
    Source: Oh 2020, equation 2, with its weights of classes.

    Differs from paper: the mean over pixels, not the sum, so that the learning rate does not depend on the size.
    """
    numbers = ops.cast(ops.squeeze(numbers, axis=-1), "int32")
    losses = cross_entropy(ops.one_hot(numbers, logits.shape[-1]), logits, smoothing)
    weights = ops.where(numbers == 0, float(background_weight), 1.0)
    return ops.sum(weights * losses, axis=(1, 2)) / ops.sum(weights, axis=(1, 2))


def _segmentation_loss(train: TrainConfig, num_classes: int) -> Loss:
    smoothing, name = train.label_smoothing, train.loss
    if name == "cross_entropy":
        if num_classes < 2:
            raise ConfigError(
                "train.loss cross_entropy needs several classes; the masks are lungs against the rest",
                expected="bce_dice or binary_cross_entropy",
            )
        return lambda numbers, logits: pixel_cross_entropy(numbers, logits, smoothing, train.background_weight)

    def loss(masks: Any, logits: Any) -> Any:
        if logits.shape[-1] > 1 and masks.shape[-1] == 1:
            raise ConfigError(
                f"train.loss {name} needs a mask for each of the {logits.shape[-1]} classes; there are class numbers",
                expected="cross_entropy",
            )
        entropy = binary_cross_entropy(masks, logits, smoothing)
        # Only the cross entropy is smoothed: Dice of smoothed masks would reward grey everywhere.
        return entropy + soft_dice_loss(masks, logits) if name == "bce_dice" else entropy

    return loss


def _sigmoid_cross_entropy(targets: Any, logits: Any) -> Any:
    """Return -t log p - (1 - t) log(1 - p) as max(z, 0) - z t + log(1 + exp(-|z|)), which never overflows."""
    logits = ops.cast(logits, "float32")
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def _mean_of_film(losses: Any) -> Any:
    return ops.mean(losses, axis=tuple(range(1, len(losses.shape))))


def _one_hot(labels: Any, num_classes: int) -> Any:
    if len(labels.shape) == 2 and labels.shape[-1] == num_classes:
        return labels
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), num_classes)


def _positive(labels: Any) -> Any:
    """Return 1 for class index 1, from indices (N,) or (N, 1) or one-hot rows (N, 2)."""
    return labels[:, 1] if len(labels.shape) == 2 and labels.shape[-1] == 2 else labels
