"""Drawn masks: read at the film's size, made small, refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import ConfigError, ImageError, ManifestError
from covidcxr_tf.lungs.anatomy import CLASSES, HEART, LEFT_LUNG, RIGHT_LUNG
from covidcxr_tf.lungs.drawn_masks import check_classes, drawn_mask, has_heart_masks, small_mask, with_heart_masks


@pytest.fixture
def films(tmp_path: Path) -> pd.DataFrame:
    """Return a manifest of three films of 48 x 64 px, the last without a mask of its heart."""
    lung, heart = np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8)
    lung[8:40, 4:28] = lung[8:40, 36:60] = 255
    heart[24:40, 24:44] = 255
    for name, picture in (("lung", lung), ("heart", heart), ("wrong", lung[:, :-1])):
        (tmp_path / f"{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    table = {
        "path": ["a.png", "b.png", "c.png"],
        "label": "normal",
        "patient_id": ["1", "2", "3"],
        "mask_path": "lung.png",
        "heart_mask_path": ["heart.png", "wrong.png", ""],
    }
    pd.DataFrame(table).to_csv(tmp_path / "manifest.csv", index=False)
    return load_manifest(tmp_path / "manifest.csv")


def test_lungs_alone_or_every_class(films: pd.DataFrame) -> None:
    lungs = drawn_mask(films, 0, (48, 64))
    assert set(np.unique(lungs)) == {0, 1}
    anatomy = drawn_mask(films, 0, (48, 64), CLASSES)
    assert (anatomy[10, 50], anatomy[10, 10], anatomy[30, 40], anatomy[30, 30], anatomy[2, 2]) == (
        LEFT_LUNG,
        RIGHT_LUNG,
        HEART,
        HEART,
        0,
    )
    np.testing.assert_array_equal(anatomy[:24] >= LEFT_LUNG, lungs[:24] == 1)


def test_a_mask_of_another_size_or_none_is_named(films: pd.DataFrame) -> None:
    with pytest.raises(ImageError, match=r"wrong\.png: mask is \(48, 63\), its film \(48, 64\)"):
        drawn_mask(films, 1, (48, 64), CLASSES)
    with pytest.raises(ManifestError, match="row 4, column heart_mask_path: there is no path"):
        drawn_mask(films, 2, (48, 64), CLASSES)


def test_small_masks_hold_the_class_that_covers_most() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 20:40] = HEART
    mask[:, 40:] = LEFT_LUNG
    small = small_mask(mask, 32, CLASSES)
    assert small.dtype == np.uint8
    # No class that lies between two numbers (0 and 2, say) may come up at their border.
    np.testing.assert_array_equal(small, np.repeat([[0] * 10 + [HEART] * 10 + [LEFT_LUNG] * 12], 32, axis=0))
    np.testing.assert_array_equal(small_mask((mask > 1).astype(np.uint8), 32), small == LEFT_LUNG)


def test_borders_of_far_numbers_make_no_number_between() -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[:, 25:] = RIGHT_LUNG  # the border falls within a small pixel
    assert set(np.unique(small_mask(mask, 32, CLASSES))) == {0, RIGHT_LUNG}


def test_films_without_a_heart_are_left_out_and_counted(
    films: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    assert has_heart_masks(films).tolist() == [True, True, False]
    kept = with_heart_masks(films)
    assert kept["path"].tolist() == ["a.png", "b.png"]
    assert kept.attrs == films.attrs
    assert "1 of 3 films have no mask of the heart" in capsys.readouterr().err
    assert len(with_heart_masks(kept)) == 2
    assert capsys.readouterr().err == ""


def test_no_heart_at_all_is_refused(films: pd.DataFrame) -> None:
    bare = films.drop(columns="heart_mask_path")
    assert has_heart_masks(bare).tolist() == [False] * 3
    for table in (bare, films.iloc[2:]):
        with pytest.raises(ManifestError, match="no film has a mask of its heart"):
            with_heart_masks(table)


def test_classes_are_these_or_none() -> None:
    check_classes(())
    check_classes(list(CLASSES))
    for wrong in (CLASSES[::-1], CLASSES[:3], ("lung",)):
        with pytest.raises(ConfigError, match="expected none"):
            check_classes(wrong)
