"""ResNet-101 for films of 1500 x 1500 px, trained from scratch.

Source: Kusakunniran 2021, section 2.1 and table 1 ("more than 44 millions parameters"; top replaced by global average
pooling and softmax); He 2016, table 1. The layers are those of ``keras.applications.ResNet101``, name by name.

With ImageNet's top of 1000 classes there are 44.7 million parameters, which is what the text states; two classes
leave 42.7 million.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.models.residual import Style, bottleneck, residual_network

CAM_LAYER = "conv5_block3_out"
RESNET101 = (3, 4, 23, 3)


def build(
    input_shape: tuple[int | None, ...] = (1500, 1500, 1),
    num_classes: int = 2,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.0,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = RESNET101,
    stem: int = 64,
    seed: int | None = None,
) -> keras.Model:
    """Return ResNet-101 from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels. None leaves rows or columns open.
    num_classes : int
        Logits; the paper has two and three.
    weights : str
        ``"none"`` (the paper), ``"imagenet"`` or ``"FILE"``; see `covidcxr_tf.models.weights`.
    compat : str
        ``"ours"``, ``"paper"`` or ``"authors"``: one network. Unlike in other papers, two classes have two nodes.
    dropout : float
        Rate before the logits; 0, the paper's, leaves the layer out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1]. None: what `weights` were trained with, or nothing without weights.
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    blocks, stem
        Blocks in each stage, filters of the first convolution. The defaults are ResNet-101. `CAM_LAYER` exists
        where there are four stages, the last of three blocks.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If a size or a number of channels does not fit.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    style = Style(bias=True, epsilon=1.001e-5, momentum=0.99, synchronized=synchronized, seed=seed)
    return residual_network(
        "resnet101",
        bottleneck,
        style,
        input_shape,
        num_classes,
        weights=weights,
        compat=compat,
        dropout=dropout,
        normalise=normalise,
        blocks=blocks,
        stem=stem,
    )
