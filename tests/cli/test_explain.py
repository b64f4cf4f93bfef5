"""`covidcxr explain` from end to end: a small saved model with its lung network, real files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from covidcxr_tf.cli.main import main
from covidcxr_tf.config import ImageConfig
from covidcxr_tf.models.files import model_digest, save_model


def classifier() -> keras.Model:
    """Four-pixel cells of the raw film, averaged: the brighter, the more 'covid19'."""
    inputs = keras.Input((32, 32, 1), name="image")
    cells = keras.layers.AveragePooling2D(4, name="cells")(inputs)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(cells))
    model = keras.Model(inputs, logits)
    model.get_layer("logits").set_weights([np.array([[-5.0, 5.0]]), np.array([1.0, -1.0])])
    return model


def lung_network() -> keras.Model:
    """What is darker than .5 is lung."""
    inputs = keras.Input((64, 64, 1), name="image")
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, name="logits")(inputs))
    model.get_layer("logits").set_weights([np.full((1, 1, 1, 1), -40.0), np.array([20.0])])
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a classifier and the lung network that it was trained with."""
    folder = tmp_path_factory.mktemp("run")
    lungs = ImageConfig(size=64, channels=("raw",), lungs="none").model_dump(mode="json")
    save_model(
        lung_network(),
        folder / "lung_model.keras",
        {"name": "small_lungs", "arch": "unet", "task": "segmentation", "classes": ["lung"], "image": lungs},
    )
    facts = {
        "name": "small",
        "arch": "",
        "task": "classification",
        "classes": ["normal", "covid19"],
        "positive": "covid19",
        "image": ImageConfig(size=32, channels=("raw",), lungs="crop").model_dump(mode="json"),
        "lung_model": {"name": "small_lungs", "sha256": model_digest(folder / "lung_model.keras")},
    }
    save_model(classifier(), folder / "model.keras", facts)
    return folder


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with two films: grey, two dark lungs, an opacity in the left one of the second."""
    folder = tmp_path / "films"
    folder.mkdir()
    film = np.full((120, 160), 200, dtype=np.uint8)
    film[20:100, 20:70] = film[20:100, 90:140] = 30
    Image.fromarray(film).save(folder / "clear.png")
    film[70:90, 100:130] = 110
    Image.fromarray(film).save(folder / "opacity.jpg", quality=95)
    return folder


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["explain", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_folder_of_films(run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert call(films, "--model", run, "--out", out, "--target", "covid19") == 0
    output = capsys.readouterr()
    assert "for research, not for diagnosis" in output.err
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}_gradcam.{suffix}" for stem in ("clear", "opacity") for suffix in ("png", "npy", "json")
    )
    for path in out.iterdir():
        assert str(path) in output.out
    facts = json.loads((out / "opacity_gradcam.json").read_text())
    line = next(line for line in output.out.splitlines() if line.startswith(f"{films / 'opacity.jpg'}: "))
    assert facts["predicted"] in line and f"covid19 {facts['probabilities']['covid19']:.3f}" in line
    assert output.out.startswith("model: small, ")
    assert facts["model"] == {"name": "small", "sha256": model_digest(run / "model.keras"), "file": "model.keras"}
    heat = np.load(out / "opacity_gradcam.npy")
    assert heat.shape == (120, 160) and not heat[:5].any()  # the crop ends a margin above the lungs
    assert 0 < facts["heat_in_lungs"] < 1 and facts["lung_mask_quality"]["verdict"]


def test_bad_film_among_good_ones(run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (films / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    out = tmp_path / "out"
    arguments = (films / "clear.png", films / "broken.png", tmp_path / "missing.png", films / "opacity.jpg")
    assert call(*arguments, "--model", run, "--out", out, "--json") == 3
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert [Path(entry["path"]).name for entry in document["films"]] == ["clear.png", "opacity.jpg"]
    assert sorted(Path(entry["path"]).name for entry in document["failed"]) == ["broken.png", "missing.png"]
    errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert (
        len(errors) == 2
        and any("broken.png" in line for line in errors)
        and any("missing.png" in line for line in errors)
    )
    assert not list(out.glob("broken*")) and len(list(out.iterdir())) == 6


def test_only_bad_films(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to explain: no model is looked for, nothing is written."""
    assert call(tmp_path / "missing.png", "--model", tmp_path / "no_model", "--out", tmp_path / "out") == 3
    assert "missing.png: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_films_of_one_name(run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / "clear.png").write_bytes((films / "clear.png").read_bytes())
    out = tmp_path / "out"
    assert call(films / "clear.png", second, films / "clear.png", "--model", run, "--out", out) == 0
    assert sorted(path.name for path in out.glob("*.json")) == ["clear_2_gradcam.json", "clear_gradcam.json"]


