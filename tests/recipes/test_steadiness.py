"""scripts/steadiness.py: how far an answer moves when only the film's file changes."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from covidcxr_tf.predict import load_model_for_films

SCRIPT = Path(__file__).parents[2] / "scripts" / "steadiness.py"


@pytest.fixture(scope="module")
def steadiness() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_a_table_of_every_way(steadiness: dict, base_run: Path, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "moved.csv"
    words = ["--model", str(base_run), "--data", str(base_run / "split.csv"), "--root", str(phantoms.parent)]
    done = CliRunner().invoke(steadiness["main"], [*words, "--films", "2", "--out", str(out)])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out)
    assert table.groupby("way", sort=False).size().to_dict() == dict.fromkeys(steadiness["WAYS"], 2)
    assert table["moved"].between(0, 1).all() and table["moved"].max() > 0
    assert "a pixel cut off, box kept" in done.output


def test_an_answer_is_that_of_predict_and_a_flat_film_never_moves(steadiness: dict, base_run: Path) -> None:
    loaded = load_model_for_films(str(base_run))
    film = np.random.default_rng(0).random((70, 80), dtype=np.float32)
    np.testing.assert_allclose(steadiness["answer"](loaded, film, film)[1], loaded.predict([film])[0], atol=1e-6)
    flat = np.full((70, 80), 0.4, np.float32)
    aside = steadiness["WAYS"]["a pixel cut off"](flat, None)
    assert aside.shape == (69, 79)
    for cut, whole in zip(steadiness["answer"](loaded, aside, aside), steadiness["answer"](loaded, flat, flat)):
        np.testing.assert_array_equal(cut, whole)


def test_what_the_ways_change_is_small(steadiness: dict) -> None:
    film = np.random.default_rng(1).random((64, 64), dtype=np.float32) * np.float32(0.2) + np.float32(0.4)
    random = np.random.default_rng(2)
    for way, most in (("JPEG of quality 95", 12), ("WebP of quality 95", 20), ("half a level of 255", 0.5)):
        moved = np.abs(steadiness["WAYS"][way](film, random) - film)
        assert 0 < moved.max() * 255 <= most + 1e-3
