"""Films drawn by whole patients, and the picture of films beside their heat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr_tf.recipes.reproductions.film_figure import Shown, draw_films, nearest_median
from covidcxr_tf.recipes.reproductions.samples import draw_patients, of_sources

FILMS = pd.DataFrame({"patient_id": np.repeat([f"p{k:02d}" for k in range(30)], np.arange(30) % 3 + 1)})


@pytest.mark.parametrize("count", [0, 1, 7, 20, 60, 1000])
def test_whole_patients_up_to_a_count(count: int) -> None:
    chosen = draw_patients(FILMS, count, seed=3)
    films = FILMS["patient_id"].isin(chosen).sum()
    assert len(set(chosen)) == len(chosen)
    # Patients of one film are there for every small rest, until all are drawn.
    assert films == min(count, len(FILMS))
    assert chosen == draw_patients(FILMS.sample(frac=1, random_state=1), count, seed=3)


def test_seeds_and_streams_draw_others() -> None:
    drawn = {draw_patients(FILMS, 20, seed, stream) for seed in range(4) for stream in range(4)}
    assert len(drawn) == 16


def test_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    single = pd.DataFrame({"patient_id": [f"p{k}" for k in range(40)]})
    assert draw_patients(single, 30, 5)[:12] == draw_patients(single, 12, 5)


def test_sources_are_chosen_before() -> None:
    films = pd.DataFrame({"path": list("abc"), "source": ["x", "y", "x"]})
    films.attrs["root"] = "here"
    chosen = of_sources(films, ("x",))
    assert chosen["path"].tolist() == ["a", "c"] and chosen.index.tolist() == [0, 1] and chosen.attrs == films.attrs
    assert of_sources(films, ()) is films
    assert of_sources(films[["path"]], ("x",)).equals(films[["path"]])


def test_the_films_next_to_the_median() -> None:
    values = pd.Series([9.0, 1.0, 5.0, 3.0, 7.0], index=[10, 11, 12, 13, 14])
    assert nearest_median(values, 3) == [13, 12, 14]
    assert nearest_median(values, 9) == [11, 13, 12, 14, 10]
    assert nearest_median(values[:0], 2) == []


def test_the_picture_has_a_row_for_the_film_and_each_map(tmp_path: Path) -> None:
    film = np.full((20, 30), 0.5, np.float32)
    heat = np.zeros((20, 30), np.float32)
    heat[5:9, 5:9] = 1
    shown = [Shown("one", film, (heat, heat), (heat > 0).astype(np.uint8)), Shown("two", film, (heat, heat))]
    picture = np.asarray(
        Image.open(draw_films(shown, ("first", "second"), "maps", tmp_path / "maps.png")).convert("RGB")
    )
    assert picture.shape[0] / picture.shape[1] == pytest.approx(3 * 2.6 / (2 * 2.4), rel=0.02)
    coloured = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 60
    third = picture.shape[0] // 3
    assert not coloured[:third].any() and coloured[third : 2 * third].any() and coloured[2 * third :].any()
