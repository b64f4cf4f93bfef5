"""FC-DenseNet103: blocks of 4, 5, 7, 10 and 12 layers, 15 between.

9.42 M parameters with the batch statistics, as Jegou counts (9.4 M printed); 9.31 M of them are trained.

Source: Jegou 2017, tables 2 and 3; Oh 2020, II.A, which trains it on heart, left and right lung. See `fcdensenet`.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from covidcxr_tf.models.fcdensenet import CAM_LAYER, build_fcdensenet
from covidcxr_tf.models.layers import Normalisation

__all__ = ["CAM_LAYER", "build"]

BLOCKS = (4, 5, 7, 10, 12)
BOTTLENECK = 15


def build(
    input_shape: tuple[int | None, ...] = (256, 256, 1),
    num_classes: int = 1,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.2,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    blocks: Sequence[int] = BLOCKS,
    bottleneck: int = BOTTLENECK,
    growth: int = 16,
    stem: int = 48,
    seed: int | None = None,
) -> keras.Model:
    """Return FC-DenseNet103 from films (N, H, W, channels) float32 in [0, 1] to logits (N, H, W, num_classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels. Rows and columns must be divisible by 2 ** len(blocks), 32 here; None leaves them
        open.
    num_classes : int
        Mask channels: 1 is lungs against the rest (one sigmoid a pixel), more are classes (softmax over them).
    weights : str
        ``"none"`` or the path of a model file of ours.
    compat : str
        Accepted as every architecture does; all readings are the same network here.
    dropout : float
        Rate after each convolution of the blocks and of the transitions down; 0 leaves the layers out.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1].
    synchronized : bool
        Batch statistics over all replicas of a distribution strategy (TensorFlow backend only).
    blocks, bottleneck : sequence of int, int
        Layers of each dense block going down (and, reversed, up), and of the one between.
    growth : int
        Features that each layer of a block adds.
    stem : int
        Filters of the first convolution.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If the size cannot be halved once a block, or a block has no layer.
    """
    return build_fcdensenet(
        "fcdensenet103",
        input_shape,
        num_classes,
        blocks=blocks,
        bottleneck=bottleneck,
        growth=growth,
        stem=stem,
        weights=weights,
        dropout=dropout,
        normalise=normalise,
        synchronized=synchronized,
        seed=seed,
    )
