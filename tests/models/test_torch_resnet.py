"""PyTorch's ResNet-18, written here from He 2016, table 1, with torchvision's names, against ours."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import patch_resnet18, resnet18, torch_resnet, weights
from covidcxr_tf.models.files import save_model
from covidcxr_tf.models.layers import IMAGENET

TINY: dict[str, Any] = {"blocks": (1, 2), "stem": 4}


def network(width: int, blocks: tuple[int, ...], channels: int, outputs: int, seed: int = 0) -> Any:
    """Return a network in which every array, batch statistics too, is drawn at random."""
    torch = pytest.importorskip("torch", reason="PyTorch is missing; bash scripts/test.sh --all installs it")
    nn = torch.nn

    class BasicBlock(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, wide_in: int, wide: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(wide_in, wide, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(wide)
            self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(wide)
            self.downsample = None
            if stride != 1 or wide_in != wide:
                shortcut = nn.Conv2d(wide_in, wide, 1, stride=stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(wide))

        def forward(self, films: Any) -> Any:
            shortcut = films if self.downsample is None else self.downsample(films)
            return torch.relu(shortcut + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(films))))))

    class ResNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            wide_in = width
            for stage, depth in enumerate(blocks):
                wide = width * 2**stage
                first = BasicBlock(wide_in, wide, 2 if stage else 1)
                rest = [BasicBlock(wide, wide, 1) for _ in range(depth - 1)]
                setattr(self, f"layer{stage + 1}", nn.Sequential(first, *rest))
                wide_in = wide
            self.fc = nn.Linear(wide_in, outputs)

        def forward(self, films: Any) -> Any:
            films = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(films))), 3, stride=2, padding=1)
            for stage in range(len(blocks)):
                films = getattr(self, f"layer{stage + 1}")(films)
            return self.fc(films.mean(dim=(2, 3)))

    torch.manual_seed(seed)
    model = ResNet()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for array, low, high in (
                (module.weight, 0.5, 1.0),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(array, low, high)
    return model.eval()


def saved(model: Any, path: Path, container: str = "") -> Path:
    import torch

    state = model.state_dict()
    if container == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": state} if container else state, path)
    return path


def torch_logits(model: Any, films: np.ndarray) -> np.ndarray:
    """Return the network's own logits of films in [0, 1], normalised as torchvision does."""
    import torch

    mean, std = (np.asarray(values[: films.shape[-1]], np.float32) for values in IMAGENET)
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(((films - mean) / std).transpose(0, 3, 1, 2).copy())))


def films_of(side: tuple[int, int], channels: int = 3) -> np.ndarray:
    return np.random.default_rng(9).random((2, *side, channels), dtype=np.float32)


