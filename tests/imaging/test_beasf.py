from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.imaging.beasf import beasf, beasf_table

sparse_counts = st.dictionaries(st.integers(0, 255), st.integers(1, 5000), min_size=1, max_size=40)


def counts_of(heights: dict[int, int]) -> np.ndarray:
    counts = np.zeros(256, np.int64)
    for level, height in heights.items():
        counts[level] = height
    return counts


def half_level(counts: list[int], first: int, last: int) -> int:
    total = sum(counts[first : last + 1])
    so_far = 0
    for level in range(first, last + 1):
        so_far += counts[level]
        if so_far * 2 > total:
            return level
    raise AssertionError("an empty part")


def loops_table(heights: dict[int, int], gamma: float, compat: str) -> list[int]:
    """BEASF one level at a time, from the description in the paper and the list of slips."""
    pixels = sum(heights.values())
    mean = sum(level * height for level, height in heights.items()) // pixels
    if mean == 0 or mean == 255 or len(heights) == 1:
        return list(range(256))
    counts = [heights.get(level, 0) for level in range(256)]
    if compat == "authors":
        counts = np.histogram(
            np.repeat(np.array(list(heights)), list(heights.values())), bins=256
        )[0].tolist()  # fmt: skip

    def sigmoid(level: int, centre: int, span: int) -> float:
        return 1 / (1 + math.exp(-gamma * (5 * (level - centre) / span)))

    a, b = half_level(counts, 0, mean), half_level(counts, mean, 255)
    if compat == "authors":
        b = max(mean, b - 1)
    low = [math.trunc(mean * sigmoid(level, a, mean)) for level in range(mean + 1)]
    high = [math.trunc((255 - mean) * sigmoid(level, b, 255 - mean)) for level in range(mean, 256)]
    table = list(range(256))
    if low[-1] > low[0]:
        for level in range(mean + 1):
            if compat == "authors":
                table[level] = math.trunc(mean / (low[-1] - low[0]) * (low[level] - low[0]))
            else:
                table[level] = mean * (low[level] - low[0]) // (low[-1] - low[0])
    if compat == "ours" and high[-1] > high[0]:
        for level in range(mean, 256):
            table[level] = mean + (255 - mean) * (high[level - mean] - high[0]) // (high[-1] - high[0])
    if compat == "authors":
        late = [high[level - mean - 1] for level in range(mean + 1, 256)]
        for level in range(mean + 1, 256):
            if late[-1] > late[0]:
                table[level] = mean + (255 - mean) * (late[level - mean - 1] - late[0]) // (late[-1] - late[0])
    return table


def test_two_grey_levels_by_hand() -> None:
    # m = 150, a = 100, b = 200, gamma 1.5.
    # Below: cut(0) = trunc(150 / (1 + e^5)) = 1, cut(100) = 150 / 2 = 75, cut(150) = trunc(150 / (1 + e^-2.5)) = 138;
    #        100 -> (75 - 1) * 150 // 137 = 81.
    # Above: cut(150) = trunc(105 / (1 + e^3.5714)) = 2, cut(200) = trunc(52.5) = 52,
    #        cut(255) = trunc(105 / (1 + e^-3.9286)) = 102; 200 -> 150 + (52 - 2) * 105 // 100 = 202.
    image = np.array([[100, 200], [200, 100]], np.uint8)
    assert beasf(image, 1.5).tolist() == [[81, 202], [202, 81]]


def test_the_slips_of_the_authors_by_hand() -> None:
    # Bins from 100 to 200: level 100 is bin 0, level 200 is bin 255, so a = 0 and b = 255 - 1.
    # Below: cut(0) = 75, cut(100) = trunc(150 / (1 + e^-5)) = 148, cut(150) = 149; 100 -> trunc(150 / 74 * 73) = 147.
    # Above, one level late: cut(199) = trunc(105 / (1 + e^3.9286)) = 2, cut(150) = 0, cut(254) = trunc(52.5) = 52;
    #        200 -> 150 + 105 * 2 // 52 = 154.
    image = np.array([[100, 200], [200, 100]], np.uint8)
    assert beasf(image, 1.5, "authors").tolist() == [[147, 154], [154, 147]]


