"""Masks against drawings: lungs together, and class by class where hearts are drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.judging import judge_masks, overlap_table
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.anatomy import HEART, LEFT_LUNG, RIGHT_LUNG


@pytest.fixture
def films(anatomy_drawn: np.ndarray, tmp_path: Path) -> Path:
    """Return three films drawn as `anatomy_drawn`, with lung behind the heart; the last one's heart is not drawn."""
    lung, heart = (anatomy_drawn >= LEFT_LUNG).astype(np.uint8), (anatomy_drawn == HEART).astype(np.uint8)
    lung[16:24, 20:23] = 1  # behind the heart, whose left border lies over the left lung
    film = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    for name, picture in (("film", film), ("lung", lung * 255), ("heart", heart * 255)):
        (tmp_path / f"{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes((tmp_path / "film.png").read_bytes())
    table = {
        "path": ["a.png", "b.png", "c.png"],
        "label": "normal",
        "patient_id": ["1", "2", "3"],
        "mask_path": "lung.png",
        "heart_mask_path": ["heart.png", "heart.png", ""],
    }
    pd.DataFrame(table).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def test_a_network_that_draws_alike_is_right_in_every_class(anatomy_model: Path, films: Path) -> None:
    table = overlap_table(LungFinder.load(anatomy_model), load_manifest(films))
    organs = ["heart", "left_lung", "right_lung"]
    scores = table[["dice", "jaccard", *(f"{kind}_{organ}" for organ in organs for kind in ("dice", "jaccard"))]]
    # The drawn lung behind the heart does not count against it where the heart is drawn too.
    assert (scores.iloc[:2] == 1).all(axis=None)
    # Without a drawing of the heart the lungs are held against the drawing as it is: 8 x 3 pixels more.
    both = 2 * 24 * 9 - 11 * 3
    assert scores.loc[2, "dice"] == pytest.approx(2 * both / (2 * both + 24))
    assert scores.iloc[2].drop(["dice", "jaccard"]).isna().all()


def test_each_class_is_judged_by_itself(
    anatomy_of: Callable[[np.ndarray], Path], anatomy_drawn: np.ndarray, films: Path, tmp_path: Path
) -> None:
    swapped = anatomy_drawn.copy()
    swapped[anatomy_drawn == LEFT_LUNG], swapped[anatomy_drawn == RIGHT_LUNG] = RIGHT_LUNG, LEFT_LUNG
    metrics = judge_masks(str(anatomy_of(swapped)), str(films), None, None, tmp_path / "out")
    assert metrics["by_class"]["heart"]["dice"]["value"] == 1
    assert (
        metrics["by_class"]["left_lung"]["jaccard"]["value"] == metrics["by_class"]["right_lung"]["dice"]["value"] == 0
    )
    assert metrics["by_class"]["heart"]["n"] == 2
    assert metrics["n"] == 3
    assert pd.read_csv(tmp_path / "out" / "overlap.csv")["dice"].tolist()[:2] == [1, 1]  # both lungs together


def test_a_network_for_lungs_is_judged_as_before(shipped_lungs: Path, films: Path) -> None:
    table = overlap_table(LungFinder.load(), load_manifest(films))
    assert [name for name in map(str, table) if name.startswith(("dice", "jaccard"))] == ["dice", "jaccard"]
    # Three copies of one film and one drawing: the hearts make no difference.
    assert table["dice"].tolist() == [table.loc[0, "dice"]] * 3


def test_masks_of_patients_that_the_network_was_trained_on_do_not_judge(
    anatomy_model: Path, films: Path, tmp_path: Path
) -> None:
    split = anatomy_model.parent / "split.csv"
    split.write_text("path,patient_id,split\na.png,1,train\nz.png,9,test\n")
    with pytest.raises(SplitError, match="1 of 3 films are of patients that the model was trained on"):
        judge_masks(str(anatomy_model), str(films), None, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    split.write_text("path,patient_id,split\nz.png,9,train\n")
    assert judge_masks(str(anatomy_model), str(films), None, None, tmp_path / "out")["n"] == 3
