"""ResNet-18 on whole films: the global approach of the patch paper.

Source: Oh 2020, section II.B; He 2016, table 1. The network is PyTorch's (torchvision 0.8 and later): no biases,
padding on both sides, batch normalisation with epsilon 1e-5. Keras has no ResNet-18, so ImageNet weights are read
from a PyTorch file (``weights = "resnet18-f37072fd.pth"``; see `covidcxr_tf.models.torch_resnet`).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.models.residual import Style, basic_block, residual_network

CAM_LAYER = "conv5_block2_out"
RESNET18 = (2, 2, 2, 2)
EPSILON, MOMENTUM = 1e-5, 0.9  # PyTorch's, whose momentum of .1 is the weight of the present


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
    """Return ResNet-18 from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels. None leaves rows or columns open.
    num_classes : int
        Logits; the paper has normal, bacterial, tuberculosis, viral or COVID-19.
    weights : str
        ``"none"`` or ``"FILE"``: a file of ours, or a PyTorch state dict of torchvision's ResNet-18.
    compat : str
        ``"ours"``, ``"paper"`` or ``"authors"``: one network.
    dropout : float
        Rate before the logits; 0, the paper's, leaves the layer out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1]. None: what `weights` were trained with, or nothing without weights.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    blocks, stem
        Blocks in each stage, filters of the first convolution. The defaults are ResNet-18. `CAM_LAYER` exists where
        there are four stages, the last of two blocks.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If a size or a number of channels does not fit.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    return residual_network(
        "resnet18",
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
