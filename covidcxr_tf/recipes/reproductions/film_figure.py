"""Films beside their heat maps in one picture, and which films are shown: a rule, not a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.explain.explanation import Film, Mask
from covidcxr_tf.explain.overlay import heat_colours
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.report.figures import new_figure, save_figure


@dataclass(frozen=True)
class Shown:
    """A column of the picture.

    Attributes
    ----------
    title : str
        Above the bare film.
    film : ndarray of float32, (H, W)
    heats : tuple of ndarray, (H, W)
        Heat maps in [0, 1], one a row below the bare film.
    lungs : ndarray of uint8, (H, W), optional
        0/1; drawn as an outline on each heat map.
    """

    title: str
    film: Film
    heats: tuple[Film, ...]
    lungs: Mask | None = None


def nearest_median(values: pd.Series, count: int) -> list[int]:
    """Return the index labels of up to `count` values in the middle of the sorted ones, from small to large."""
    ordered = values.sort_values(kind="stable")
    start = max(0, (len(ordered) - count) // 2)
    return [int(label) for label in ordered.index[start : start + count]]


def read_film(bench: Bench, path: str) -> Film:
    """Return a film of the bench's manifest by its ``path``.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    row = int(np.flatnonzero(bench.manifest["path"].eq(path))[0])
    return read_image(film_path(bench.manifest, row))


def draw_films(shown: Sequence[Shown], rows: Sequence[str], headline: str, path: Path) -> Path:
    """Write the picture: bare films on top, a row of heat maps below for each name of `rows`.

    It holds films: write it into a run's own folder, not among the figures that are published.
    """
    figure, axes = new_figure(1 + len(rows), len(shown), width=2.4, height=2.6)
    for column, one in enumerate(shown):
        for row, heat in enumerate((None, *one.heats)):
            place = axes[row * len(shown) + column]
            place.imshow(one.film, cmap="gray", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
            if heat is not None:
                place.imshow(heat, cmap=heat_colours(), vmin=0, vmax=1)
                if one.lungs is not None and one.lungs.any():
                    place.contour(one.lungs, levels=[0.5], colors="white", linewidths=0.6)
            if column == 0:
                place.set_ylabel(("film", *rows)[row], fontsize=8)
        axes[column].set_title(one.title, fontsize=8)
    figure.suptitle(headline, fontsize=10)
    return save_figure(figure, path)
