"""Nothing is let in: no code in models, no way out of a folder, no address fetched."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import CovidcxrError, ImageError, WeightsError
from covidcxr_tf.imaging.reading import find_images, image_size, read_image, read_mask
from covidcxr_tf.models.files import load_model, save_model
from covidcxr_tf.predict import load_any

ADDRESSES = ("http://127.0.0.1:9/film.png", "https://example.org/film.dcm", "ftp://example.org/f", "file:///etc/passwd")


class Planted:
    """Whoever unpickles this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_fetched(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def caught(self: Any, *arguments: Any) -> None:
        opened.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", caught)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: caught(None, *arguments))
    for read in (read_image, image_size, read_mask, lambda path: find_images([path])):
        with pytest.raises(ImageError) as fault:
            read(address)
        assert "no such file" in str(fault.value)
    for load in (load_model, load_any):
        with pytest.raises(WeightsError):
            load(address)
    assert opened == []


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = keras.Input((8, 8, 1), name="image")
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(image))
    return save_model(keras.Model(image, logits), tmp_path_factory.mktemp("plain") / "model.keras", {"name": "plain"})


def _changed(model: Path, target: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(target, "w") as archive:
        for member in source.namelist():
            archive.writestr(member, content if member == name else source.read(member))
        if name not in source.namelist():
            archive.writestr(name, content)
    return target


def test_a_lambda_layer_is_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    place = str(mark)
    image = keras.Input((8, 8, 1), name="image")
    evil = keras.Model(image, keras.layers.Lambda(lambda x: (__import__("os").mkdir(place), x)[1])(image))
    mark.rmdir()  # building the model has run it once
    evil.save(tmp_path / "evil.keras")
    with pytest.raises(WeightsError, match="Lambda layer, which is code from the file and is not run"):
        load_model(tmp_path / "evil.keras")
    assert not mark.exists()


@pytest.mark.parametrize("module", ["os", "builtins", "subprocess", "keras.src.utils.file_utils"])
def test_a_layer_from_another_module_is_refused(module: str, tmp_path: Path, plain_model: Path) -> None:
    """A config may name any class of any module: Keras would import it."""
    with zipfile.ZipFile(plain_model) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1] |= {"module": module, "class_name": "system", "registered_name": "system"}
    evil = _changed(plain_model, tmp_path / "evil.keras", "config.json", json.dumps(config).encode())
    with pytest.raises(WeightsError):
        load_model(evil)


def test_pickles_are_never_opened(tmp_path: Path, plain_model: Path) -> None:
    mark = tmp_path / "was here"
    packed = pickle.dumps(Planted(mark))
    objects = io.BytesIO()
    np.savez(objects, weights=np.array([Planted(mark)], dtype=object))
    for name, content in {"model.keras": packed, "a.pkl": packed, "a.npz": objects.getvalue()}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CovidcxrError):
            load_any(tmp_path / name)
        with pytest.raises(ImageError):
            read_image(tmp_path / name)
    for inside in ("model.weights.h5", "model.weights.npz", "assets/a.pkl"):
        evil = _changed(plain_model, tmp_path / "inside.keras", inside, objects.getvalue())
        if inside == "assets/a.pkl":
            load_model(evil)
        elif inside == "model.weights.h5":
            with pytest.raises(WeightsError):
                load_model(evil)
    assert not mark.exists()


def test_a_saved_model_is_named_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    with pytest.raises(WeightsError, match="SavedModel"):
        load_model(tmp_path)


def test_the_lung_network_beside_a_model_is_checked_by_its_hash(tmp_path: Path, plain_model: Path) -> None:
    from covidcxr_tf.config import ImageConfig

    image = ImageConfig(size=32, channels=("raw",), lungs="crop").model_dump(mode="json")
    seen = keras.Input((32, 32, 1), name="image")
    model = keras.Model(seen, keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(seen)))
    facts = {"task": "classification", "classes": ["a", "b"], "image": image}
    save_model(model, tmp_path / "model.keras", {**facts, "lung_model": {"name": "other", "sha256": "0" * 64}})
    (tmp_path / "lung_model.keras").write_bytes(plain_model.read_bytes())
    with pytest.raises(WeightsError, match="was trained with the lung network other, sha256 000000000000"):
        load_any(tmp_path)


def test_a_manifest_leads_nowhere_else(tmp_path: Path, covidcxr: Callable[..., Any]) -> None:
    inside, outside = tmp_path / "films", tmp_path / "secret.png"
    inside.mkdir()
    outside.write_bytes(b"secret")
    (inside / "link.png").symlink_to(outside)
    (inside / "folder").symlink_to(tmp_path)
    for path in ("link.png", "folder/secret.png", "../secret.png", str(outside)):
        manifest = inside / "manifest.csv"
        pd.DataFrame({"path": [path], "label": ["normal"], "patient_id": ["1"]}).to_csv(manifest, index=False)
        with pytest.raises(CovidcxrError, match=r"outside|absolute|leads"):
            from covidcxr_tf.data.manifest import film_path

            film_path(load_manifest(manifest), 0)


def test_files_of_quarantine_and_dicom_output_are_the_users_alone(tmp_path: Path) -> None:
    from covidcxr_tf.dicom.out import write_private

    before = os.umask(0)
    try:
        path = write_private(tmp_path / "quarantine" / "film.dcm", b"film")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
