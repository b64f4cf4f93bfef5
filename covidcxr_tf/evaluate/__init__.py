"""Judging a predictions table: metrics with intervals that resample patients. Never imports TensorFlow."""

from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.evaluate.table import read_predictions, write_predictions
from covidcxr_tf.evaluate.thresholds import choose_threshold

__all__ = ["choose_threshold", "evaluate_masks", "evaluate_table", "read_predictions", "write_predictions"]
