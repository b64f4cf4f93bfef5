"""Model files: save-load-equal, half size, and every way in which a file can be wrong."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import files

Films = Callable[..., np.ndarray]
FACTS = {"arch": "chexnet", "classes": ["normal", "covid19"], "threshold": np.float32(0.5), "counts": np.arange(3)}


@pytest.fixture(scope="module")
def saved(tiny_models: dict[str, keras.Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.save_model(tiny_models["chexnet"], tmp_path_factory.mktemp("saved") / "model.keras", FACTS)


def rewrite(source: Path, target: Path, changes: dict[str, bytes | None]) -> Path:
    """Copy an archive with members replaced, added, or left out (None)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name not in changes:
                new.writestr(name, old.read(name))
        for name, content in changes.items():
            if content is not None:
                new.writestr(name, content)
    return target


def member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


@pytest.mark.parametrize("name", ["base", "chexnet", "unet"])
@pytest.mark.parametrize("half", [False, True])
def test_loaded_model_gives_the_same(
    name: str, half: bool, tiny_models: dict[str, keras.Model], films: Films, tmp_path: Path
) -> None:
    model = tiny_models[name]
    path = files.save_model(model, tmp_path / "new folder" / "model.keras", {"arch": name}, half=half)
    loaded, facts = files.load_model(path)
    assert facts == {"schema_version": 1, "arch": name}
    assert {str(weight.dtype) for weight in loaded.weights} == {"float32"}
    images = films(model)
    np.testing.assert_allclose(loaded(images), model(images), rtol=0, atol=2e-3 if half else 0)
    plain = keras.models.load_model(path)
    np.testing.assert_array_equal(plain(images), loaded(images))
    assert [entry.name for entry in path.parent.iterdir()] == ["model.keras"]


def test_half_is_about_half_and_keeps_vectors_whole(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((128,)), keras.layers.Dense(400, name="wide"), keras.layers.BatchNormalization(name="norm")]
    )
    norm = model.get_layer("norm")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, beta, mean, np.full_like(variance, 1e-9)])  # 0 in float16
    whole = files.save_model(model, tmp_path / "whole.keras", {})
    half = files.save_model(model, tmp_path / "half.keras", {}, half=True)
    assert half.stat().st_size < 0.62 * whole.stat().st_size
    loaded, _ = files.load_model(half)
    assert loaded.get_layer("norm").get_weights()[3].min() == np.float32(1e-9)
    np.testing.assert_array_equal(
        loaded.get_layer("wide").get_weights()[0], model.get_layer("wide").get_weights()[0].astype(np.float16)
    )


def test_half_keeps_small_kernels_whole(tmp_path: Path) -> None:
    sides = (199, 251, 200)  # 49,949 and 50,200 values
    model = keras.Sequential([keras.Input((199,)), *(keras.layers.Dense(side) for side in sides[1:])])
    loaded, _ = files.load_model(files.save_model(model, tmp_path / "m.keras", {}, half=True))
    small, large = loaded.get_weights()[0], loaded.get_weights()[2]
    np.testing.assert_array_equal(small, model.get_weights()[0])
    np.testing.assert_array_equal(large, model.get_weights()[2].astype(np.float16))


def test_half_keeps_what_float16_cannot_hold(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((250,)), keras.layers.Dense(250, name="dense")])
    kernel = np.full((250, 250), 0.1, np.float32)
    kernel[0, 0] = 1e6
    model.set_weights([kernel, np.zeros(250, np.float32)])
    loaded, _ = files.load_model(files.save_model(model, tmp_path / "m.keras", {}, half=True))
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_only_the_network_is_written(tiny: Callable[..., keras.Model], films: Films, tmp_path: Path) -> None:
    model = tiny("base")
    model.compile("adam", "mse", jit_compile=False)
    model.train_on_batch(films(model), np.zeros((2, 2), np.float32))
    path = files.save_model(model, tmp_path / "m.keras", {})
    assert "compile_config" not in json.loads(member(path, "config.json"))
    with h5py.File(io.BytesIO(member(path, "model.weights.h5"))) as store:
        assert "optimizer" not in store
    loaded = keras.models.load_model(path)
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(films(model)), model(films(model)))


