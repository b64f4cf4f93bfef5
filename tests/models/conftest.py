"""Small models and weight files that several test files share; built once, as building is what takes the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from covidcxr_tf import models
from covidcxr_tf.catalog import ARCHS

# What makes each architecture small; one that is not named here is built in full, for 64 px.
TINY: dict[str, dict[str, Any]] = {
    "base": {"input_shape": (67, 67, 1), "filters": 4},
    "chexnet": {"input_shape": (32, 32, 3), "blocks": (2, 1), "growth": 4, "stem": 8, "dropout": 0.2},
    "resnet101": {"input_shape": (32, 32, 1), "blocks": (1, 1, 1, 3), "stem": 4},
    "densenet121": {"input_shape": (32, 32, 1), "blocks": (2, 1), "growth": 4, "stem": 8},
    "vgg16": {"input_shape": (32, 32, 3), "num_classes": 2, "filters": (4, 4, 8, 8, 16), "head_units": 16},
    "resnet18": {"input_shape": (32, 32, 3), "num_classes": 2, "blocks": (1, 1, 1, 2), "stem": 4},
    "patch-resnet18": {"input_shape": (32, 32, 3), "num_classes": 2, "blocks": (1, 1, 1, 2), "stem": 4},
    "efficientnet-lite0": {
        "input_shape": (32, 32, 3),
        "num_classes": 2,
        "blocks": (1, 1, 1, 1, 1, 2),
        "width": 0.25,
    },
    "fcdensenet103": {
        "input_shape": (16, 16, 1),
        "num_classes": 1,
        "blocks": (1, 2),
        "bottleneck": 2,
        "growth": 4,
        "stem": 6,
    },
    "fcdensenet67": {
        "input_shape": (16, 16, 1),
        "num_classes": 1,
        "blocks": (2, 1),
        "bottleneck": 1,
        "growth": 4,
        "stem": 6,
    },
    "unet": {"input_shape": (16, 16, 1), "filters": (4, 8), "num_classes": 1, "dropout": 0.1},
    "unet-lite0": {
        "input_shape": (32, 32, 1),
        "num_classes": 1,
        "filters": (4, 4, 8, 8, 8),
        "blocks": (1, 1, 1, 1, 1, 1),
        "width": 0.25,
    },
}


@pytest.fixture(scope="session")
def tiny_options() -> Callable[..., dict[str, Any]]:
    def options_of(name: str, **options: Any) -> dict[str, Any]:
        return {**TINY.get(name, {"input_shape": (64, 64, 3)}), "seed": 3, **options}

    return options_of


@pytest.fixture(scope="session")
def tiny(tiny_options: Callable[..., dict[str, Any]]) -> Callable[..., keras.Model]:
    def build(name: str, **options: Any) -> keras.Model:
        return models.build(name, **tiny_options(name, **options))

    return build


@pytest.fixture(scope="session")
def tiny_models(tiny: Callable[..., keras.Model]) -> dict[str, keras.Model]:
    return {name: tiny(name) for name in ARCHS}


@pytest.fixture
def films() -> Callable[[keras.Model, int], np.ndarray]:
    def make(model: keras.Model, count: int = 2) -> np.ndarray:
        return np.random.default_rng(5).random((count, *model.input_shape[1:]), dtype=np.float32)

    return make


def write_chexnet_keras(
    path: Path, rng: np.random.Generator, *, outputs: int = 14, final_relu: bool = False, channels: int = 3
) -> dict[str, list[np.ndarray]]:
    """Write a Keras 2 file of a DenseNet with blocks (1, 1), growth 2, stem 4; return its arrays by our names."""

    def norm(width: int) -> list[np.ndarray]:
        return [rng.normal(size=width), rng.normal(size=width), rng.normal(size=width), rng.uniform(0.5, 2, width)]

    def convolution(side: int, wide_in: int, wide_out: int) -> list[np.ndarray]:
        return [rng.normal(size=(side, side, wide_in, wide_out))]

    layers: dict[str, list[np.ndarray]] = {
        "input_1": [],
        "conv1/conv": convolution(7, channels, 4),
        "conv1/bn": norm(4),
        "conv1/relu": [],
        "conv2_block1_0_bn": norm(4),
        "conv2_block1_1_conv": convolution(1, 4, 8),
        "conv2_block1_1_bn": norm(8),
        "conv2_block1_2_conv": convolution(3, 8, 2),
        "pool2_bn": norm(6),
        "pool2_conv": convolution(1, 6, 3),
        "conv3_block1_0_bn": norm(3),
        "conv3_block1_1_conv": convolution(1, 3, 8),
        "conv3_block1_1_bn": norm(8),
        "conv3_block1_2_conv": convolution(3, 8, 2),
        "bn": norm(5),
        **({"relu": []} if final_relu else {}),
        "predictions": [rng.normal(size=(5, outputs)), rng.normal(size=outputs)],
    }
    with h5py.File(path, "w") as store:
        store.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = store.create_group(name)
            keys = [f"{name}/variable_{index}:0" for index in range(len(arrays))]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                group.create_dataset(key, data=array.astype(np.float32))
    named = {name.replace("/", "_"): arrays for name, arrays in layers.items() if arrays}
    named["logits"] = named.pop("predictions")
    return {name: [array.astype(np.float32) for array in arrays] for name, arrays in named.items()}


@pytest.fixture(scope="session")
def write_keras2() -> Callable[..., dict[str, list[np.ndarray]]]:
    return write_chexnet_keras


@pytest.fixture(scope="session")
def chexnet_keras(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[np.ndarray]]]:
    path = tmp_path_factory.mktemp("chexnet") / "chexnet.h5"
    return path, write_chexnet_keras(path, np.random.default_rng(11))
