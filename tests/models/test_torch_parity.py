"""Conversion against a DenseNet in PyTorch, written here from Huang 2017, table 1, with torchvision's names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.data.manifest import FINDINGS
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import chexnet, converted, layouts
from covidcxr_tf.models.verify import verify

torch = pytest.importorskip("torch", reason="PyTorch is missing; bash scripts/test.sh --all installs it")
pytestmark = pytest.mark.parity

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
TINY: dict[str, Any] = {"blocks": (2, 1, 2), "growth": 4, "stem": 6}
DENSENET121: dict[str, Any] = {"blocks": (6, 12, 24, 16), "growth": 32, "stem": 64}


class DenseLayer(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1 = torch.nn.BatchNorm2d(width)
        self.conv1 = torch.nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2 = torch.nn.BatchNorm2d(4 * growth)
        self.conv2 = torch.nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, films: Any) -> Any:
        new = self.conv1(torch.relu(self.norm1(films)))
        return torch.cat([films, self.conv2(torch.relu(self.norm2(new)))], dim=1)


class Transition(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(width)
        self.conv = torch.nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, films: Any) -> Any:
        return torch.nn.functional.avg_pool2d(self.conv(torch.relu(self.norm(films))), 2)


class DenseNet(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, blocks: tuple[int, ...], growth: int, stem: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = torch.nn.Sequential()
        self.features.add_module("conv0", torch.nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=False))
        self.features.add_module("norm0", torch.nn.BatchNorm2d(stem))
        self.features.add_module("relu0", torch.nn.ReLU())
        self.features.add_module("pool0", torch.nn.MaxPool2d(3, stride=2, padding=1))
        width = stem
        for block, depth in enumerate(blocks, start=1):
            layers = torch.nn.Sequential()
            for layer in range(1, depth + 1):
                layers.add_module(f"denselayer{layer}", DenseLayer(width, growth))
                width += growth
            self.features.add_module(f"denseblock{block}", layers)
            if block < len(blocks):
                self.features.add_module(f"transition{block}", Transition(width))
                width //= 2
        self.features.add_module("norm5", torch.nn.BatchNorm2d(width))
        self.classifier = torch.nn.Linear(width, outputs)

    def forward(self, films: Any) -> Any:
        return self.classifier(torch.relu(self.features(films)).mean(dim=(2, 3)))


def network(size: dict[str, Any], channels: int, outputs: int, seed: int = 0) -> DenseNet:
    """Return a network in which every array, batch statistics too, is drawn at random."""
    torch.manual_seed(seed)
    model = DenseNet(**size, channels=channels, outputs=outputs)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    if channels == 1:  # films in [-1024, 1024]
        torch.nn.init.uniform_(model.features.norm0.running_var, 1e5, 2e5)
    # PyTorch spreads its kernels narrowly: probabilities that all lie at .5 would compare nothing.
    torch.nn.init.normal_(model.classifier.weight, std=4 / model.classifier.in_features**0.5)
    return model.eval()


def probabilities(model: DenseNet, films: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(model(torch.from_numpy(films.transpose(0, 3, 1, 2).copy()))).numpy()


def chexnet_state(model: DenseNet, old_names: bool) -> dict[str, Any]:
    """Return the state as the PyTorch re-implementation saves it: DataParallel around a wrapper."""
    state = {}
    for key, value in model.state_dict().items():
        key = re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key) if old_names else key
        state["module.densenet121." + key.replace("classifier.", "classifier.0.")] = value
    return {"epoch": 1, "state_dict": state, "best_loss": 0.1}


def films_of(channels: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(9).random((2, side, side, channels), dtype=np.float32)


def compare(path: Path, films: np.ndarray, expected: np.ndarray, target: Path) -> chexnet.Probe:
    """Convert, compare probabilities of the file and of the converted file with the network's own."""
    assert expected.std() > 0.05
    converted.convert(path, target)
    assert verify(target).passed
    for source in (path, target):
        built = chexnet.build_probe(source, films.shape[1:3])
        found = 1 / (1 + np.exp(-np.asarray(built.model(films), np.float64)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    return built


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("new_zip", [False, True])
def test_chexnet_torch(old_names: bool, new_zip: bool, tmp_path: Path) -> None:
    model, films = network(TINY, 3, 14), films_of(3)
    path = tmp_path / "model.pth.tar"
    torch.save(chexnet_state(model, old_names), path, _use_new_zipfile_serialization=new_zip)
    built = compare(path, films, probabilities(model, (films - MEAN) / STD), tmp_path / "c.weights.h5")
    assert built.provenance.layout == "chexnet-torch"
    assert built.labels == tuple(FINDINGS)


def test_torchxrayvision_in_its_own_range_and_order(tmp_path: Path) -> None:
    model, films = network(TINY, 1, 18), films_of(1)
    path = tmp_path / "xrv.pt"
    torch.save(model.state_dict(), path)
    expected = probabilities(model, (2 * films - 1) * 1024)
    built = compare(path, films, expected, tmp_path / "c.weights.h5")
    assert built.provenance.layout == "torchxrayvision"
    assert built.provenance.labels_from == "documentation"
    in_nih_order = chexnet.probe(built, films[..., 0])
    theirs, nih = layouts.TORCHXRAYVISION_LABELS.index("Mass"), FINDINGS.index("Mass")
    assert (theirs, nih) == (12, 4)
    np.testing.assert_allclose(in_nih_order[:, nih], expected[:, theirs], atol=1e-5)


def test_torchxrayvision_takes_the_order_from_the_checkpoint(tmp_path: Path) -> None:
    labels = ["Hernia", "Mass", "Fracture"]
    model, films = network(TINY, 1, 3), films_of(1)
    path = tmp_path / "xrv.pt"
    torch.save({"state_dict": model.state_dict(), "pathologies": labels}, path)
    built = compare(path, films, probabilities(model, (2 * films - 1) * 1024), tmp_path / "c.weights.h5")
    assert built.labels == tuple(labels)
    assert built.provenance.labels_from == "checkpoint"
    found = chexnet.probe(built, films[..., 0])
    known = [FINDINGS.index("Hernia"), FINDINGS.index("Mass")]
    assert np.isfinite(found[:, known]).all()
    assert np.isnan(np.delete(found, known, axis=1)).all()


def test_outputs_that_were_never_trained_have_no_name(tmp_path: Path) -> None:
    state = network(TINY, 1, 18).state_dict()
    state["op_threshs"] = torch.tensor([0.1] * 14 + [float("nan")] * 4)
    torch.save(state, tmp_path / "xrv.pt")
    labels = layouts.read_checkpoint(tmp_path / "xrv.pt").provenance.labels
    assert labels == (*layouts.TORCHXRAYVISION_LABELS[:14], "", "", "", "")


def test_small_variances_use_pytorchs_own_epsilon(tmp_path: Path) -> None:
    model, films = network(TINY, 3, 14), films_of(3)
    torch.nn.init.constant_(model.features.norm5.running_var, 2e-6)
    torch.nn.init.uniform_(model.features.norm5.weight, 1e-3, 2e-3)
    path = tmp_path / "m.pth.tar"
    torch.save(chexnet_state(model, False), path)
    expected = probabilities(model, (films - MEAN) / STD)
    built = compare(path, films, expected, tmp_path / "c.weights.h5")
    np.testing.assert_allclose(chexnet.probe(built, films), expected, atol=1e-5)
    model.features.norm5.eps = 1e-3  # Keras's own: these variances tell
    assert np.abs(probabilities(model, (films - MEAN) / STD) - expected).max() > 1e-3


def test_full_densenet121(tmp_path: Path) -> None:
    model, films = network(DENSENET121, 3, 14), films_of(3, 64)
    path = tmp_path / "model.pth.tar"
    torch.save(chexnet_state(model, True), path)
    built = chexnet.build_probe(path, (64, 64))
    np.testing.assert_allclose(chexnet.probe(built, films), probabilities(model, (films - MEAN) / STD), atol=1e-5)
    assert built.model.count_params() == 7_037_504 + 1024 * 14 + 14


def fails(path: Path, document: Any) -> str:
    torch.save(document, path)
    with pytest.raises(WeightsError) as caught:
        layouts.read_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.pt"
    message = fails(path, network(TINY, 1, 18))  # as torchxrayvision publishes its files: code and all
    assert "it holds pickled code instead of a state dict" in message
    assert "'pathologies': list(model.pathologies)" in message
    assert "no DenseNet is in it" in fails(path, {"weight": torch.zeros(3)})
    assert "no DenseNet is in it" in fails(path, [1, 2])
    assert "it has 5 outputs and no label order" in fails(path, network(TINY, 1, 5).state_dict())
    state = network(TINY, 3, 14).state_dict()
    del state["features.denseblock2.denselayer1.conv2.weight"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match="layers are missing or of another shape"):
        converted.convert(path, tmp_path / "c.weights.h5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="damaged, or it holds pickled code"):
        layouts.read_checkpoint(path)


def test_init_from_a_torch_file(tmp_path: Path, tiny: Callable[..., Any]) -> None:
    model = network(TINY, 3, 14)
    path = tmp_path / "m.pth.tar"
    torch.save(chexnet_state(model, False), path)
    ours = chexnet.build((64, 64, 3), weights=f"chexnet:{path}", **TINY)
    kernel = model.features.denseblock3.denselayer2.conv2.weight.detach().numpy()
    np.testing.assert_array_equal(ours.get_layer("conv4_block2_2_conv").get_weights()[0], kernel.transpose(2, 3, 1, 0))
