"""Where a model's first weights come from: the init strings.

=================  =====================================================================================
``none``           fresh, seeded
``imagenet``       keras.applications' DenseNet121, downloaded once into ``~/.keras/models``
``chexnet:FILE``   a CheXNet file in any of three layouts, or converted by ``covidcxr weights convert``
``FILE``           a ``.keras`` or ``.weights.h5`` file of ours; layers match by name and shape
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
from covidcxr_tf.models import files
from covidcxr_tf.models.arrays import Layers, fitting, named_arrays, open_store
from covidcxr_tf.models.converted import read_chexnet, stored_provenance
from covidcxr_tf.models.layers import IMAGENET, Normalisation

HEAD_LAYERS = ("head", "logits")  # these may differ; everything else of a pretrained backbone must fit
IMAGENET_FILE = "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/densenet/{IMAGENET_FILE}"

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

    ``imagenet`` and ``chexnet:FILE`` must fill the whole backbone; where only the number of input channels differs,
    the first kernel is spread over them with its sum kept, which changes nothing for equal channels. ``FILE`` fills
    what fits by name and shape. Nothing is changed when an error is raised.

    Raises
    ------
    WeightsError
        If the weights cannot be found or read, or do not fit.
    """
    if init == "none":
        return InitReport(init)
    if init == "imagenet":
        layers = _imagenet_layers(model)
    elif _is_chexnet(init):
        layers = read_chexnet(init.removeprefix("chexnet:")).layers
    else:
        layers = read_layers(init)
    pretrained = _is_chexnet(init) or init == "imagenet"
    if pretrained:
        layers = {name: arrays for name, arrays in layers.items() if name not in HEAD_LAYERS}
        _adapt_first_kernel(model, layers)
    plan = fitting(model, layers)
    fresh = tuple(layer.name for layer in model.layers if layer.weights and layer.name not in plan)
    missing = [name for name in fresh if name not in HEAD_LAYERS]
    if not set(plan) - set(HEAD_LAYERS) or (pretrained and missing):
        raise WeightsError(
            f"{init} does not fit {model.name}: {len(missing)} layers have no weights in it, such as {missing[0]}",
            expected="a DenseNet121 (arch chexnet)" if pretrained else "a file of the same architecture",
        )
    for name, arrays in plan.items():
        model.get_layer(name).set_weights(arrays)
    report = InitReport(init, tuple(plan), fresh, tuple(sorted(set(layers) - set(plan))))
    log.log(logging.WARNING if missing else logging.INFO, "%s", report)
    return report


def recommended_normalisation(init: str, channels: int) -> Normalisation | None:
    """Return the mean and standard deviation, of [0, 1], that the weights of an init string were trained with.

    None where they are fresh or nothing is known. Three values for one channel are averaged, one for three repeated.

    Raises
    ------
    WeightsError
        If the file cannot be read, or its channels cannot be turned into `channels`.
    """
    if init == "none":
        return None
    known: Normalisation | None = IMAGENET
    if _is_chexnet(init):
        provenance = read_chexnet(init.removeprefix("chexnet:")).provenance
        known = (provenance.mean, provenance.std)
    elif init != "imagenet":
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
    """Fit the kernel (rows, columns, in, out) of ``conv1_conv`` to the model's channels; equal ones give the same."""
    (kernel,) = layers.get("conv1_conv", [np.zeros((7, 7, 0, 0))])
    channels = model.input_shape[-1]
    if kernel.shape[2] != channels:
        layers["conv1_conv"] = [np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2)]


def _has_densenet121(model: keras.Model) -> bool:
    """Return whether a download could fit at all."""
    return "conv5_block16_concat" in {layer.name for layer in model.layers}


def _imagenet_layers(model: keras.Model) -> Layers:
    if not _has_densenet121(model):
        raise WeightsError(f"there are no ImageNet weights for {model.name}", expected="DenseNet121 (arch chexnet)")
    try:
        source = keras.applications.DenseNet121(include_top=False, weights="imagenet", input_shape=(None, None, 3))
    except Exception as cause:  # keras raises a bare Exception without network, and ValueError for a cut file
        raise WeightsError(
            f"the ImageNet weights could not be fetched: {IMAGENET_FILE} (29 MB) is not in ~/.keras/models",
            remedy=f"fetch {IMAGENET_URL} and put it into ~/.keras/models, or use --init none",
        ) from cause
    return {layer.name: layer.get_weights() for layer in source.layers if layer.weights}


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
