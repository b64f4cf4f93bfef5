"""Configs: read, override, refuse, hash, write back."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidcxr_tf.config import (
    Config,
    check_config,
    check_override,
    dump_toml,
    find_config,
    list_configs,
    load_config,
    merge,
)
from covidcxr_tf.errors import ConfigError


@pytest.mark.parametrize("name", list_configs())
@pytest.mark.parametrize("smoke", [False, True])
def test_each_shipped_config_reads_and_survives_writing(name: str, smoke: bool, tmp_path: Path) -> None:
    config = load_config(name, smoke=smoke)
    copy = tmp_path / "config.toml"
    copy.write_text(dump_toml(config), encoding="utf-8")
    assert load_config(copy) == config
    assert load_config(copy).digest() == config.digest()


@pytest.mark.parametrize("name", list_configs())
def test_smoke_is_smaller_and_every_source_names_a_value_that_exists(name: str) -> None:
    whole, small = load_config(name), load_config(name, smoke=True)
    assert small.image.size < whole.image.size
    assert small.train.epochs <= whole.train.epochs
    table = whole.model_dump()
    for key in whole.source:
        value = table
        for part in key.split("."):
            value = value[part]


def test_contract_defaults_of_chexnet() -> None:
    image = load_config("chexnet").image
    assert (image.size, image.channels, image.gamma) == (320, ("beasf", "clahe", "raw"), 1.5)
    assert (image.clip_limit, image.tiles, image.lungs, image.lung_margin) == (2.0, 8, "crop", 0.05)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "unknown key 'train.epoch', did you mean 'epochs'?"),
        ("trian.epochs=3", "unknown key 'trian', did you mean 'train'?"),
        ("train.epochs=zero", "train.epochs"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("image.channels=['red']", "image.channels"),
        ("arch=chexnett", "arch 'chexnett' is unknown"),
        ("positive=measles", "positive 'measles' is not a class"),
        ("data.ratios=[0.5, 0.2, 0.2]", "must be non-negative and sum to 1"),
        ("classes={a=['normal']}", "at least two"),
        ("classes={a=['normal'], b=['normal']}", "label 'normal' is in the classes 'a' and 'b'"),
        ("novalue", "is no override"),
        ("seed=-1", "seed"),
        ("train.monitor=val_lss", "train.monitor 'val_lss' is no score of classification; expected val_loss"),
        ("task=segmentation", "image.lungs must be none for segmentation"),
        ("patches.validation_votes=65", "less than or equal to 64"),
        ("image.level_steps=16", 'needs image.redistribution = "even"'),
        (
            "image={redistribution='even', level_steps=16, histogram_reference='a.png'}",
            "must be 1 with image.histogram_reference",
        ),
    ],
)
def test_refusals_name_the_key_and_what_was_expected(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("chexnet", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_overrides_win_over_smoke_and_the_last_one_wins() -> None:
    config = load_config("chexnet", ["train.epochs=7", "train.epochs=9", "name=bare words"], smoke=True)
    assert (config.train.epochs, config.name) == (9, "bare words")


def test_classes_are_replaced_whole_and_keep_their_order() -> None:
    config = load_config("chexnet", ["classes={sick=['covid19'], well=['normal']}", "positive=sick"])
    assert config.class_names == ("sick", "well")
    assert config.positive_class == "sick"
    assert load_config("chexnet", ["positive="]).positive_class == "covid19"


def test_configs_are_frozen_and_digests_tell_them_apart() -> None:
    config = load_config("chexnet")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]
    other = load_config("chexnet", ["seed=1"])
    assert config.digest() != other.digest()
    assert config.digest("image") == other.digest("image")


def test_unreadable_and_unknown_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load_config(broken)
    with pytest.raises(ConfigError, match="did you mean 'chexnet'"):
        find_config("chexnt")


def test_merge_goes_into_tables_only() -> None:
    base = {"a": {"b": 1, "c": 2}, "classes": {"x": ["x"]}}
    assert merge(base, {"a": {"b": 3}, "classes": {"y": ["y"]}}) == {"a": {"b": 3, "c": 2}, "classes": {"y": ["y"]}}
    assert base["a"] == {"b": 1, "c": 2}


def test_toml_text_survives_odd_strings(tmp_path: Path) -> None:
    table = load_config("chexnet").model_dump(mode="json") | {"name": 'a "b" \\ ü \x7f\n', "source": {"a b.c": "d"}}
    config = check_config(table)
    path = tmp_path / "odd.toml"
    path.write_text(dump_toml(config), encoding="utf-8")
    assert isinstance(load_config(path), Config)
    assert load_config(path) == config


def test_the_authors_reading_holds_for_the_pixels_too() -> None:
    assert load_config("chexnet").image.compat == "ours"
    assert load_config("chexnet", ["compat=authors"]).image.compat == "authors"
    assert load_config("chexnet", ["compat=authors", "image.compat=ours"]).image.compat == "ours"


def test_an_override_of_the_training_holds_for_phases_and_levels() -> None:
    levels = load_config("chexnet_hierarchical", ["train.epochs=3"]).levels
    assert {name: level["train"]["epochs"] for name, level in levels.items()} == {"level_1": 3, "level_2": 3}
    changes = ["train.learning_rate=0.5", "phases.phase_1.train.learning_rate=0.25"]
    phases = load_config("densenet121", changes).phases
    assert [phase["train"]["learning_rate"] for phase in phases.values()] == [0.25, 0.5, 0.5]
    # What a part alone says stays its own.
    assert phases["phase_1"]["train"]["loss"] == "binary_cross_entropy" and set(phases["phase_3"]["train"]) == {
        "learning_rate"
    }


@pytest.mark.parametrize("task", ["multilabel", "segmentation", "hierarchical"])
def test_only_classifiers_of_one_label_redraw_validation_films(task: str) -> None:
    changes = [f"task={task}", "image.lungs=none", "data.redraw_validation=true"]
    with pytest.raises(ConfigError, match=rf"data\.redraw_validation is for classification; the task is {task}"):
        load_config("chexnet", changes)
    assert load_config("chexnet", [*changes, "task=classification"]).data.redraw_validation


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "unknown key 'train.epoch', did you mean 'epochs'?"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("train.epochs=many", "train.epochs"),
        ("phases.phase_1.train.epoch=3", "unknown key 'train.epoch'"),
        ("levels.level_2.imag.size=3", "unknown key 'imag'"),
        ("novalue", "is no override"),
    ],
)
def test_an_override_that_no_config_takes_is_refused_alone(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        check_override(override)


@pytest.mark.parametrize(
    "override",
    ["train.epochs=3", "patches.size=4000", "phases.phase_1.train.epochs=3", "model.init=C:/w.h5", "classes.a=['x']"],
)
def test_rules_across_keys_are_left_to_the_config(override: str) -> None:
    check_override(override)
    if override.startswith("patches"):
        with pytest.raises(ConfigError, match=r"larger than image\.size"):
            load_config("base", [override])
