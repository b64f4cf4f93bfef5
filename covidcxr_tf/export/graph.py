"""The three signatures of an exported model, from bytes or films to answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import tensorflow as tf

from covidcxr_tf.classifiers import UNREADABLE, LoadedModel
from covidcxr_tf.export.film_graph import NONE, Preparation, Seen, film_preparation, fractions, tensor_preparation
from covidcxr_tf.export.folding import Variant
from covidcxr_tf.export.frozen import Frozen, frozen_classifier
from covidcxr_tf.export.rules import PREDICTED, Rules
from covidcxr_tf.imaging.graph_levels import divide

Answers = dict[str, tf.Tensor]


class ServableGraph(tf.Module):
    """A classifier with its whole path for pixels as one graph.

    Attributes
    ----------
    endpoints : dict of str to concrete function
        ``serving_default``, ``tensors`` and ``explain``, see `signature_facts`.
    """

    def __init__(self, loaded: LoadedModel, variant: Variant = "float32") -> None:
        super().__init__(name="covidcxr")
        self._rules = Rules.of(loaded)
        self._classify: Frozen = frozen_classifier(loaded, variant)
        # Traced once for both signatures that read files: it is most of the graph.
        one_graph = [tf.TensorSpec([None], tf.string)]
        files = tf.function(film_preparation(loaded), input_signature=one_graph, autograph=False, jit_compile=False)
        films = tensor_preparation(loaded.image, loaded.reference)
        size = loaded.image.size
        image_bytes = tf.TensorSpec([None], tf.string, name="image_bytes")
        image = tf.TensorSpec([None, size, size, 1], tf.float32, name="image")
        class_index = tf.TensorSpec([None], tf.int32, name="class_index")
        self.endpoints = {
            "serving_default": _traced(lambda image_bytes: self._predict(files, image_bytes), image_bytes),
            "tensors": _traced(lambda image: self._predict(films, image), image),
            "explain": _traced(
                lambda image_bytes, class_index: self._explain(files, image_bytes, class_index),
                image_bytes,
                class_index,
            ),
        }

    def _predict(self, preparation: Preparation, inputs: tf.Tensor) -> Answers:
        seen = preparation(inputs)
        logits, _, _, score = self._classify(fractions(seen.levels), tf.zeros_like(seen.status))
        return self._answers(seen, logits, score)

    def _answers(self, seen: Seen, logits: tf.Tensor, score: tf.Tensor) -> Answers:
        count = tf.shape(seen.status)[0]
        unreadable = (seen.status == UNREADABLE)[:, tf.newaxis]
        return {
            "probabilities": tf.where(unreadable, 0.0, self._rules.probabilities(logits)),
            "classes": tf.tile(tf.constant([self._rules.classes]), [count, 1]),
            "status": seen.status,
            "lung_box": seen.lung_box,
            "lung_quality": seen.lung_quality,
            "ood_score": tf.where(unreadable[:, 0], NONE, score),
        }

    def _explain(self, preparation: Preparation, inputs: tf.Tensor, class_index: tf.Tensor) -> Answers:
        seen = preparation(inputs)
        images = fractions(seen.levels)
        logits, cells, index, score = self._classify(images, class_index)
        answers = self._answers(seen, logits, score)
        known = (index >= 0) & (index < len(self._rules.classes)) & (seen.status != UNREADABLE)
        heat = _scaled(tf.where(known[:, tf.newaxis, tf.newaxis], cells, 0.0), tuple(images.shape[1:3]))
        return {
            "probabilities": answers["probabilities"],
            "heatmap": heat,
            "status": seen.status,
            "lung_box": seen.lung_box,
            "class_index": tf.where(known, index, PREDICTED),
        }


def _scaled(cells: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Return float32 [N, S, S] in [0, 1], the largest value of each 1 or all 0; twin of `explain.gradcam.scaled`."""
    heat = tf.image.resize(cells[..., tf.newaxis], size)[..., 0]
    return tf.clip_by_value(divide(heat, tf.reduce_max(heat, axis=[1, 2], keepdims=True)), 0.0, 1.0)


def _traced(function: Callable[..., Answers], *inputs: tf.TensorSpec) -> Callable[..., Answers]:
    # XLA would round otherwise than NumPy and OpenCV: see `imaging.graph`.
    traced = tf.function(function, input_signature=list(inputs), autograph=False, jit_compile=False)
    return cast(Callable[..., Answers], traced.get_concrete_function())
