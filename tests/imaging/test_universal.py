from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr_tf import catalog
from covidcxr_tf.imaging.enhance import enhance_film
from covidcxr_tf.imaging.equalise import equalize
from covidcxr_tf.imaging.universal import gamma_table, universal


def test_by_hand() -> None:
    # Equalised: 0, 85, 255 (tests of `equalize`); then 255 sqrt(85 / 255) = 147.2.
    image = np.array([[10, 10, 10], [20, 30, 30]], np.uint8)
    assert universal(image).tolist() == [[0, 0, 0], [147, 255, 255]]
    assert universal(image, gamma=2).tolist() == [[0, 0, 0], [28, 255, 255]]


@pytest.mark.parametrize("gamma", [0.2, 0.5, 1.0, 3.0])
def test_the_table_is_the_curve_level_by_level(gamma: float) -> None:
    table = gamma_table(gamma)
    assert table.dtype == np.uint8
    assert table.tolist() == [round(255 * math.pow(level / 255, gamma)) for level in range(256)]


def test_gamma_one_is_equalisation_alone() -> None:
    image = np.random.default_rng(0).normal(120, 30, (40, 30)).clip(0, 255).astype(np.uint8)
    assert np.array_equal(universal(image, 1.0), equalize(image))


def test_films_of_other_brightness_and_slope_come_out_alike() -> None:
    image = np.random.default_rng(1).integers(0, 80, (50, 50)).astype(np.uint8)
    assert np.array_equal(universal(image), universal((3 * image + 10).astype(np.uint8)))


def test_one_level_gets_the_curve_only() -> None:
    assert np.unique(universal(np.full((4, 5), 64, np.uint8))).tolist() == [128]  # 255 sqrt(64 / 255) = 127.7


@pytest.mark.parametrize("gamma", [0, -1, math.inf, math.nan])
def test_a_gamma_that_means_nothing_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        universal(np.zeros((2, 2), np.uint8), gamma)


def test_enhance_writes_it_with_its_gamma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalog.Entry("covidcxr_tf.imaging.universal:universal", "equalisation and a gamma curve")
    monkeypatch.setitem(catalog.ENHANCERS, "universal", entry)
    image = np.random.default_rng(2).integers(30, 200, (40, 32), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "film.png")
    for gamma, expected in ((None, universal(image)), (0.8, universal(image, 0.8))):
        written = enhance_film(tmp_path / "film.png", tmp_path / "out", "universal", gamma)
        assert np.array_equal(np.asarray(Image.open(written[0])), expected)