def test_mixed_precision_is_written_as_float32(tiny: Callable[..., keras.Model], tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny("chexnet")
    finally:
        keras.config.set_dtype_policy(before)
    loaded, _ = files.load_model(files.save_model(model, tmp_path / "m.keras", {}))
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert all(np.array_equal(one, two) for one, two in zip(loaded.get_weights(), model.get_weights(), strict=True))


def test_facts_come_back_as_json_holds_them(saved: Path) -> None:
    assert files.read_facts(saved) == {
        "schema_version": 1,
        "arch": "chexnet",
        "classes": ["normal", "covid19"],
        "threshold": 0.5,
        "counts": [0, 1, 2],
    }


def test_a_plain_keras_file_has_no_facts(saved: Path, tmp_path: Path) -> None:
    path = rewrite(saved, tmp_path / "plain.keras", {files.FACTS: None})
    assert files.load_model(path)[1] == {}


def test_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert files.model_digest(path) == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(WeightsError, match="not readable: No such file"):
        files.model_digest(tmp_path / "none")


def test_a_failed_save_leaves_the_old_file(saved: Path, tmp_path: Path, tiny_models: dict[str, keras.Model]) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(ValueError, match="nan"):
        files.save_model(tiny_models["base"], path, {"threshold": float("nan")})
    assert path.read_bytes() == saved.read_bytes()
    with pytest.raises(WeightsError, match=r"the suffix is '.h5'; expected a name that ends in .keras"):
        files.save_model(tiny_models["base"], tmp_path / "model.h5", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        files.load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_cut_short(share: float, saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    path = tmp_path / "cut.keras"
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged or cut short" in refused(path)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_one_flipped_byte_is_noticed(place: float, saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        info = archive.getinfo(files.WEIGHTS)
    content[info.header_offset + 100 + int(place * (info.compress_size - 100))] ^= 0xFF
    path = tmp_path / "flipped.keras"
    path.write_bytes(content)
    assert "damaged" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"hello", "a file of an unknown kind"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n123", "weights alone; give it to --init"),
        (b"\x80\x02}q\x00.", "a pickle"),
    ],
)
def test_files_of_another_kind(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    message = refused(path)
    assert said in message
    assert "expected a .keras model file" in message


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "none.keras")
    assert "this is a folder" in refused(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert "an exported SavedModel" in refused(tmp_path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "films.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("film.png", b"")
    assert "a zip file without config.json, model.weights.h5" in refused(path)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "holds a list; expected an object"),
        (b'{"schema_version": 2}', "schema_version 2; expected 1; update covidcxr_tf"),
        (b'{"schema_version": "x"}', "schema_version 'x'"),
        (b" " * (files.FACTS_MAX_BYTES + 1), "larger than"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_facts_that_cannot_be_used(facts: bytes, said: str, saved: Path, tmp_path: Path) -> None:
    assert said in refused(rewrite(saved, tmp_path / "m.keras", {files.FACTS: facts}))


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    path = tmp_path / "lambda.keras"
    model.save(path)
    assert "has a Lambda layer, which is code from the file and is not run" in refused(path)


def test_a_layer_without_its_weights_is_noticed(saved: Path, tmp_path: Path) -> None:
    content = io.BytesIO(member(saved, files.WEIGHTS))
    with h5py.File(content, "a") as store:
        del store["layers/dense"]
    message = refused(rewrite(saved, tmp_path / "m.keras", {files.WEIGHTS: content.getvalue()}))
    assert "Keras cannot load it" in message or "arrays of its network" in message


def test_nested_models_of_others_still_load(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    outer = keras.Sequential([keras.Input((2,)), inner, keras.layers.Dropout(0.1, seed=1), keras.layers.Dense(1)])
    path = tmp_path / "theirs.keras"
    outer.save(path)
    loaded, facts = files.load_model(path)
    assert facts == {}
    np.testing.assert_array_equal(loaded(np.ones((1, 2))), outer(np.ones((1, 2))))


@pytest.mark.parametrize("change", ["missing weights", "unknown layer", "no model"])
def test_archives_that_keras_refuses(change: str, saved: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = json.loads(member(saved, files.CONFIG))
    changes: dict[str, bytes | None] = {}
    if change == "missing weights":
        empty = io.BytesIO()
        h5py.File(empty, "w").close()
        changes[files.WEIGHTS] = empty.getvalue()
    elif change == "unknown layer":
        config["config"]["layers"][1]["class_name"] = "Imagined"
        changes[files.CONFIG] = json.dumps(config).encode()
    else:
        changes[files.CONFIG] = b"{}"
    message = refused(rewrite(saved, tmp_path / "m.keras", changes))
    assert "Keras cannot load it" in message or "holds 0 of the" in message
    assert len(message) < 600
