"""ResNet-18 on patches of 224 px drawn in the lungs, which vote: the local approach of the patch paper.

Source: Oh 2020, section II.B. The network is `covidcxr_tf.models.resnet18`; what differs is what it sees, and that is
the config's ``[patches]``.

Differs from paper: the abstract prints 11.6 million parameters. That is ResNet-18 with its ImageNet top of 1000
classes (11,689,512, cut after one decimal); with the paper's own four classes it has 11,178,564, 3.6 % fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.models.residual import Style, basic_block, residual_network
from covidcxr_tf.models.resnet18 import CAM_LAYER, EPSILON, MOMENTUM, RESNET18

__all__ = ["CAM_LAYER", "build"]


def build(
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    num_classes: int = 4,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.0,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = RESNET18,
    stem: int = 64,
    seed: int | None = None,
) -> keras.Model:
    """Return the network of one patch: (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    The parameters are those of `covidcxr_tf.models.resnet18.build`; rows and columns are the patch's, and a file of
    the one fits the other.

    Raises
    ------
    ValueError
        If a size or a number of channels does not fit.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    return residual_network(
        "patch_resnet18",
        basic_block,
        Style(bias=False, epsilon=EPSILON, momentum=MOMENTUM, synchronized=synchronized, seed=seed),
        input_shape,
        num_classes,
        weights=weights,
        compat=compat,
        dropout=dropout,
        normalise=normalise,
        blocks=blocks,
        stem=stem,
    )
