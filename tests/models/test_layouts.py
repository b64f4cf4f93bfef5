"""CheXNet files without PyTorch: reading, converting, initialising, verifying."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from covidcxr_tf.data.manifest import FINDINGS
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import chexnet, converted, layouts
from covidcxr_tf.models.arrays import arrays_digest
from covidcxr_tf.models.files import model_digest, save_model
from covidcxr_tf.models.layers import IMAGENET
from covidcxr_tf.models.provenance import Provenance, provenance_of
from covidcxr_tf.models.verify import Verification, verify

Source = tuple[Path, dict[str, list[np.ndarray]]]


@pytest.fixture(scope="module")
def converted_file(chexnet_keras: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("converted") / "chexnet.weights.h5"
    converted.convert(chexnet_keras[0], target, "chexnet-keras", split="NIH official test list kept apart")
    return target


def verdict(found: Verification) -> dict[str, bool]:
    return {check.name: check.passed for check in found.checks}


def test_keras2_file_is_read_as_it_is(chexnet_keras: Source) -> None:
    path, arrays = chexnet_keras
    layers, known = layouts.read_checkpoint(path)
    assert layers.keys() == arrays.keys()
    for name, expected in arrays.items():
        for found, wanted in zip(layers[name], expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert known.layout == "chexnet-keras"
    assert known.labels == tuple(FINDINGS)
    assert (known.blocks, known.growth, known.stem, known.channels) == ((1, 1), 2, 4, 3)
    assert (known.mean, known.std) == IMAGENET
    assert known.source_sha256 == model_digest(path)
    assert known.split == "unknown"
    assert not known.final_relu


@pytest.mark.parametrize("final_relu", [False, True])
def test_the_file_says_whether_its_keras_had_the_last_relu(
    final_relu: bool, write_keras2: Callable, tmp_path: Path
) -> None:
    write_keras2(tmp_path / "c.h5", np.random.default_rng(0), final_relu=final_relu)
    built = chexnet.build_probe(tmp_path / "c.h5", (32, 32))
    assert built.provenance.final_relu is final_relu
    assert ("relu" in {layer.name for layer in built.model.layers}) is final_relu


def test_provenance_survives_json(chexnet_keras: Source) -> None:
    known = layouts.read_checkpoint(chexnet_keras[0]).provenance
    document = json.loads(json.dumps({**known.as_dict(), "of a newer version": 1}))
    assert provenance_of(document) == known


def test_converted_file_holds_the_same_arrays_and_its_provenance(converted_file: Path, chexnet_keras: Source) -> None:
    layers, known = converted.read_chexnet(converted_file)
    assert arrays_digest(layers) == arrays_digest(chexnet_keras[1])
    assert isinstance(known, Provenance)
    assert known.split == "NIH official test list kept apart"
    assert known.source_name == "chexnet.h5"
    assert [entry.name for entry in converted_file.parent.iterdir()] == ["chexnet.weights.h5"]


def test_converted_file_is_a_plain_keras_weight_file(converted_file: Path, chexnet_keras: Source) -> None:
    network = chexnet.probe_network(converted.read_chexnet(converted_file).provenance, (32, 32))
    network.load_weights(converted_file)
    films = np.random.default_rng(3).random((2, 32, 32, 3), dtype=np.float32)
    direct = chexnet.build_probe(chexnet_keras[0], (32, 32))
    np.testing.assert_array_equal(network(films), direct.model(films))


def test_digest_depends_on_names_shapes_and_values() -> None:
    one: dict[str, list[np.ndarray]] = {"a": [np.arange(4, dtype=np.float32)], "b": [np.zeros(2, np.float32)]}
    others: list[dict[str, list[np.ndarray]]] = [
        {**one, "a": [np.arange(4, dtype=np.float32).reshape(2, 2)]},
        {"a": one["a"], "c": one["b"]},
        {**one, "b": [np.array([0, 1e-9], np.float32)]},
    ]
    assert len({arrays_digest(layers) for layers in (one, *others)}) == 4
    assert arrays_digest(dict(reversed(one.items()))) == arrays_digest(one)


def test_verify_says_yes(converted_file: Path, chexnet_keras: Source) -> None:
    found = verify(converted_file)
    assert found.passed
    assert found.kind == "converted CheXNet"
    assert set(verdict(found)) == {"network", "finite", "variances", "digest", "provenance"}
    source = verify(chexnet_keras[0])
    assert source.passed
    assert source.kind == "CheXNet"
    json.dumps(found.as_dict(), allow_nan=False)


def changed(source: Path, target: Path, change: Callable[[h5py.File], None]) -> Path:
    shutil.copy(source, target)
    with h5py.File(target, "a") as store:
        change(store)
    return target


def test_verify_notices_one_changed_value(converted_file: Path, tmp_path: Path) -> None:
    def change(store: h5py.File) -> None:
        store["layers/dense/vars/0"][0, 0] += 1e-4

    found = verify(changed(converted_file, tmp_path / "c.weights.h5", change))
    assert verdict(found) == {"network": True, "finite": True, "variances": True, "digest": False, "provenance": True}


def test_verify_notices_a_missing_layer(converted_file: Path, tmp_path: Path) -> None:
    def change(store: h5py.File) -> None:
        del store["layers/dense"]

    answers = verdict(verify(changed(converted_file, tmp_path / "c.weights.h5", change)))
    assert not answers["network"]
    assert not answers["digest"]


def test_verify_notices_nan_and_negative_variances(write_keras2: Callable, tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    write_keras2(path, np.random.default_rng(0))
    with h5py.File(path, "a") as store:
        store["predictions/predictions/variable_1:0"][3] = np.nan
        store["bn/bn/variable_3:0"][0] = -1
    found = verify(path)
    assert not found.passed
    assert {check.name: check.why for check in found.checks if not check.passed} == {
        "finite": "not finite: logits",
        "variances": "below 0: bn",
    }
    with pytest.raises(WeightsError, match="the layer logits holds values that are not finite"):
        converted.convert(path, tmp_path / "c.weights.h5")
    assert not (tmp_path / "c.weights.h5").exists()


@pytest.mark.parametrize("provenance", ["{", "[1]", '{"layout": "chexnet-keras"}'])
def test_verify_notices_broken_provenance(provenance: str, converted_file: Path, tmp_path: Path) -> None:
    def change(store: h5py.File) -> None:
        store.attrs[converted.PROVENANCE] = provenance

    found = verify(changed(converted_file, tmp_path / "c.weights.h5", change))
    assert verdict(found) == {"readable": False}
    assert "provenance" in found.checks[0].why or "damaged" in found.checks[0].why


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_verify_notices_a_cut_file(share: float, converted_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.weights.h5"
    path.write_bytes(converted_file.read_bytes()[: int(converted_file.stat().st_size * share)])
    assert verdict(verify(path)) == {"readable": False}


def test_verify_of_nothing() -> None:
    with pytest.raises(WeightsError, match="there is no such file"):
        verify("nowhere.weights.h5")


def test_verify_of_models(tiny_models: dict[str, keras.Model], tmp_path: Path) -> None:
    model = tiny_models["chexnet"]
    facts = {"arch": "chexnet", "task": "classification", "classes": ["normal", "covid19"], "image": {}}
    good = verify(save_model(model, tmp_path / "good.keras", facts))
    assert good.passed
    assert set(verdict(good)) == {"readable", "finite", "variances", "facts", "classes"}
    bare = verify(save_model(model, tmp_path / "bare.keras", {}))
    assert [check.why for check in bare.checks if not check.passed] == ["no arch, classes, image"]
    more = verify(save_model(model, tmp_path / "more.keras", {**facts, "classes": ["a", "b", "c"]}))
    assert [check.name for check in more.checks if not check.passed] == ["classes"]
    weights = tmp_path / "bare.weights.h5"
    model.save_weights(weights)
    assert verify(weights).kind == "weights"
    assert verify(weights).passed


def read_fails(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        layouts.read_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_stated_layout_must_be_the_files(chexnet_keras: Source) -> None:
    with pytest.raises(WeightsError, match="its layout is chexnet-keras, not torchxrayvision; say --layout chexnet-ke"):
        layouts.read_checkpoint(chexnet_keras[0], "torchxrayvision")
    with pytest.raises(WeightsError, match="'onnx' is no layout; expected chexnet-keras, chexnet-torch, torchxray"):
        layouts.read_checkpoint(chexnet_keras[0], "onnx")


def test_files_that_are_no_chexnet(write_keras2: Callable, tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    write_keras2(path, np.random.default_rng(0), outputs=15)
    assert "it has 15 outputs; expected 14 findings" in read_fails(path)
    with h5py.File(path, "w") as store:
        store["weights"] = np.zeros(3)
    assert "without layer_names; expected a Keras 2 weight file" in read_fails(path)
    with h5py.File(path, "w") as store:
        store.attrs["layer_names"] = [b"dense"]
        store.create_group("dense").attrs["weight_names"] = [b"kernel:0"]
        store["dense/kernel:0"] = np.zeros((2, 2))
    assert "there is no layer 'predictions'" in read_fails(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 50)
    assert "damaged or cut short" in read_fails(path)
    assert "this is a folder" in read_fails(tmp_path)


def test_a_file_that_points_at_another_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as store:
        store["dense/kernel:0"] = np.ones((2, 2))
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as store:
        store.attrs["layer_names"] = [b"dense"]
        store["dense"] = h5py.ExternalLink("secret.h5", "/dense")
    assert "'dense' is no plain entry" in read_fails(path)


def test_an_array_that_only_claims_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as store:
        store.attrs["layer_names"] = [b"dense"]
        group = store.create_group("dense")
        group.attrs["weight_names"] = [b"kernel:0"]
        group.create_dataset("kernel:0", shape=(2**20, 2**20), dtype="f4", chunks=(2**10, 2**10))
    assert "declares 1099511627776 values" in read_fails(path)


def test_without_pytorch_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth.tar"
    path.write_bytes(b"\x80\x02}q\x00.")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "reading it needs PyTorch; pip install torch" in read_fails(path)


def test_target_must_be_named_as_keras_wants_it(chexnet_keras: Source, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected a name that ends in .weights.h5"):
        converted.convert(chexnet_keras[0], tmp_path / "c.h5")
