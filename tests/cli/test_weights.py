"""`covidcxr weights` from the command line: output and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from covidcxr_tf.cli import weights
from covidcxr_tf.cli.main import main
from covidcxr_tf.models.provenance import LAYOUTS


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["weights", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a CheXNet-Keras file of one dense layer: blocks (1,), growth 1, stem 1."""
    path = tmp_path_factory.mktemp("source") / "chexnet.h5"
    rng = np.random.default_rng(0)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "conv1/conv": [(7, 7, 3, 1)],
        "conv1/bn": [(1,)] * 4,
        "conv2_block1_0_bn": [(1,)] * 4,
        "conv2_block1_1_conv": [(1, 1, 1, 4)],
        "conv2_block1_1_bn": [(4,)] * 4,
        "conv2_block1_2_conv": [(3, 3, 4, 1)],
        "bn": [(2,)] * 4,
        "predictions": [(2, 14), (14,)],
    }
    with h5py.File(path, "w") as store:
        store.attrs["layer_names"] = [name.encode() for name in shapes]
        for name, wanted in shapes.items():
            group = store.create_group(name)
            group.attrs["weight_names"] = [f"v{index}".encode() for index in range(len(wanted))]
            for index, shape in enumerate(wanted):
                group[f"v{index}"] = rng.uniform(0.5, 1, shape).astype(np.float32)
    return path


def test_convert_then_verify(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "chexnet.weights.h5"
    code, out, _ = run(capsys, "convert", source, target, "--layout", "chexnet-keras", "--split", "official")
    assert code == 0
    assert f"{target}: chexnet-keras, 14 findings, trained on: official" in out
    assert f"--init chexnet:{target}" in out
    code, out, _ = run(capsys, "verify", target)
    assert code == 0
    assert "converted CheXNet" in out
    assert "FAIL" not in out


def test_json_is_one_document(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "convert", source, tmp_path / "c.weights.h5", "--json")
    assert code == 0
    assert json.loads(out)["layout"] == "chexnet-keras"
    code, out, _ = run(capsys, "verify", tmp_path / "c.weights.h5", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["passed"]
    assert document["provenance"]["split"] == "unknown"


def test_verify_that_says_no_exits_with_4(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "c.weights.h5"
    run(capsys, "convert", source, target)
    with h5py.File(target, "a") as store:
        store["layers/dense/vars/1"][0] += 1
    code, out, err = run(capsys, "verify", target)
    assert code == 4
    assert "FAIL digest: the arrays are not those that were converted" in out
    assert err == f"error: {target}: digest: the arrays are not those that were converted\n"
    code, out, _ = run(capsys, "verify", target, "--json")
    assert code == 4
    assert not json.loads(out)["passed"]


def test_bad_input_exits_with_3(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "verify", tmp_path / "none.weights.h5")
    assert (code, out) == (3, "")
    assert err == f"error: {tmp_path}/none.weights.h5: there is no such file\n"
    code, _, err = run(capsys, "convert", source, tmp_path / "c.weights.h5", "--layout", "chexnet-torch")
    assert code == 3
    assert "its layout is chexnet-keras" in err
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_exits_with_2(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "convert", source, tmp_path / "c.weights.h5", "--layout", "onnx")[0] == 2
    assert run(capsys, "convert", source)[0] == 2


def test_layouts_on_the_command_line_are_those_of_the_library() -> None:
    assert weights.LAYOUTS == LAYOUTS
