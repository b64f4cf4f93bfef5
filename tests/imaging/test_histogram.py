from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.imaging import histogram as module
from covidcxr_tf.imaging.histogram import histogram, match_histogram, match_table


def random_image(seed: int, shape: tuple[int, int] = (37, 23)) -> np.ndarray:
    return np.random.default_rng(seed).normal(120, 40, shape).clip(0, 255).astype(np.uint8)


def test_counts_each_level() -> None:
    counted = Counter(random_image(0).ravel().tolist())
    assert histogram(random_image(0)).tolist() == [counted[level] for level in range(256)]


def test_a_view_counts_as_its_copy_does() -> None:
    image = random_image(1)
    assert np.array_equal(histogram(image[::-2, ::3]), np.bincount(image[::-2, ::3].ravel(), minlength=256))


def test_large_films_are_counted_in_exact_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    image = random_image(2)
    whole = histogram(image)
    monkeypatch.setattr(module, "_EXACT_PIXELS", 50)  # blocks of two rows of 23, and one
    assert np.array_equal(histogram(image), whole)
    monkeypatch.setattr(module, "_EXACT_PIXELS", 5)  # less than a row
    assert np.array_equal(histogram(image), whole)


def test_matching_by_hand() -> None:
    # Shares up to level: source 10: 1/4, 20: 3/4, 30: 1. Reference 0: 1/2, 100: 3/4, 200: 1.
    image = np.array([[10, 20], [20, 30]], np.uint8)
    reference = np.zeros(256, np.int64)
    reference[[0, 100, 200]] = 2, 1, 1
    assert match_histogram(image, reference).tolist() == [[0, 100], [100, 200]]


def test_matched_to_itself_nothing_changes() -> None:
    image = random_image(3)
    assert np.array_equal(match_histogram(image, histogram(image)), image)
    assert np.array_equal(match_histogram(image, 1000 * histogram(image)), image)


def test_takes_the_reference_levels_of_a_permutation() -> None:
    # As many pixels and all levels apart: matching sorts one into the other.
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    target = (image + 150).astype(np.uint8)
    assert np.array_equal(match_histogram(image, histogram(target)), target)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 10**6), min_size=256, max_size=256),
    st.lists(st.integers(0, 50), min_size=256, max_size=256),
)
def test_the_lowest_level_whose_share_suffices(reference: list[int], source: list[int]) -> None:
    reference[40] += 1
    source[200] += 1
    table = match_table(np.array(source), reference).astype(int)
    assert (np.diff(table) >= 0).all()
    total_source, total_reference = sum(source), sum(reference)
    for level in (0, 40, 199, 200, 255):
        share = sum(source[: level + 1]) * total_reference
        found = next(r for r in range(256) if sum(reference[: r + 1]) * total_source >= share)
        assert table[level] == found


def test_the_level_of_a_constant_film_goes_to_the_highest_of_the_reference() -> None:
    reference = np.zeros(256, np.int64)
    reference[[5, 90]] = 3, 1
    assert set(match_histogram(np.full((4, 4), 17, np.uint8), reference).ravel()) == {90}


@pytest.mark.parametrize("reference", [np.zeros(256), np.ones(255), -np.ones(256), np.ones((256, 1))])
def test_a_reference_that_is_none_is_refused(reference: np.ndarray) -> None:
    with pytest.raises(ValueError, match="256 counts"):
        match_table(np.ones(256, np.int64), reference)
