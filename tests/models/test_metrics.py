"""Metrics per film against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.models import metrics


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("classification", "accuracy"),
        ("hierarchical", "accuracy"),
        ("multilabel", "findings_right"),
        ("segmentation", "dice"),
    ],
)
def test_name_of_a_task(task: str, name: str) -> None:
    found, function = metrics.build_metric(task)
    assert found == name
    assert function is getattr(metrics, name)


def test_accuracy() -> None:
    logits = np.array([[2, 1, 0], [0, 1, 2], [0, 3, 1]], np.float32)
    for labels in (np.array([0, 1, 1]), np.eye(3)[[0, 1, 1]], np.array([[0], [1], [1]])):
        np.testing.assert_array_equal(metrics.accuracy(labels, logits), [1, 0, 1])
    one = np.array([[0.1], [-0.1], [0.0]], np.float32)  # not above 0: class 0
    np.testing.assert_array_equal(metrics.accuracy(np.array([1, 1, 0]), one), [1, 0, 1])


def test_findings_right() -> None:
    labels = np.array([[1, 0, np.nan], [-1, np.nan, -1], [1, 1, 0]], np.float32)
    logits = np.array([[1, 1, 1], [1, 1, 1], [1, 1, -1]], np.float32)
    np.testing.assert_array_equal(metrics.findings_right(labels, logits), [0.5, 0, 1])


def test_dice() -> None:
    masks = np.zeros((3, 2, 2, 1), np.float32)
    masks[0, 0] = 1  # two pixels there
    logits = np.full((3, 2, 2, 1), -1, np.float32)
    logits[0, 0, 0] = logits[0, 1, 0] = 1  # two found, one right: 2 * 1 / 4
    logits[2, 0, 0] = 1  # found where nothing is
    np.testing.assert_array_equal(metrics.dice(masks, logits), [0.5, 1, 0])
