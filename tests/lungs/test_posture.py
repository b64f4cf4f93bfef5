"""How a film is shown, from its region and its grey: by hand, turned, inverted; and what the verdict makes of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.posture import Posture, judged, posture


def film() -> tuple[np.ndarray, np.ndarray]:
    """Return region and levels of two dark bars, 6 x 2 px, with grey between that grows downwards."""
    region = np.zeros((8, 8), np.uint8)
    region[1:7, 1:3] = region[1:7, 5:7] = 1
    levels = np.full((8, 8), 51, np.uint8)
    levels[1:7, 3:5] = np.repeat([102, 153, 204], 2)[:, np.newaxis]
    return region, levels


def test_by_hand() -> None:
    # Between: 4 px each of 0.4, 0.6 and 0.8; inside 0.2. Nothing lies between parts along columns.
    assert posture(*film()) == pytest.approx((0.4, 1.0, 0.4))


def test_a_quarter_turn_puts_them_above_each_other() -> None:
    region, levels = (np.rot90(plane) for plane in film())
    assert posture(region, levels) == pytest.approx((0.0, 0.0, 0.0))


def test_on_its_head_and_inverted_change_the_sign() -> None:
    region, levels = film()
    assert posture(region[::-1], levels[::-1]) == pytest.approx((0.4, 1.0, -0.4))
    assert posture(region, 255 - levels) == pytest.approx((-0.4, 1.0, -0.4))


def test_what_lies_along_both_is_shared() -> None:
    region = np.zeros((5, 5), np.uint8)
    region[0, 0] = region[0, 3] = region[4, 0] = 1  # two px between in a row, three in a column
    assert posture(region, np.zeros((5, 5), np.uint8)).side_by_side == pytest.approx(0.4)


def test_nothing_between_says_nothing() -> None:
    region = np.ones((3, 3), np.uint8)
    assert posture(region, np.full((3, 3), 9, np.uint8)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "verdict", "said"),
    [
        ({}, "good", ""),
        (
            {"polarity": -0.1},
            "poor",
            "10% darker between the lungs than in them; usual at least 9% brighter: it may",
        ),
        ({"polarity": 0.02}, "doubtful", "inverted"),
        ({"side_by_side": 0.5}, "poor", "on its side"),
        (
            {"brighter_below": -0.25},
            "poor",
            "25% darker below than above; usual at most 12% darker: it may stand",
        ),
    ],
)
def test_verdict(change: dict[str, float], verdict: str, said: str) -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 15:45] = mask[20:80, 55:85] = 1
    usual = Posture(0.25, 0.99, 0.04)
    quality = mask_quality(mask, None, usual._replace(**change))
    assert quality.verdict == verdict
    assert said in " ".join(quality.reasons)
    assert bool(quality.reasons) is bool(change)
    assert quality.as_dict()["polarity"] == pytest.approx(change.get("polarity", 0.25))


def test_a_mask_without_its_film_is_judged_as_before() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 15:45] = mask[20:80, 55:85] = 1
    alone, whole = mask_quality(mask), mask_quality(mask, None, Posture(0.25, 0.99, 0.04))
    assert (alone.polarity, alone.side_by_side, alone.brighter_below) == (None, None, None)
    assert dataclasses.replace(whole, polarity=None, side_by_side=None, brighter_below=None) == alone


def test_only_films_after_clahe_are_judged() -> None:
    assert judged(ImageConfig(channels=("clahe",)))
    assert not judged(ImageConfig(channels=("raw", "clahe")))
