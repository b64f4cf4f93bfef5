"""The picture: its size, that the left film is bare, that heat and outline lie on the right one, and odd names."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.explain.overlay import draw, heat_colours, picture, shorten, subtitle, weight_colours

# the panels of the bare film and of the overlay, in pixels of the picture
ROWS, LEFT, RIGHT = slice(90, 564), slice(12, 528), slice(540, 1056)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(part: np.ndarray) -> np.ndarray:
    return part.max(axis=-1) - part.min(axis=-1) > 12


@pytest.mark.parametrize("shape", [(80, 160), (300, 90), (1500, 2100), (32, 32)])
def test_picture_is_1200_by_600_with_colour_on_the_right_only(shape: tuple[int, int], stand_in: Any) -> None:
    film = np.random.default_rng(0).random(shape).astype(np.float32) * 0.4
    film[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 1.0
    shown = pixels(picture(explain_film(stand_in(), film, target="covid19"), film, "film.png"))
    assert shown.shape == (600, 1200, 3)
    assert not coloured(shown[ROWS, : RIGHT.start]).any()
    assert coloured(shown[ROWS, RIGHT]).mean() > 0.02


def test_film_is_seen_on_both_sides(stand_in: Any, film: np.ndarray) -> None:
    """Without heat and lungs, both panels show the same film, dark with a bright square."""
    found = explain_film(stand_in(), film, target="normal")
    assert not found.heatmap.any()
    shown = pixels(picture(found, film, "film.png"))
    left, right = shown[ROWS, LEFT], shown[ROWS, RIGHT]
    np.testing.assert_allclose(left, right, atol=4)
    assert left.min() < 20 and (left > 220).mean() > 0.05


def test_heat_is_red_where_it_is_largest(stand_in: Any, film: np.ndarray) -> None:
    shown = pixels(picture(explain_film(stand_in(), film, target="covid19"), film, "film.png"))
    panel = shown[ROWS, RIGHT]
    rows, columns = np.nonzero(panel[..., 0] > panel[..., 2] + 100)
    # 80 x 160 film in a panel of 516 x 474: 3.2 pixels each, 108 rows of white above it. The square's rows 20-39 are
    # then 172-237, its columns 40-79 are 129-258.
    assert 172 < rows.mean() < 237 and 129 < columns.mean() < 258
    assert len(rows) > 1000 and rows.min() > 140 and columns.max() < 300


def test_outline_of_the_lungs(stand_in: Any, film: np.ndarray) -> None:
    region = np.zeros((8, 16), dtype=np.uint8)
    region[2:6, 3:7] = 1
    with_lungs = explain_film(stand_in(region=region), film, target="normal")
    shown = pixels(picture(with_lungs, film, "film.png"))
    assert coloured(shown[ROWS, RIGHT]).any() and not coloured(shown[ROWS, : RIGHT.start]).any()


def test_lung_at_the_border_does_not_move_the_film(stand_in: Any, film: np.ndarray) -> None:
    region = np.ones((8, 16), dtype=np.uint8)
    figure = draw(explain_film(stand_in(region=region), film, target="covid19"), film, "film.png")
    bare, overlay = figure.axes[:2]
    assert bare.get_xlim() == overlay.get_xlim() and bare.get_ylim() == overlay.get_ylim()


def test_lime_shows_green_for_red_against_and_a_legend(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(), film, "lime", "covid19", samples=200)
    figure = draw(found, film, "film.png")
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["for covid19", "against covid19"]
    for sign, channel in ((1, 1), (-1, 0)):
        target = "covid19" if sign > 0 else "normal"
        shown = pixels(picture(explain_film(stand_in(), film, "lime", target, samples=200), film, "film.png"))
        panel = shown[90:450, RIGHT]  # above the legend
        strongest = panel[..., channel] - panel[..., 1 - channel]
        assert (strongest > 60).sum() > 1000 and (strongest < -60).sum() < 0.1 * (strongest > 60).sum()


def test_title_tells_name_class_probability_target_and_method(stand_in: Any, film: np.ndarray) -> None:
    region = np.ones((8, 16), dtype=np.uint8)
    found = explain_film(stand_in(region=region), film, "gradcam++", "covid19")
    texts = " ".join(text.get_text() for text in draw(found, film, "patient 7.png").texts)
    for part in (
        "patient 7.png",
        f"predicted normal, probability {found.probabilities['normal']:.2f}",
        f"gradcam++ for covid19 (probability {found.probabilities['covid19']:.2f})",
        "100 % of the heat in the lungs",
        "not for diagnosis",
        "stand_in",
    ):
        assert part in texts
    assert "whole film" in subtitle(explain_film(stand_in(status=2), film))


@pytest.mark.parametrize("name", ["$\\frac{1$.png", "a" * 300 + ".png", "雨\u202e\n\x00.png", "", "%s {0}"])
def test_any_name_can_be_drawn(name: str, stand_in: Any, film: np.ndarray, recwarn: pytest.WarningsRecorder) -> None:
    assert picture(explain_film(stand_in(), film), film, name)[:4] == b"\x89PNG"
    assert not [warning for warning in recwarn if "covidcxr" in str(warning.filename)]


def test_shorten() -> None:
    assert shorten("film.png", 8) == "film.png"
    assert shorten("0123456789", 7) == "012…789"
    assert shorten("0123456789", 6) == "01…789"
    assert shorten("a\nb", 9) == "a?b"


def test_colours_are_clear_where_there_is_nothing() -> None:
    assert heat_colours()(0.0)[3] == 0 and heat_colours()(1.0)[3] > 0.5
    red, _, blue, _ = heat_colours()(1.0)
    assert red > blue
    red, green, _, strength = weight_colours()(1.0)
    assert green > red and strength > 0.5
    red, green, _, strength = weight_colours()(0.0)
    assert red > green and strength > 0.5
    assert weight_colours()(0.5)[3] < 0.01
