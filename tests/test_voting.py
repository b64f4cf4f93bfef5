"""Votes of patches: by hand, ties, and what the probability of a film may never contradict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covidcxr_tf.voting import count_votes, patch_batches, places, vote


def film(side: int = 24) -> np.ndarray:
    """A film that is black but for two lungs; each pixel's first channel is its row, its second its column."""
    image = np.zeros((side, side, 2), np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[1 : side + 1, 1 : side + 1]
    inside = np.zeros((side, side), bool)
    inside[4:20, 3:9] = inside[4:20, 15:21] = True
    return image * inside[..., None].astype(np.uint8)


def test_votes_by_hand() -> None:
    said = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.1, 0.5, 0.4]])
    found = count_votes(said, 0.75)
    assert found.votes.tolist() == [2, 1, 0] and found.coverage == 0.75
    np.testing.assert_allclose(found.mean, [1.6 / 3, 1.0 / 3, 0.4 / 3])
    np.testing.assert_allclose(found.probabilities, [(2 + 1.6 / 3) / 4, (1 + 1 / 3) / 4, (0.4 / 3) / 4])


def test_a_tie_goes_to_the_larger_mean() -> None:
    assert count_votes(np.array([[0.6, 0.4], [0.1, 0.9]]), 1.0).probabilities.argmax() == 1
    assert count_votes(np.array([[0.9, 0.1], [0.4, 0.6]]), 1.0).probabilities.argmax() == 0


def test_one_vote_more_outweighs_any_mean() -> None:
    """Two patches that lean to class 0 against one that is sure of class 1: the mean says 1, the votes say 0."""
    found = count_votes(np.array([[0.51, 0.49], [0.51, 0.49], [0.0, 1.0]]), 1.0)
    assert found.mean.argmax() == 1 and found.probabilities.argmax() == 0


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 5)), elements=st.floats(0.01, 1)))
def test_the_winner_has_the_most_votes_and_the_probabilities_sum_to_one(raw: np.ndarray) -> None:
    said = raw / raw.sum(axis=1, keepdims=True)
    found = count_votes(said, 1.0)
    winner = found.probabilities.argmax()
    assert found.votes[winner] == found.votes.max() and found.votes.sum() == len(said)
    rivals = found.votes == found.votes.max()
    assert found.mean[winner] == pytest.approx(found.mean[rivals].max())
    assert found.probabilities.sum() == pytest.approx(1.0) and (found.probabilities >= 0).all()


def test_no_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="no patch"):
        count_votes(np.zeros((0, 2)), 0.0)


def test_patches_lie_in_the_lungs_the_same_for_one_seed() -> None:
    image = film()
    where = places(image, 5, 30, 7)
    assert where.corners.shape == (30, 2)
    centres = where.corners + 2
    assert image[centres[:, 0], centres[:, 1]].any(axis=-1).all()  # no lung pixel is nearer than 2 to the border
    np.testing.assert_array_equal(where.corners, places(image, 5, 30, 7).corners)
    assert (where.corners != places(image, 5, 30, 8).corners).any()
    seen = np.zeros(image.shape[:2], bool)
    for row, column in where.corners:
        seen[row : row + 5, column : column + 5] = True
    assert where.coverage == pytest.approx(seen[image.any(axis=-1)].mean())


@pytest.mark.parametrize(("count", "sizes"), [(100, {25}), (33, {16, 17}), (1, {1}), (32, {32})])
def test_batches_hold_all_patches_in_order_and_are_nearly_alike(count: int, sizes: set[int]) -> None:
    image = film()
    where = places(image, 4, count, 0)
    batches = list(patch_batches(image, where))
    assert {len(batch) for batch in batches} == sizes
    together = np.concatenate(batches)
    assert together.dtype == np.float32 and len(together) == count
    for patch, (row, column) in zip(together, where.corners, strict=True):
        np.testing.assert_array_equal(patch, image[row : row + 4, column : column + 4].astype(np.float32) / 255)


def test_a_film_votes_patch_by_patch() -> None:
    """Who is asked: is the patch's centre in the right half? The answer is known from the corners alone."""
    image = film()
    where = places(image, 5, 40, 1)

    def right_half(patches: np.ndarray) -> np.ndarray:
        right = (np.rint(patches[:, 2, 2, 1] * 255) - 1 > 11).astype(np.float64)
        return np.stack([1 - right, right], axis=1)

    found = vote(image, where, right_half)
    right = int((where.corners[:, 1] + 2 > 11).sum())
    assert 0 < right < 40 and found.votes.tolist() == [40 - right, right]
    # Where every patch is sure, the mean is the share of the votes.
    np.testing.assert_allclose(found.probabilities, [1 - right / 40, right / 40])
