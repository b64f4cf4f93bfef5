"""PyTorch's ResNet-18, torchvision's names, in the names and the order of axes of `covidcxr_tf.models.resnet18`.

=====================================  ==========================
PyTorch                                ours
=====================================  ==========================
``conv1``, ``bn1``                     ``conv1_conv``, ``conv1_bn``
``layer3.0.conv2``, ``layer3.0.bn2``   ``conv4_block1_2_conv``, ``conv4_block1_2_bn``
``layer3.0.downsample.0``, ``.1``      ``conv4_block1_0_conv``, ``conv4_block1_0_bn``
``fc``                                 ``logits``
=====================================  ==========================
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import files
from covidcxr_tf.models.arrays import Layers
from covidcxr_tf.models.layouts import load_torch

EXPECTED = "torchvision's ResNet-18 state dict: conv1.weight, layer1.0.conv1.weight, ... fc.weight"
REMEDY = "save it as torch.save(model.state_dict(), FILE)"
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")  # the order of Keras' gamma, beta, mean, variance


def is_torch_file(path: str | Path) -> bool:
    """Return whether a file is one of ``torch.save``: a pickle, or a zip with a pickle in it.

    Raises
    ------
    WeightsError
        If it is missing or cannot be read.
    """
    path = Path(path)
    kind = files.kind_of(path)
    if kind != "zip":
        return kind == "a pickle"
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False  # cut short: whoever reads it as an archive says so


def read_resnet18(path: str | Path) -> Layers:
    """Return the arrays of a PyTorch ResNet-18 by our layer names, the output layer as ``"logits"``.

    Raises
    ------
    WeightsError
        If PyTorch is missing, the file is damaged or holds pickled code, or another network is in it.
    """
    path = Path(path)
    document = load_torch(path, REMEDY)
    container = document if isinstance(document, Mapping) else {}
    state = container.get("state_dict", container)
    arrays: dict[str, np.ndarray] = {}
    for key, tensor in state.items() if isinstance(state, Mapping) else ():
        if hasattr(tensor, "detach"):
            arrays[str(key).removeprefix("module.")] = np.asarray(tensor.detach().float().numpy())
    if any(key.startswith("features.") or ".features." in key for key in arrays):
        raise WeightsError(
            "a DenseNet is in it, no ResNet-18", where=path, remedy=f"for a CheXNet file say chexnet:{path.name}"
        )
    if "conv1.weight" not in arrays or "layer1.0.conv3.weight" in arrays:
        raise WeightsError("no ResNet-18 is in it", where=path, expected=EXPECTED, remedy=REMEDY)
    return _keras_layers(arrays, path)


def _keras_layers(arrays: Mapping[str, np.ndarray], path: Path) -> Layers:
    layers: Layers = {}
    for prefix in dict.fromkeys(key.rpartition(".")[0] for key in arrays):
        name = _layer_name(prefix)
        if name is None:
            raise WeightsError(f"'{prefix}' is no part of a ResNet-18", where=path, expected=EXPECTED)
        wanted = BATCH_NORM if name.endswith("_bn") else ("weight", "bias") if name == "logits" else ("weight",)
        missing = [part for part in wanted if f"{prefix}.{part}" not in arrays]
        if missing:
            raise WeightsError(f"'{prefix}.{missing[0]}' is missing", where=path, expected=EXPECTED)
        found: list[Any] = [arrays[f"{prefix}.{part}"] for part in wanted]
        if not all(np.isfinite(array).all() for array in found):
            raise WeightsError(f"'{prefix}' holds values that are not finite", where=path)
        if found[0].ndim == 4:
            found[0] = found[0].transpose(2, 3, 1, 0)  # out, in, rows, columns
        elif found[0].ndim == 2:
            found[0] = found[0].T
        layers[name] = [np.ascontiguousarray(array, np.float32) for array in found]
    return layers


def _layer_name(prefix: str) -> str | None:
    """Return our name of the layer behind the PyTorch module `prefix`, or None where there is none."""
    fixed = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "logits"}
    if prefix in fixed:
        return fixed[prefix]
    inner = re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)([12])|downsample\.([01]))", prefix)
    if inner is None:
        return None
    stage, block, kind, step, shortcut = inner.groups()
    kind, step = (kind, step) if kind else ("conv" if shortcut == "0" else "bn", "0")
    return f"conv{int(stage) + 1}_block{int(block) + 1}_{step}_{kind}"
