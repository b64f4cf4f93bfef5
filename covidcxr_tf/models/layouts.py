"""CheXNet files: three layouts read into one form, and what is known about each file.

====================  =======================================  ==============================  =================
layout                file                                     input, from [0, 1]              outputs
====================  =======================================  ==============================  =================
``chexnet-keras``     Keras 2 ``.h5``, ``predictions`` head    3 channels, ImageNet mean, std  14, NIH order
``chexnet-torch``     ``.pth.tar``, ``densenet121.features.``  3 channels, ImageNet mean, std  14, NIH order
``torchxrayvision``   state dict, ``features.``                1 channel, [-1024, 1024]        18, its own order
====================  =======================================  ==============================  =================

No layout says which films a file was trained on, and the usual splits are not the same (1,107 of CheXNet-Keras' 1,518
test films are in the PyTorch re-implementation's train part): `Provenance.split` is "unknown" unless the user knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr_tf.data.manifest import FINDINGS
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models.arrays import Layers, group_in, open_store, values_in
from covidcxr_tf.models.files import kind_of, model_digest
from covidcxr_tf.models.layers import IMAGENET
from covidcxr_tf.models.provenance import LAYOUTS, Checkpoint, Provenance

# What torchxrayvision's released models put out (its README, "default pathologies"); used only where a checkpoint
# does not carry its own list.
TORCHXRAYVISION_LABELS = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion"),
    *("Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture"),
    *("Lung Opacity", "Enlarged Cardiomediastinum"),
)
USUAL_SPLIT = {
    "chexnet-keras": "CheXNet-Keras' own list, 1,518 test films",
    "chexnet-torch": "78,468 / 11,218 / 22,432 films of the PyTorch re-implementation",
    "torchxrayvision": "stated in the name of the released file",
}
TORCH_EPSILON = 1e-5
KERAS_EPSILON = 1.001e-5
TORCH_REMEDY = (
    "save torch.save({'state_dict': model.state_dict(), 'pathologies': list(model.pathologies)}, FILE) and convert that"
)
LABEL_KEYS = ("pathologies", "targets", "labels", "class_names")  # where checkpoints carry their label order


def read_checkpoint(path: str | Path, layout: str | None = None, split: str = "unknown") -> Checkpoint:
    """Return the arrays and the provenance of a CheXNet file as its authors published it.

    Parameters
    ----------
    path : str or path
    layout : str, optional
        One of `LAYOUTS`; left out, the content decides. A layout that is not the file's is refused.
    split : str
        What the user knows of the films that it was trained on.

    Raises
    ------
    WeightsError
        For a file that is missing, damaged or of no known layout, and where PyTorch is needed but not installed.
    """
    path = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise WeightsError(f"'{layout}' is no layout", expected=", ".join(LAYOUTS))
    kind = kind_of(path)
    if kind == "HDF5":
        layers, names = read_legacy_h5(path)
        checkpoint = _from_keras(layers, names, path, split)
    elif kind in ("zip", "a pickle"):
        checkpoint = _from_torch(load_torch(path, TORCH_REMEDY), path, split)
    else:
        raise WeightsError(f"this is {kind}", where=path, expected=f"a CheXNet file ({', '.join(LAYOUTS)})")
    found = checkpoint.provenance.layout
    if layout not in (None, found):
        raise WeightsError(f"its layout is {found}, not {layout}", where=path, remedy=f"say --layout {found}")
    return checkpoint


def read_legacy_h5(path: Path) -> tuple[Layers, tuple[str, ...]]:
    """Return the arrays of a Keras 1 or 2 weight file by layer, and the names of all its layers.

    ``conv1/conv`` of the first DenseNets becomes ``conv1_conv``.

    Raises
    ------
    WeightsError
        If it is damaged or of another layout.
    """
    layers: Layers = {}
    with open_store(path) as store:
        root = group_in(store, "model_weights") if "model_weights" in store else store
        if "layer_names" not in root.attrs:
            raise WeightsError("an HDF5 file without layer_names", where=path, expected="a Keras 2 weight file")
        names = tuple(_text(name) for name in root.attrs["layer_names"])
        for name in names:
            group = group_in(root, name)
            arrays = [values_in(group, _text(key)) for key in group.attrs["weight_names"]]
            if arrays:
                layers[name.replace("/", "_")] = arrays
    return layers, names


def _from_keras(layers: Layers, names: tuple[str, ...], path: Path, split: str) -> Checkpoint:
    if "predictions" not in layers:
        raise WeightsError(
            "there is no layer 'predictions'",
            where=path,
            expected=f"CheXNet-Keras with its {len(FINDINGS)} outputs",
            remedy="ImageNet weights are --init imagenet",
        )
    layers["logits"] = layers.pop("predictions")
    outputs = layers["logits"][-1].size
    if outputs != len(FINDINGS):
        raise WeightsError(f"it has {outputs} outputs", where=path, expected=f"{len(FINDINGS)} findings")
    # The file lists layers without weights too, so it tells by itself which DenseNet it was.
    return _checkpoint("chexnet-keras", layers, tuple(FINDINGS), "layout", path, split, final_relu="relu" in names)


def load_torch(path: Path, remedy: str) -> Any:
    """Return what ``torch.save`` wrote, tensors and plain containers only; code in the file is never run.

    Parameters
    ----------
    path : path
    remedy : str
        What to do with a file that holds more than a state dict.

    Raises
    ------
    WeightsError
        If PyTorch is missing, or the file is damaged or holds pickled code.
    """
    try:
        import torch
    except ImportError as cause:
        raise WeightsError(
            "reading it needs PyTorch", where=path, remedy="pip install torch, convert once, then torch can go"
        ) from cause
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:
        # PyTorch's own message runs over twenty lines and advises to run the code in the file.
        raise WeightsError(
            "not readable by torch.load(weights_only=True): damaged, or it holds pickled code instead of a state dict",
            where=path,
            remedy=f"where its own library can open it, {remedy}",
        ) from cause


def _from_torch(document: Any, path: Path, split: str) -> Checkpoint:
    container = document if isinstance(document, Mapping) else {}
    state = container.get("state_dict", container)
    arrays: dict[str, np.ndarray] = {}
    for key, tensor in state.items() if isinstance(state, Mapping) else ():
        if hasattr(tensor, "detach"):
            arrays[str(key)] = np.asarray(tensor.detach().float().numpy())
    layers = _keras_layers(arrays)
    if "conv1_conv" not in layers or "logits" not in layers:
        raise WeightsError("no DenseNet is in it", where=path, expected="keys features.conv0.weight, classifier...")
    if layers["conv1_conv"][0].shape[2] == 1:
        labels, labels_from = _labels(container, layers, path, TORCHXRAYVISION_LABELS, "documentation")
        untrained = np.isnan(arrays.get("op_threshs", np.zeros(len(labels))))
        labels = tuple("" if unknown else label for label, unknown in zip(labels, untrained, strict=True))
        return _checkpoint("torchxrayvision", layers, labels, labels_from, path, split)
    labels, labels_from = _labels(container, layers, path, tuple(FINDINGS), "layout")
    return _checkpoint("chexnet-torch", layers, labels, labels_from, path, split)


def _labels(
    container: Mapping[str, Any], layers: Layers, path: Path, usual: tuple[str, ...], usual_from: str
) -> tuple[tuple[str, ...], str]:
    outputs = layers["logits"][-1].size
    for key in LABEL_KEYS:
        stated = container.get(key)
        if isinstance(stated, (list, tuple)) and len(stated) == outputs:
            return tuple(str(label) for label in stated), "checkpoint"
    if outputs != len(usual):
        raise WeightsError(
            f"it has {outputs} outputs and no label order",
            where=path,
            expected=f"{len(usual)} outputs, or a list under 'pathologies'",
        )
    return usual, usual_from


def _keras_layers(arrays: Mapping[str, np.ndarray]) -> Layers:
    """Return PyTorch's arrays in Keras' names, order of axes and order within a layer."""
    layers: Layers = {}
    names = {_layer_name(key): key.removesuffix(".weight") for key in arrays if key.endswith(".weight")}
    for name, prefix in names.items():
        weight = arrays[f"{prefix}.weight"]
        if name is None:
            continue
        if weight.ndim == 4:
            layers[name] = [weight.transpose(2, 3, 1, 0)]
        elif weight.ndim == 2:
            layers[name] = [weight.T, arrays[f"{prefix}.bias"]]
        elif f"{prefix}.running_var" in arrays:
            # Keras' DenseNet divides by a slightly larger root; the difference is moved into the variance.
            variance = np.maximum(arrays[f"{prefix}.running_var"] + (TORCH_EPSILON - KERAS_EPSILON), 0)
            layers[name] = [weight, arrays[f"{prefix}.bias"], arrays[f"{prefix}.running_mean"], variance]
    return {name: [np.ascontiguousarray(array, np.float32) for array in found] for name, found in layers.items()}


def _layer_name(key: str) -> str | None:
    """Return our name of the layer behind a PyTorch key, or None for what is no part of the network."""
    if re.search(r"(^|\.)classifier(\.0)?\.weight$", key):
        return "logits"
    found = re.search(r"(?:^|\.)features\.(.+)\.weight$", key)
    part = found[1] if found else ""
    fixed = {"conv0": "conv1_conv", "norm0": "conv1_bn", "norm5": "bn"}
    if part in fixed:
        return fixed[part]
    inner = re.fullmatch(r"denseblock(\d+)\.denselayer(\d+)\.(norm|conv)\.?([12])", part)
    if inner:
        step = int(inner[4]) - (inner[3] == "norm")  # norm1 conv1 norm2 conv2 -> 0_bn 1_conv 1_bn 2_conv
        return f"conv{int(inner[1]) + 1}_block{inner[2]}_{step}_{'bn' if inner[3] == 'norm' else 'conv'}"
    between = re.fullmatch(r"transition(\d+)\.(norm|conv)", part)
    return f"pool{int(between[1]) + 1}_{'bn' if between[2] == 'norm' else 'conv'}" if between else None


def _checkpoint(
    layout: str,
    layers: Layers,
    labels: tuple[str, ...],
    labels_from: str,
    path: Path,
    split: str,
    final_relu: bool = True,
) -> Checkpoint:
    try:
        channels, stem = layers["conv1_conv"][0].shape[2:]
        growth = layers["conv2_block1_2_conv"][0].shape[3]
    except (KeyError, ValueError) as cause:
        raise WeightsError(f"no DenseNet of Keras' layer names: {cause} is missing", where=path) from cause
    places = [found for name in layers if (found := re.fullmatch(r"conv(\d+)_block(\d+)_2_conv", name))]
    depths: dict[int, int] = {}
    for found in places:
        depths[int(found[1])] = max(depths.get(int(found[1]), 0), int(found[2]))
    # [-1024, 1024] is 2048 * (image - 0.5).
    mean, std = ((0.5,), (1 / 2048,)) if layout == "torchxrayvision" else IMAGENET
    known = Provenance(
        layout=layout,
        source_name=path.name,
        source_sha256=model_digest(path),
        labels=labels,
        labels_from=labels_from,
        channels=int(channels),
        mean=tuple(mean),
        std=tuple(std),
        blocks=tuple(depths[block] for block in sorted(depths)),
        growth=int(growth),
        stem=int(stem),
        final_relu=final_relu,
        split=split,
        split_usual=USUAL_SPLIT[layout],
    )
    return Checkpoint(layers, known)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
