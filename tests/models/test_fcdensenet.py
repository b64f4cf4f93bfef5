"""FC-DenseNet: the papers' sizes, the channels of each stage, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from covidcxr_tf.models import fcdensenet67, fcdensenet103

TINY: dict[str, Any] = {"blocks": (1, 2), "bottleneck": 2, "growth": 3, "stem": 4}


def counted(blocks: Sequence[int], bottleneck: int, growth: int, stem: int, classes: int) -> int:
    """Return the parameters by arithmetic: a layer is four vectors of a normalisation and a 3x3 kernel."""

    def block(wide: int, depth: int) -> tuple[int, int]:
        total = 0
        for _ in range(depth):
            total += 4 * wide + 9 * wide * growth
            wide += growth
        return total, wide

    total, wide, copies = 9 * stem, stem, []
    for depth in blocks:
        made, wide = block(wide, depth)
        total += made + 4 * wide + wide * wide
        copies.append(wide)
    total += block(wide, bottleneck)[0]
    fresh = bottleneck * growth
    for depth, copy in zip(reversed(blocks), reversed(copies), strict=True):
        made, wide = block(copy + fresh, depth)
        total += 9 * fresh * fresh + made
        fresh = depth * growth
    return total + wide * classes + classes


@pytest.mark.parametrize(
    ("network", "printed", "count"), [(fcdensenet103, 9.4e6, 9_418_484), (fcdensenet67, 3.5e6, 3_497_268)]
)
def test_parameters_of_the_paper_and_by_hand(network: Any, printed: float, count: int) -> None:
    model = network.build(num_classes=4)
    assert model.count_params() == count == counted(network.BLOCKS, network.BOTTLENECK, 16, 48, 4)
    assert abs(count / printed - 1) < 0.01
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    depth = {fcdensenet103: 103, fcdensenet67: 67}[network]
    ups = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    # The number in the name counts all of them, the convolutions on the way up included.
    assert len({layer.name for layer in [*convolutions, *ups]}) == depth


def test_channels_of_each_stage_are_those_of_table_2() -> None:
    model = fcdensenet103.build(num_classes=11)
    down = [model.get_layer(f"down{level}_transition_pool").output.shape for level in range(1, 6)]
    assert [(shape[1], shape[3]) for shape in down] == [(128, 112), (64, 192), (32, 304), (16, 464), (8, 656)]
    # What the table counts after a block is what its last layer reads and the 16 that it makes.
    last = [f"bottleneck_layer{fcdensenet103.BOTTLENECK}", "up5_layer12", "up4_layer10", "up3_layer7", "up2_layer5"]
    stages = [model.get_layer(f"{name}_bn").output.shape[-1] + 16 for name in last]
    assert stages == [896, 1088, 816, 576, 384]  # the table's 578 is a slip: 304 + 160 + 7 x 16
    assert model.get_layer(fcdensenet103.CAM_LAYER).output.shape[1:] == (256, 256, 256)
    assert model.output_shape == (None, 256, 256, 11)


def test_only_fresh_features_are_enlarged() -> None:
    model = fcdensenet103.build((32, 32, 1), 1, **TINY)
    assert model.get_layer("up2_transition").output.shape[1:] == (16, 16, 2 * 3)
    assert model.get_layer("up1_transition").output.shape[1:] == (32, 32, 2 * 3)


def test_a_block_of_one_layer_hands_its_layer_on() -> None:
    model = fcdensenet103.build((8, 8, 1), 1, blocks=(1,), bottleneck=1, growth=3, stem=4)
    assert model.get_layer("up1_transition").output.shape[-1] == 3


def test_an_open_size_takes_any_multiple() -> None:
    model = fcdensenet67.build((None, None, 1), 4, **TINY)
    assert model(np.zeros((1, 8, 12, 1), np.float32)).shape == (1, 8, 12, 4)


def test_each_pixel_keeps_its_place() -> None:
    model = fcdensenet103.build((32, 32, 1), 1, **TINY, seed=2)
    film = np.full((1, 32, 32, 1), 0.5, np.float32)
    dotted = film.copy()
    dotted[0, 5, 26] = 1
    change = np.abs(np.asarray(model(dotted)) - np.asarray(model(film)))[0, ..., 0]
    rows, columns = np.nonzero(change > 0.5 * change.max())
    assert abs(rows.mean() - 5) < 3
    assert abs(columns.mean() - 26) < 3


def test_dropout_of_each_layer_draws_for_itself() -> None:
    model = fcdensenet103.build((8, 8, 1), 1, **TINY, seed=2)
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    # 1 + 2 down, 2 between, 2 + 1 up, and two transitions down
    assert len(drops) == len({layer.seed for layer in drops}) == 10
    assert {layer.rate for layer in drops} == {0.2}
    without = fcdensenet103.build((8, 8, 1), 1, **TINY, dropout=0.0)
    assert not [layer for layer in without.layers if isinstance(layer, keras.layers.Dropout)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (100, 96, 1)}, r"100 rows; 5 blocks need a multiple of 32 \(nearest: 96\)"),
        ({"input_shape": (64, 8, 1)}, r"8 columns; 5 blocks need a multiple of 32 \(nearest: 32\)"),
        ({"blocks": ()}, "at least one block"),
        ({"blocks": (2, 0)}, "one layer in each"),
        ({"bottleneck": 0}, "one layer in each"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fcdensenet103.build(**options)
