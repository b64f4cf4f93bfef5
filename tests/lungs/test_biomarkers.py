from __future__ import annotations

import numpy as np
import pytest

from covidcxr_tf.errors import DataError
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.universal import universal
from covidcxr_tf.lungs.biomarkers import (
    MARKERS,
    NO_LUNG,
    lung_intensity,
    lung_markers,
    lung_shape,
    patch_intensity,
)


def film_and_masks(rows: int = 60, columns: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A noisy film; lungs in columns 10-29 and 44-69, heart in 30-54; the right lung stands on the left."""
    film = np.random.default_rng(0).random((rows, columns), dtype=np.float32)
    lung = np.zeros((rows, columns), np.uint8)
    lung[10:40, 10:30] = 1
    lung[10:50, 44:70] = 1
    heart = np.zeros_like(lung)
    heart[25:45, 30:55] = 1
    return film, lung, heart


def test_intensity_by_hand() -> None:
    image = np.array([[10, 20, 30], [40, 250, 250]], np.uint8)
    lung = np.array([[1, 1, 1], [1, 0, 0]], np.uint8)
    # Mean of 10, 20, 30, 40 and sqrt((225 + 25 + 25 + 225) / 4).
    assert lung_intensity(image, lung) == (25.0, pytest.approx(np.sqrt(125)))
    assert lung_intensity(image, lung * 255) == lung_intensity(image, lung)
    assert lung_intensity(image, np.zeros_like(lung)) == (None, None)


def test_shape_by_hand() -> None:
    _, lung, heart = film_and_masks()
    shape = lung_shape(lung, heart)
    assert shape["right_lung_area"] == 30 * 20 / 4800 and shape["left_lung_area"] == 40 * 26 / 4800
    assert shape["lung_area"] == pytest.approx((600 + 1040) / 4800)
    assert (shape["right_lung_height"], shape["left_lung_height"]) == (0.5, pytest.approx(40 / 60))
    assert shape["left_right_area_ratio"] == pytest.approx(1040 / 600)


def test_a_mirrored_film_swaps_the_sides_and_nothing_else() -> None:
    film, lung, heart = film_and_masks()
    values = lung_markers(film, lung, heart).values
    mirrored = lung_markers(film[:, ::-1], lung[:, ::-1], heart[:, ::-1]).values
    for one, other in (("right", "left"), ("left", "right")):
        assert mirrored[f"{one}_lung_area"] == values[f"{other}_lung_area"]
        assert mirrored[f"{one}_lung_height"] == values[f"{other}_lung_height"]
    for name in ("lung_mean", "lung_std", "lung_area", "cardiothoracic_ratio"):
        assert mirrored[name] == pytest.approx(values[name])


def test_ratio_is_the_heart_s_width_over_the_chest_s() -> None:
    film, lung, heart = film_and_masks()
    # Heart columns 30 to 54; chest 10 to 69.
    assert lung_markers(film, lung, heart).values["cardiothoracic_ratio"] == 25 / 60
    speck = heart.copy()
    speck[0, 0] = 1
    assert lung_markers(film, lung, speck * 255).values["cardiothoracic_ratio"] == 25 / 60


def test_all_markers_in_order_and_grey_levels_of_the_universal_film() -> None:
    film, lung, heart = film_and_masks()
    found = lung_markers(film, lung, heart, gamma=0.7)
    assert tuple(found.values) == tuple(MARKERS) and not found.why
    inside = universal(to_uint8(film), 0.7)[lung > 0].astype(float)
    assert found.values["lung_mean"] == pytest.approx(inside.mean())
    assert found.values["lung_std"] == pytest.approx(inside.std())
    assert all(isinstance(value, float) for value in found.values.values())


def test_specks_outside_the_lungs_do_not_count() -> None:
    film, lung, heart = film_and_masks()
    dirty = lung.copy()
    dirty[55, 75] = 1
    assert lung_markers(film, dirty, heart) == lung_markers(film, lung, heart)


@pytest.mark.parametrize(
    ("what", "missing", "why"),
    [
        ("no lungs", set(MARKERS), NO_LUNG),
        ("no heart", {"cardiothoracic_ratio"}, "no heart mask"),
        ("empty heart", {"cardiothoracic_ratio"}, "the heart mask is empty"),
        (
            "one lung",
            {"cardiothoracic_ratio", "left_lung_area", "left_lung_height", "left_right_area_ratio"},
            "only one lung in the mask",
        ),
    ],
)
def test_what_a_film_does_not_define_is_none_and_says_why(what: str, missing: set[str], why: str) -> None:
    film, lung, heart = film_and_masks()
    if what == "no lungs":
        lung[:] = 0
    elif what == "one lung":
        lung[:, 40:] = 0
    given = None if what == "no heart" else np.zeros_like(heart) if what == "empty heart" else heart
    found = lung_markers(film, lung, given)
    assert {name for name, value in found.values.items() if value is None} == missing
    assert found.why == dict.fromkeys(found.why, why) and set(found.why) == missing


def test_patches_tell_grey_that_changes_over_the_lungs_from_texture() -> None:
    rows, columns = np.mgrid[:128, :128]
    lung = np.ones((128, 128), np.uint8)
    ramp = (columns * 2).astype(np.uint8)
    fine = np.where((rows + columns) % 2, 160, 100).astype(np.uint8)
    options = {"frame": 128, "size": 16, "count": 60}
    slow, quick = patch_intensity(ramp, lung, **options), patch_intensity(fine, lung, **options)
    assert slow["inter_patch_std"] > 5 * slow["intra_patch_std"]  # type: ignore[operator]
    # Chequers: each patch has as many of both, mean 130 and deviation 30 exactly.
    assert quick == {"inter_patch_mean": 130.0, "inter_patch_std": 0.0, "intra_patch_std": 30.0}


def test_only_lung_pixels_of_a_patch_count() -> None:
    lung = np.zeros((64, 64), np.uint8)
    lung[16:48, 16:48] = 1
    image = np.where(lung > 0, 70, 255).astype(np.uint8)
    found = patch_intensity(image, lung, frame=64, size=40, count=20)
    assert found == {"inter_patch_mean": 70.0, "inter_patch_std": 0.0, "intra_patch_std": 0.0}


def test_the_seed_decides_the_patches() -> None:
    film, lung, heart = film_and_masks()
    assert lung_markers(film, lung, heart, seed=1) == lung_markers(film, lung, heart, seed=1)
    one, other = (lung_markers(film, lung, heart, seed=seed).values for seed in (1, 2))
    assert one["inter_patch_std"] != other["inter_patch_std"] and one["lung_mean"] == other["lung_mean"]


def test_masks_of_another_size_are_refused() -> None:
    film, lung, heart = film_and_masks()
    for masks in ((lung[1:], heart), (lung, heart[1:])):
        with pytest.raises(DataError, match="expected one size"):
            lung_markers(film, *masks)
