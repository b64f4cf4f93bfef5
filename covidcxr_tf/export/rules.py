"""How logits become probabilities, and probabilities a class, in TensorFlow operations; twin of `classifiers`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.gate import Gate

PREDICTED = -1
"""Class index that stands for the predicted class."""


@dataclass(frozen=True)
class Rules:
    """What of a model is no arithmetic on pixels.

    Attributes
    ----------
    classes : tuple of str
    multilabel : bool
        Each class is a finding with a probability of its own.
    positive : int
        Index of the class that the cut-off is about.
    threshold : float or None
        Cut-off on its probability; two rival classes only.
    temperature : float
        Logits are divided by it before they become probabilities.
    """

    classes: tuple[str, ...]
    multilabel: bool
    positive: int
    threshold: float | None
    temperature: float = 1.0

    @classmethod
    def of(cls, loaded: LoadedModel) -> Rules:
        """Return the rules of a loaded model."""
        multilabel = loaded.task == "multilabel"
        cut = not multilabel and len(loaded.classes) == 2
        positive = loaded.classes.index(loaded.positive) if cut else 0
        threshold = loaded.threshold if cut else None
        return cls(loaded.classes, multilabel, positive, threshold, loaded.temperature)

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return float32 [N, classes] of logits [N, K]; in float64 until then, as in `classifiers.to_probabilities`."""
        exact = tf.cast(logits, tf.float64) / tf.constant(self.temperature, tf.float64)
        if self.multilabel:
            found = tf.sigmoid(exact)
        elif logits.shape[-1] == 1:
            found = tf.concat([1 - tf.sigmoid(exact), tf.sigmoid(exact)], axis=1)
        else:
            found = tf.nn.softmax(exact)
        return tf.cast(found, tf.float32)

    def asked(self, logits: tf.Tensor, class_index: tf.Tensor) -> tf.Tensor:
        """Return the class index int32 [N] that each film is asked for: where it is -1, the predicted class.

        By the cut-off where there is one, else the most probable one; of findings, too, the most probable one.
        """
        probabilities = self.probabilities(logits)
        if self.threshold is None:
            predicted = tf.argmax(probabilities, axis=1, output_type=tf.int32)
        else:
            called = probabilities[:, self.positive] >= self.threshold
            predicted = tf.where(called, self.positive, 1 - self.positive)
        return tf.where(class_index == PREDICTED, predicted, class_index)

    def score(self, logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Return each film's logit of its class [N], 0 for a class that is none.

        One logit for two classes is that of class 1, and minus itself for class 0.
        """
        if logits.shape[-1] == 1 and not self.multilabel:
            return tf.where(index == 1, logits[:, 0], -logits[:, 0])
        return tf.reduce_sum(logits * tf.one_hot(index, logits.shape[-1]), axis=-1)


def gate_score(gate: Gate, means: tf.Tensor) -> tf.Tensor:
    """Return the gate's score float32 [N] of channel means [N, F]; twin of `Gate.score`."""
    centred = tf.cast(means, tf.float64) - gate.mean.astype(np.float64)
    rows = gate.directions.astype(np.float64)
    back = rows / (rows**2).sum(axis=1, keepdims=True)
    coordinates = tf.linalg.matmul(centred, tf.constant(rows.T))
    left = centred - tf.linalg.matmul(coordinates, tf.constant(back))
    distance = tf.reduce_mean(coordinates**2, axis=1) + tf.reduce_mean(left**2, axis=1) / gate.residual
    return tf.cast(distance / gate.limit, tf.float32)