@pytest.mark.parity
@pytest.mark.parametrize("side", [(64, 64), (65, 47)])
@pytest.mark.parametrize("container", ["", "state_dict", "parallel"])
def test_same_logits_as_pytorch(side: tuple[int, int], container: str, tmp_path: Path) -> None:
    theirs = network(4, (1, 2), 3, 4)
    path = saved(theirs, tmp_path / "tiny.pth", container)
    ours = resnet18.build((*side, 3), 4, weights=str(path), **TINY)
    films = films_of(side)
    expected = torch_logits(theirs, films)
    assert expected.std() > 0.01
    np.testing.assert_allclose(ours(films), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("build", [resnet18.build, patch_resnet18.build])
def test_the_whole_resnet18(build: Any, tmp_path: Path) -> None:
    theirs = network(64, (2, 2, 2, 2), 3, 1000)
    path = saved(theirs, tmp_path / "resnet18.pth")
    ours = build((64, 64, 3), 1000, weights=str(path))
    films = films_of((64, 64))
    expected = torch_logits(theirs, films)
    np.testing.assert_allclose(ours(films), expected, rtol=1e-5, atol=1e-5)
    # And one film through the network as it trains: batch statistics move as PyTorch's do.
    ours(films, training=True)
    theirs.train()
    torch_logits(theirs, films)
    name = "conv4_block2_2_bn"
    np.testing.assert_allclose(ours.get_layer(name).moving_mean, theirs.layer3[1].bn2.running_mean, atol=1e-4)


@pytest.mark.parity
def test_the_head_of_another_number_of_classes_stays_fresh(tmp_path: Path) -> None:
    path = saved(network(4, (1, 2), 3, 1000), tmp_path / "tiny.pth")
    model, fresh = (resnet18.build((32, 32, 3), 4, seed=2, **TINY) for _ in range(2))
    report = weights.apply_init(model, str(path))
    assert report.left_out == ("logits",)
    assert report.unused == ("logits",)
    assert np.array_equal(model.get_layer("logits").kernel, fresh.get_layer("logits").kernel)
    assert not np.array_equal(model.get_layer("conv1_conv").kernel, fresh.get_layer("conv1_conv").kernel)


@pytest.mark.parity
def test_a_grey_film_gives_what_three_copies_give(tmp_path: Path) -> None:
    path = saved(network(4, (1, 2), 3, 4), tmp_path / "tiny.pth")
    bare = ((0.0,), (1.0,))
    three = resnet18.build((32, 32, 3), 4, weights=str(path), normalise=(bare[0] * 3, bare[1] * 3), **TINY)
    one = resnet18.build((32, 32, 1), 4, weights=str(path), normalise=bare, **TINY)
    films = films_of((32, 32), 1)
    np.testing.assert_allclose(one(films), three(np.repeat(films, 3, axis=-1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parity
def test_a_build_normalises_as_torchvision_does_and_takes_nothing_else(tmp_path: Path) -> None:
    path = saved(network(4, (1, 2), 3, 4), tmp_path / "tiny.pth")
    assert weights.recommended_normalisation(str(path), 3) == IMAGENET
    model = resnet18.build((32, 32, 3), 4, weights=str(path), **TINY)
    np.testing.assert_allclose(np.ravel(model.get_layer("normalise").get_config()["mean"]), IMAGENET[0], rtol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer1.0.conv3.weight": (4, 4, 1, 1)}, "no ResNet-18 is in it"),
        ({"conv1.weight": None}, "no ResNet-18 is in it"),
        ({"features.conv0.weight": (4, 3, 7, 7)}, "a DenseNet is in it, no ResNet-18; for a CheXNet file say chexnet:"),
        ({"layer1.0.bn1.running_var": None}, r"'layer1.0.bn1.running_var' is missing"),
        ({"attention.weight": (4, 4)}, "'attention' is no part of a ResNet-18"),
        ({"layer2.1.conv1.weight": None}, "does not fit resnet18: 1 layers have no weights in it"),
        ({"fc.bias": (4, "nan")}, "'fc' holds values that are not finite"),
    ],
)
def test_another_network_is_refused_and_nothing_is_changed(change: dict, said: str, tmp_path: Path) -> None:
    import torch

    state = network(4, (1, 2), 3, 4).state_dict()
    for key, shape in change.items():
        if shape is None:
            del state[key]
        elif shape[-1] == "nan":
            state[key] = torch.full(shape[:-1], float("nan"))
        else:
            state[key] = torch.zeros(shape)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    model = resnet18.build((32, 32, 3), 4, seed=1, **TINY)
    before = model.get_weights()
    with pytest.raises(WeightsError, match=said):
        weights.apply_init(model, str(path))
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))


@pytest.mark.parity
def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "whole_model.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(WeightsError, match=r"pickled code instead of a state dict.*torch.save\(model.state_dict\(\)"):
        torch_resnet.read_resnet18(path)


def test_without_pytorch_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resnet18.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("resnet18/data.pkl", b"\x80\x02}q\x00.")
    assert torch_resnet.is_torch_file(path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match=r"resnet18.pth: reading it needs PyTorch; pip install torch"):
        resnet18.build((32, 32, 3), 4, weights=str(path), **TINY)


def test_what_is_no_torch_file(tmp_path: Path) -> None:
    keras_file = save_model(resnet18.build((32, 32, 1), 2, **TINY), tmp_path / "m.keras", {})
    cut = tmp_path / "cut.pth"
    cut.write_bytes(b"PK\x03\x04 and no more")
    pickled = tmp_path / "old.pth"
    pickled.write_bytes(b"\x80\x02}q\x00.")
    assert [torch_resnet.is_torch_file(path) for path in (keras_file, cut, pickled)] == [False, False, True]
    with pytest.raises(WeightsError, match="there is no such file"):
        torch_resnet.is_torch_file(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("build", [resnet18.build, patch_resnet18.build])
def test_imagenet_names_the_pytorch_file(build: Any) -> None:
    with pytest.raises(WeightsError) as caught:
        build((32, 32, 3), 4, weights="imagenet", **TINY)
    message = str(caught.value)
    assert "Keras has no ImageNet weights for ResNet-18" in message
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in message
    assert "--init none" in message


def test_global_and_patch_networks_take_each_others_files(tmp_path: Path) -> None:
    first = resnet18.build((32, 32, 3), 4, seed=3, **TINY)
    path = save_model(first, tmp_path / "global.keras", {})
    second = patch_resnet18.build((48, 48, 3), 4, seed=4, weights=str(path), **TINY)
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    assert all(np.array_equal(one, two) for one, two in pairs)