def test_lime_with_json(run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ("--model", run, "--out", out, "--method", "lime", "--samples", 50, "--seed", 4, "--json")
    assert call(films / "opacity.jpg", *arguments) == 0
    output = capsys.readouterr()
    entry = json.loads(output.out)["films"][0]
    assert entry["lime"]["samples"] == 50 and entry["seed"] == 4 and len(entry["lime"]["weights"]) > 5
    assert "50/50 samples" in output.err and "%|" not in output.err  # ours, not tqdm's bar


def test_shipped_model_is_named(
    run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "models" / "covid_cxnet" / "1"
    version.mkdir(parents=True)
    for name in ("model.keras", "lung_model.keras"):
        (version / name).write_bytes((run / name).read_bytes())
    monkeypatch.setattr("covidcxr_tf.models.shipped.model_folders", lambda: [tmp_path / "models"])
    assert call(films / "clear.png", "--out", tmp_path / "out", "--method", "saliency") == 0
    assert capsys.readouterr().out.startswith("shipped model: small, version 1, sha256 ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--target", "covid"], 2, "'covid' is no class of the model small; expected normal, covid19"),
        (["--method", "gradcm"], 2, "gradcam"),
        (["--samples", "1"], 2, "--samples"),
        (["--seed", "-1"], 2, "--seed"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    code: int,
    message: str,
    run: Path,
    films: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(films, "--model", run, "--out", tmp_path / "out", *arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_film_and_a_file_as_folder(
    run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--model", run) == 2
    assert call(films, "--model", run, "--out", films / "clear.png") == 2
    assert "is a file" in capsys.readouterr().err


def test_missing_model(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(films, "--model", tmp_path / "none.keras", "--out", tmp_path / "out") == 3
    assert "none.keras" in capsys.readouterr().err


@pytest.fixture
def manifest(films: Path) -> Path:
    """A manifest of the two films, with a mask among them that is no film."""
    (films / "mask.png").write_bytes((films / "clear.png").read_bytes())
    path = films / "manifest.csv"
    path.write_text("path,mask_path\nclear.png,mask.png\nopacity.jpg,\n")
    return path


def test_films_of_a_manifest_and_not_its_masks(
    run: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(manifest, "--model", run, "--out", tmp_path / "out", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["film"] for entry in document["films"]] == ["clear.png", "opacity.jpg"]
    assert not list((tmp_path / "out").glob("mask*"))


def test_manifest_that_lies_elsewhere(
    run: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere" / "films.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(manifest.read_bytes())
    (manifest.parent / "opacity.jpg").unlink()  # a film that is missing is named; the others are explained
    arguments = (elsewhere, "--model", run, "--out", tmp_path / "out", "--json")
    assert call(*arguments, "--root", manifest.parent) == 3
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert [entry["film"] for entry in document["films"]] == ["clear.png"]
    assert [Path(entry["path"]).name for entry in document["failed"]] == ["opacity.jpg"]


def test_manifest_with_a_fault_and_manifest_among_films(
    run: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", run, "--out", tmp_path / "out")
    assert call(manifest, manifest.parent / "clear.png", *arguments) == 2
    assert "a manifest stands alone" in capsys.readouterr().err
    manifest.write_text("path\n/etc/passwd\n")
    assert call(manifest, *arguments) == 3
    assert "manifest.csv, row 2, column path" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
