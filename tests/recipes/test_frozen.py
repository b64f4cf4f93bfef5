"""Frozen layers: they and their statistics stay, the rest is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.config import Config, load_config
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.models.files import load_model
from covidcxr_tf.recipes.classifier import model
from covidcxr_tf.recipes.execute import execute
from covidcxr_tf.recipes.lung_segmentation import model as lung_network


def config(*changes: str) -> Config:
    small = ["image.size=32", "image.tiles=4", "image.lungs=none", "model.init=none", "model.blocks=[1,1]"]
    return load_config(
        "efficientnet-lite0", [*small, "run_phases=[]", "train.epochs=1", "train.batch_size=8", *changes]
    )


def test_a_frozen_backbone_stays_as_it_was(phantoms: Path, tmp_path: Path) -> None:
    frozen = config(f"data.manifest={phantoms}", "model.frozen_to=top_relu", "train.learning_rate=0.1")
    before = {layer.name: layer.get_weights() for layer in model(frozen).layers}
    execute(frozen, tmp_path / "run")
    trained, _ = load_model(tmp_path / "run" / "model.keras")
    for layer in trained.layers:
        same = all(np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
        assert same == (layer.name != "logits"), layer.name


def test_only_what_comes_after_is_trained() -> None:
    network = model(config("model.frozen_to=stem_relu"))
    names = {weight.path.split("/")[0] for weight in network.trainable_weights}
    assert not any(name.startswith("stem") for name in names)
    assert {"block1_depthwise_conv", "top_bn", "logits"} <= names


@pytest.mark.parametrize("name", ["top_rleu", "logits"])
def test_a_layer_that_cannot_be_the_last_frozen_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="frozen_to"):
        model(config(f"model.frozen_to={name}"))


def test_a_low_pass_is_refused_where_there_is_none() -> None:
    network = model(config("model.low_pass=2"))
    assert [layer.name for layer in network.layers[:3]] == ["image", "low_pass1", "low_pass2"]
    with pytest.raises(ConfigError, match="chexnet has no such layers"):
        model(load_config("chexnet", ["model.low_pass=1", "image.size=32"]))


def test_a_mean_of_both_sides_is_refused_where_there_is_none() -> None:
    names = [layer.name for layer in model(config("model.mirrored=true")).layers]
    assert names.index("low_pass12") < names.index("both_sides") < names.index("mean_of_sides")
    with pytest.raises(ConfigError, match=r"model\.mirrored is true, and chexnet has no such layers.*expected false"):
        model(load_config("chexnet", ["model.mirrored=true", "image.size=32"]))


def test_a_lung_network_is_frozen_and_smoothed_alike() -> None:
    small = ["image.size=32", "model.init=none", "model.filters=[4,4,4,4,4]"]
    network = lung_network(load_config("unet-lite0", [*small, "model.low_pass=1", "model.frozen_to=decoder2_relu2"]))
    assert network.layers[1].name == "low_pass1"
    trained = {weight.path.split("/")[0] for weight in network.trainable_weights}
    assert trained == {"decoder1_conv1", "decoder1_bn1", "decoder1_conv2", "decoder1_bn2", "logits"}
    with pytest.raises(ConfigError, match="unet has no such layers"):
        lung_network(load_config("unet", ["model.low_pass=1", "image.size=32"]))
