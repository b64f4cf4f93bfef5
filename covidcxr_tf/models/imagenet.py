"""ImageNet weights: which architectures have them, where they come from, and how each wants its input.

DenseNet121, ResNet-101 and VGG16 come through ``keras.applications``, EfficientNet-Lite0 from a Python package.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models.arrays import Layers
from covidcxr_tf.models.layers import IMAGENET, Normalisation
from covidcxr_tf.models.torch_lite0 import imagenet_file, read_lite0

BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
# Mean levels of ImageNet, RGB; these networks were trained on 0 to 255 with the mean taken off and nothing divided.
CAFFE: Normalisation = (
    (123.68 / 255, 116.779 / 255, 103.939 / 255),
    (1 / 255, 1 / 255, 1 / 255),
)
# EfficientNet-Lite0 takes (x - 127) / 128 of 0 to 255.
LITE0: Normalisation = ((127 / 255,) * 3, (128 / 255,) * 3)
#: Models that hold the convolutions of EfficientNet-Lite0.
LITE0_MODELS = ("efficientnet_lite0", "unet_lite0")
TORCH_RESNET18 = "resnet18-f37072fd.pth"
TORCH_URL = f"https://download.pytorch.org/models/{TORCH_RESNET18}"


class Source(NamedTuple):
    """One network of ``keras.applications`` without its top."""

    application: str
    file: str  # under `BASE_URL`
    megabytes: int
    landmark: str  # a layer that only the full-size network has: a download could fit
    normalisation: Normalisation = CAFFE
    first: str = "conv1_conv"
    blue_first: bool = True  # trained on BGR

    @property
    def file_name(self) -> str:
        """The name that Keras looks for in ``~/.keras/models``."""
        return self.file.rpartition("/")[2]


_DENSENET121 = Source(
    "DenseNet121",
    "densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    29,
    "conv5_block16_concat",
    IMAGENET,
    blue_first=False,
)

#: Name of the model -> where its ImageNet weights come from.
SOURCES: dict[str, Source] = {
    "chexnet": _DENSENET121,
    "densenet121": _DENSENET121,
    "resnet101": Source(
        "ResNet101", "resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", 171, "conv4_block23_out"
    ),
    "vgg16": Source(
        "VGG16",
        "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        59,
        "block5_conv3",
        first="block1_conv1",
    ),
}


def imagenet_layers(model: keras.Model) -> Layers:
    """Return the ImageNet weights of a model's backbone by layer name, for RGB in [0, 1] after `normalisation`.

    Raises
    ------
    WeightsError
        If there are none for this architecture or size, or they can be neither found nor fetched.
    """
    if model.name in LITE0_MODELS:
        return read_lite0(imagenet_file())
    source = _source_of(model)
    try:
        pretrained = getattr(keras.applications, source.application)(
            include_top=False, weights="imagenet", input_shape=(None, None, 3)
        )
    except Exception as cause:  # keras raises a bare Exception without network, and ValueError for a cut file
        raise WeightsError(
            f"the ImageNet weights could not be fetched: {source.file_name} ({source.megabytes} MB) is not in "
            "~/.keras/models",
            remedy=f"fetch {BASE_URL}/{source.file} and put it into ~/.keras/models, or use --init none",
        ) from cause
    layers: Layers = {layer.name: layer.get_weights() for layer in pretrained.layers if layer.weights}
    if source.blue_first and source.first in layers:
        kernel, *rest = layers[source.first]
        layers[source.first] = [np.ascontiguousarray(kernel[:, :, ::-1]), *rest]
    return layers


def normalisation(arch: str) -> Normalisation:
    """Return mean and standard deviation, of [0, 1], RGB, that the ImageNet weights of an architecture expect."""
    if arch in LITE0_MODELS:
        return LITE0
    source = SOURCES.get(arch)
    return source.normalisation if source else IMAGENET


def _source_of(model: keras.Model) -> Source:
    source = SOURCES.get(model.name)
    if source is not None and source.landmark in {layer.name for layer in model.layers}:
        return source
    if model.name in ("resnet18", "patch_resnet18"):
        raise WeightsError(
            "Keras has no ImageNet weights for ResNet-18",
            remedy=f"fetch {TORCH_URL} (47 MB) and say --init {TORCH_RESNET18} (reading it needs PyTorch), or use "
            "--init none",
        )
    names = ", ".join(sorted({known.application for known in SOURCES.values()}))
    archs = ", ".join([*SOURCES, "efficientnet-lite0", "unet-lite0"])
    raise WeightsError(
        f"there are no ImageNet weights for {model.name}", expected=f"{names}, EfficientNet-Lite0 (archs {archs})"
    )
