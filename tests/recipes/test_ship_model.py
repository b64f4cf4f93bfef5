"""scripts/ship_model.py: half the size, the same answers, nothing that names a film or a place."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from covidcxr_tf.models.files import load_model, model_digest

SCRIPT = Path(__file__).parents[2] / "scripts" / "ship_model.py"


@pytest.fixture(scope="module")
def ship() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_a_run_becomes_a_version_folder(ship: dict, base_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "covid_base" / "1"
    words = [str(base_run), str(target), "--limit", "synthetic films only", "--data-note", "phantoms"]
    done = CliRunner().invoke(ship["main"], words)
    assert done.exit_code == 0, done.output
    card = json.loads((target / "card.json").read_text())
    assert card["model"]["sha256"] == model_digest(target / "model.keras")
    assert card["limits"][0] == "synthetic films only"
    assert json.loads((target / "metrics.json").read_text()) == json.loads((base_run / "metrics.json").read_text())
    whole, half = (load_model(folder / "model.keras")[0] for folder in (base_run, target))
    films = np.random.default_rng(0).random((4, *whole.input_shape[1:]), dtype=np.float32)
    np.testing.assert_allclose(whole(films), half(films), atol=5e-3)
    assert (target / "model.keras").stat().st_size < 0.7 * (base_run / "model.keras").stat().st_size


def test_nothing_that_names_a_film_or_a_place_goes_along(ship: dict, base_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "shipped" / "1"
    assert CliRunner().invoke(ship["main"], [str(base_run), str(target)]).exit_code == 0
    films = set(pd.read_csv(base_run / "split.csv")["path"])
    config = (base_run / "config.toml").read_text()
    place = config.split('manifest = "')[1].split('"')[0]
    for path in target.rglob("*"):
        if path.suffix in (".json", ".csv", ".toml", ".md"):
            text = path.read_text()
            assert place not in text
            assert not [film for film in films if film in text]


def test_a_version_is_never_overwritten(ship: dict, base_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "1"
    target.mkdir()
    done = CliRunner().invoke(ship["main"], [str(base_run), str(target)])
    assert done.exit_code != 0
    assert list(target.iterdir()) == []


def test_weights_that_lose_too_much_are_not_shipped(
    ship: dict, base_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ship["main"].callback.__globals__, "largest_difference", lambda *args: 0.01)
    done = CliRunner().invoke(ship["main"], [str(base_run), str(tmp_path / "1")])
    assert done.exit_code != 0
    assert "1.0e-02" in done.output
    assert not (tmp_path / "1").exists()


def test_charts_keep_their_look_with_fewer_colours_and_films_all_of_theirs(ship: dict, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    blend = np.linspace(0, 1, 1000)[:, np.newaxis]
    lines = np.rint(blend * [40, 120, 180] + (1 - blend) * 255).astype(np.uint8)  # the soft edges of a line on white
    chart = np.repeat(lines[np.newaxis], 40, axis=0)
    film = random.integers(0, 256, (80, 80, 3), np.uint8)
    for name, pixels in (("chart", chart), ("film", film)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        before = (tmp_path / f"{name}.png").read_bytes()
        ship["fewer_colours"](tmp_path / f"{name}.png")
        after = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"), int)
        if name == "film":
            assert (tmp_path / "film.png").read_bytes() == before
        else:
            assert np.abs(after - pixels).max() <= 4
            assert len(np.unique(after.reshape(-1, 3), axis=0)) <= 256 < len(np.unique(lines, axis=0))
