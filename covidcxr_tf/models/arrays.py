"""Weights as arrays by layer name: read from HDF5, laid on a model, digested.

A weight file comes from a stranger. Only datasets that lie in the file itself are read: HDF5 can also point at other
files, and can declare arrays that it does not hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from covidcxr_tf.errors import WeightsError

Layers = dict[str, list[np.ndarray]]  # layer name -> float32 arrays in the order of `layer.get_weights()`

MAX_ELEMENTS = 2**28  # 1 GiB of float32; VGG16's largest layer has 0.1e9


@contextlib.contextmanager
def open_store(path: Path, content: io.BytesIO | None = None) -> Iterator[h5py.File]:
    """Give an HDF5 file opened for reading; what h5py raises over damage, then and later, becomes `WeightsError`."""
    try:
        with h5py.File(content or path, "r") as store:
            yield store
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as cause:
        raise WeightsError(f"damaged or cut short: {cause}", where=path, remedy="fetch it again") from cause


def group_in(group: Any, name: str) -> Any:
    """Return the entry ``"a/b"`` of an HDF5 group, or raise `ValueError` where a part of it is a link."""
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"'{name}' is no plain entry")
        group = group[part]
    return group


def values_in(group: Any, name: str) -> np.ndarray:
    """Return a dataset of an HDF5 group as float32, or raise `ValueError` where it is not held in the file."""
    dataset = group_in(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"'{name}' is no plain dataset")
    if dataset.size is None or dataset.size > MAX_ELEMENTS:
        raise ValueError(f"'{name}' declares {dataset.size} values")
    return np.asarray(dataset[()]).astype(np.float32)


def named_arrays(store: h5py.File) -> Layers:
    """Return the arrays of a Keras 3 weight file by layer name, which it keeps as an attribute of each group."""
    layers: Layers = {}

    def visit(name: str, entry: Any) -> None:
        if not isinstance(entry, h5py.Group) or "name" not in entry.attrs or name.startswith("optimizer"):
            return
        keys = sorted((key for key in entry if key.isdigit()), key=int)
        # Seeds of dropout are whole numbers: the state of a run, no weights.
        if keys and all(np.issubdtype(group_in(entry, key).dtype, np.floating) for key in keys):
            layers[str(entry.attrs["name"])] = [values_in(entry, key) for key in keys]

    store.visititems(visit)
    return layers


def fitting(model: keras.Model, layers: Mapping[str, list[np.ndarray]]) -> Layers:
    """Return for each layer of `model` that `layers` fits what to set it to."""
    plan: Layers = {}
    for layer in model.layers:
        arrays = layers.get(layer.name)
        if not layer.weights or arrays is None:
            continue
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if [array.shape for array in arrays] == shapes:
            plan[layer.name] = arrays
    return plan


def assign_all(model: keras.Model, layers: Mapping[str, list[np.ndarray]], where: object) -> None:
    """Set every weight of `model` from `layers`.

    Raises
    ------
    WeightsError
        If a layer is missing, left over, or of another shape.
    """
    plan = fitting(model, layers)
    wanted = {layer.name for layer in model.layers if layer.weights}
    for names, problem in ((wanted - set(plan), "missing or of another shape"), (set(layers) - wanted, "unknown")):
        if names:
            raise WeightsError(f"{len(names)} layers are {problem}, such as {min(names)}", where=where)
    for name, arrays in plan.items():
        model.get_layer(name).set_weights(arrays)


def arrays_digest(layers: Mapping[str, list[np.ndarray]]) -> str:
    """Return the SHA-256 (hex) over names, shapes and values: HDF5 itself would not notice a flipped bit."""
    digest = hashlib.sha256()
    for name in sorted(layers):
        for array in layers[name]:
            digest.update(f"{name} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()
