"""Is a resumed run still the one that began: for every shipped config, and key by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidcxr_tf.config import list_configs, load_config
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.train.sameness import check_same_config, config_digest


@pytest.mark.parametrize("name", list(list_configs()))
def test_every_shipped_config_is_the_same_as_itself_and_not_as_another(name: str) -> None:
    config, other = load_config(name), load_config(name, ["seed=77"])
    check_same_config(config, load_config(name), Path("config.toml"))
    with pytest.raises(ConfigError, match="seed was 0 and is 77"):
        check_same_config(config, other, Path("config.toml"))
    check_same_config(config, other, Path("config.toml"), derived=("seed",))
    assert config_digest(config) != config_digest(other)


def test_the_order_of_the_classes_counts() -> None:
    one = load_config("base")
    turned = one.model_copy(update={"classes": dict(reversed(one.classes.items()))})
    with pytest.raises(ConfigError, match="classes was"):
        check_same_config(one, turned, Path("config.toml"))


def test_keys_that_came_later_count_where_they_change_something() -> None:
    table = load_config("base").model_dump(mode="json")
    assert (table["train"]["decay"], table["model"]["low_pass"]) == ("none", 0)
    plain = config_digest(load_config("base"))
    assert config_digest(load_config("base", ["train.decay=cosine"])) != plain
    assert config_digest(load_config("efficientnet-lite0")) != config_digest(
        load_config("efficientnet-lite0", ["model.low_pass=0"])
    )
    assert config_digest(load_config("base", ["model.mirrored=true"])) != plain
