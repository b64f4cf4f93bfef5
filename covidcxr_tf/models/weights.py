"""Where a model's first weights come from: the init strings.

=================  =====================================================================================
``none``           fresh, seeded
``imagenet``       DenseNet121, ResNet-101 and VGG16 of keras.applications, downloaded once into ``~/.keras/models``;
                   EfficientNet-Lite0 from the package that the extra ``imagenet`` installs
``chexnet:FILE``   a CheXNet file in any of three layouts, or converted by ``covidcxr weights convert``
``FILE``           a ``.keras`` or ``.weights.h5`` file of ours, layers match by name and shape; for ResNet-18 and
                   EfficientNet-Lite0 also a PyTorch state dict (``.pth``)
=================  =====================================================================================
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import files, imagenet
from covidcxr_tf.models.arrays import Layers, fitting, named_arrays, open_store
from covidcxr_tf.models.converted import read_chexnet, stored_provenance
from covidcxr_tf.models.layers import IMAGENET, Normalisation
from covidcxr_tf.models.torch_lite0 import read_lite0
from covidcxr_tf.models.torch_resnet import is_torch_file, read_resnet18

# These may differ; everything else of a pretrained backbone must fit.
HEAD_LAYERS = ("dense1", "dense2", "dense3", "head", "logits")
DECODER = "decoder"  # first part of the names of a segmenter's layers after its encoder
NORMALISE = "normalise"  # belongs to the films that a model is trained on: never taken from a file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitReport:
    """What an init string did: names of layers."""

    source: str
    loaded: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # in the model, kept fresh: not in the file, or of another shape
    unused: tuple[str, ...] = ()  # in the file only

    def __str__(self) -> str:
        fresh = f"; fresh: {', '.join(self.left_out)}" if self.left_out else ""
        unused = f"; not used: {', '.join(self.unused)}" if self.unused else ""
        return f"{self.source}: {len(self.loaded)} layers loaded{fresh}{unused}"


def apply_init(model: keras.Model, init: str) -> InitReport:
    """Lay the weights of an init string on `model` and return what was loaded and what was not.

    ``imagenet``, ``chexnet:FILE`` and PyTorch files must fill the whole backbone; where only the number of input
    channels differs, the first kernel is spread over them with its sum kept, which changes nothing for equal channels.
    A ``FILE`` of ours fills what fits by name and shape, at least half of the backbone's layers. Nothing is changed
    when an error is raised.

    Raises
    ------
    WeightsError
        If the weights cannot be found or read, or do not fit.
    """
    if init == "none":
        return InitReport(init)
    layers, pretrained = _read(model, init)
    layers.pop(NORMALISE, None)
    if pretrained:
        _adapt_first_kernel(model, layers)
    plan = fitting(model, layers)
    fresh = tuple(
        layer.name for layer in model.layers if layer.weights and layer.name not in plan and layer.name != NORMALISE
    )
    missing = [name for name in fresh if name not in HEAD_LAYERS]
    if pretrained:  # a classifier's weights say nothing of the way up to a mask
        missing = [name for name in missing if not name.startswith(DECODER)]
    filled = len(set(plan) - set(HEAD_LAYERS))
    if not filled or len(missing) > (0 if pretrained else filled):
        raise WeightsError(
            f"{init} does not fit {model.name}: {len(missing)} layers have no weights in it, such as {missing[0]}",
            expected=f"the weights of {pretrained}" if pretrained else "a file of the same architecture",
        )
    for name, arrays in plan.items():
        model.get_layer(name).set_weights(arrays)
    report = InitReport(init, tuple(plan), fresh, tuple(sorted(set(layers) - set(plan))))
    log.log(logging.WARNING if missing else logging.INFO, "%s", report)
    return report


def _read(model: keras.Model, init: str) -> tuple[Layers, str]:
    """Return the arrays behind an init string, and which pretrained network they are: "" for a file of ours."""
    if init == "imagenet":
        layers, network = imagenet.imagenet_layers(model), model.name
    elif _is_chexnet(init):
        layers, network = read_chexnet(init.removeprefix("chexnet:")).layers, "a DenseNet121 (arch chexnet)"
    elif is_torch_file(init) and model.name in imagenet.LITE0_MODELS:
        return read_lite0(init), "an EfficientNet-Lite0 (archs efficientnet-lite0, unet-lite0)"
    elif is_torch_file(init):
        # The head of a file with as many classes fits as well, as it does with a file of ours.
        return read_resnet18(init), "a ResNet-18 (archs resnet18, patch-resnet18)"
    else:
        return read_layers(init), ""
    return {name: arrays for name, arrays in layers.items() if name not in HEAD_LAYERS}, network


def recommended_normalisation(init: str, channels: int, arch: str = "densenet121") -> Normalisation | None:
    """Return the mean and standard deviation, of [0, 1], that the weights of an init string were trained with.

    None where they are fresh or nothing is known. Three values for one channel are averaged, one for three repeated.

    Parameters
    ----------
    init : str
    channels : int
        Of the model's input.
    arch : str
        Name of the model: ``imagenet`` was trained with other values for ResNet-101 and VGG16 than for DenseNet121.

    Raises
    ------
    WeightsError
        If the file cannot be read, or its channels cannot be turned into `channels`.
    """
    if init == "none":
        return None
    known: Normalisation | None
    if init == "imagenet":
        known = imagenet.normalisation(arch)
    elif _is_chexnet(init):
        provenance = read_chexnet(init.removeprefix("chexnet:")).provenance
        known = (provenance.mean, provenance.std)
    elif is_torch_file(init):
        known = imagenet.LITE0 if arch in imagenet.LITE0_MODELS else IMAGENET  # a state dict does not say
    else:
        known = _normalisation_of_file(Path(init))
    if known is None or len(known[0]) == channels:
        return known
    if len(known[0]) != 1 and channels != 1:
        raise WeightsError(f"{init} was trained on {len(known[0])} channels; the model has {channels}")
    mean, std = (tuple([float(np.mean(values))] * channels) for values in known)
    return mean, std


def read_layers(path: str | Path) -> Layers:
    """Return the arrays of a ``.keras`` or ``.weights.h5`` file of Keras 3, by layer name.

    Raises
    ------
    WeightsError
        If it is missing, damaged or of another kind.
    """
    path = Path(path)
    kind = files.kind_of(path)
    if kind == "HDF5":
        with open_store(path) as store:
            layers = named_arrays(store)
    elif kind == "zip":
        with open_store(path, io.BytesIO(files.read_weights(path))) as store:
            layers = named_arrays(store)
    else:
        raise WeightsError(f"this is {kind}", where=path, expected="a .keras or .weights.h5 file")
    if not layers:
        raise WeightsError(
            "no layer of Keras 3 is in it", where=path, remedy=f"for a CheXNet file say chexnet:{path.name}"
        )
    return layers


def _is_chexnet(init: str) -> bool:
    """Return whether an init string names a CheXNet file; a converted one says so by itself."""
    if init.startswith("chexnet:"):
        return True
    return init not in ("none", "imagenet") and stored_provenance(init) is not None


def _adapt_first_kernel(model: keras.Model, layers: Layers) -> None:
    """Fit the first kernel (rows, columns, in, out) to the model's channels; equal channels give the same."""
    first = next((layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)), None)
    channels = model.input_shape[-1]
    if first in layers and layers[first][0].shape[2] != channels:
        kernel, *rest = layers[first]
        layers[first] = [np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2), *rest]


def _normalisation_of_file(path: Path) -> Normalisation | None:
    if files.kind_of(path) == "HDF5":
        return None
    for layer in files.read_config(path).get("config", {}).get("layers", []):
        if layer.get("config", {}).get("name") == "normalise":
            mean, variance = (
                np.asarray(layer["config"][key], dtype=np.float64).ravel() for key in ("mean", "variance")
            )
            return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
    return None