@settings(max_examples=150, deadline=None)
@given(
    heights=sparse_counts,
    gamma=st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 10.0]),
    compat=st.sampled_from(["ours", "authors"]),
)
def test_equals_plain_loops(heights: dict[int, int], gamma: float, compat: str) -> None:
    assert beasf_table(counts_of(heights), gamma, compat).tolist() == loops_table(heights, gamma, compat)


@settings(max_examples=150, deadline=None)
@given(heights=sparse_counts, gamma=st.floats(0.01, 1000), compat=st.sampled_from(["ours", "authors"]))
def test_never_falls_and_keeps_the_mean_apart(heights: dict[int, int], gamma: float, compat: str) -> None:
    counts = counts_of(heights)
    table = beasf_table(counts, gamma, compat).astype(int)
    mean = int(counts @ np.arange(256)) // int(counts.sum())
    assert (np.diff(table) >= 0).all()
    assert table[0] == 0 and table[255] == 255
    assert (table[: mean + 1] <= mean).all() and (table[mean:] >= mean - (compat == "authors")).all()


@settings(max_examples=60, deadline=None)
@given(heights=sparse_counts)
def test_ours_maps_ends_and_mean_to_themselves(heights: dict[int, int]) -> None:
    counts = counts_of(heights)
    mean = int(counts @ np.arange(256)) // int(counts.sum())
    assert beasf_table(counts, 1.5)[[0, mean, 255]].tolist() == [0, mean, 255]


@pytest.mark.parametrize("compat", ["ours", "authors"])
@pytest.mark.parametrize(
    "levels",
    [[0, 0, 0], [7, 7, 7], [255, 255, 255], [0, 0, 1], [0] * 300 + [255]],
    ids=["black", "constant", "white", "mean 0", "one white pixel"],
)
def test_degenerate_images_stay_as_they_are(levels: list[int], compat: str) -> None:
    image = np.array([levels], np.uint8)
    assert np.array_equal(beasf(image, 1.5, compat), image)


@pytest.mark.parametrize("compat", ["ours", "authors"])
def test_mean_254_where_the_authors_divide_zero_by_zero(compat: str) -> None:
    image = np.array([[253, 255, 255]], np.uint8)  # mean 254.33
    table = beasf_table(np.bincount(image[0], minlength=256), 1.5, compat)
    assert table[254:].tolist() == [254, 255]


def test_a_flat_sigmoid_leaves_its_part_as_it_is() -> None:
    # m = 1: trunc(1 * s) is 0 at both levels.
    counts = counts_of({0: 5, 2: 5})
    assert beasf_table(counts, 1.5)[:2].tolist() == [0, 1]


def test_gamma_to_infinity_is_a_threshold_at_each_median() -> None:
    table = beasf_table(counts_of({100: 2, 200: 2}), 1e4).astype(int)
    assert set(table[:100]) == {0} and set(table[101:151]) == {150}
    assert set(table[150:200]) == {150} and set(table[201:]) == {255}


def test_depends_on_the_histogram_alone(seed: int = 3) -> None:
    image = np.random.default_rng(seed).integers(20, 230, (31, 17)).astype(np.uint8)
    assert np.array_equal(beasf(image[::-1, ::-1]), beasf(image)[::-1, ::-1])
    assert np.array_equal(beasf(np.repeat(image, 3, axis=0)), np.repeat(beasf(image), 3, axis=0))


@pytest.mark.parametrize(("gamma", "compat"), [(0, "ours"), (-1, "ours"), (float("nan"), "ours"), (1.5, "paper")])
def test_settings_that_mean_nothing_are_refused(gamma: float, compat: str) -> None:
    with pytest.raises(ValueError, match="gamma"):
        beasf_table(np.ones(256, np.int64), gamma, compat)  # type: ignore[arg-type]
