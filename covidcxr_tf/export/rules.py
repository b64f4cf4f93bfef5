"""How logits become probabilities, and probabilities a class, in TensorFlow operations; twin of `classifiers`."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from covidcxr_tf.classifiers import LoadedModel

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
    """

    classes: tuple[str, ...]
    multilabel: bool
    positive: int
    threshold: float | None

    @classmethod
    def of(cls, loaded: LoadedModel) -> Rules:
        """Return the rules of a loaded model."""
        multilabel = loaded.task == "multilabel"
        cut = not multilabel and len(loaded.classes) == 2
        positive = loaded.classes.index(loaded.positive) if cut else 0
        return cls(loaded.classes, multilabel, positive, loaded.threshold if cut else None)

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return float32 [N, classes] of logits [N, K]; in float64 until then, as in `classifiers.to_probabilities`."""
        exact = tf.cast(logits, tf.float64)
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
