"""What the configs of DenseNet121 in phases and of VGG16 say, against the papers' own numbers."""

from __future__ import annotations

import pytest

from covidcxr_tf.config import Config, load_config
from covidcxr_tf.data.schema import FINDINGS
from covidcxr_tf.recipes.phases import phase_configs

PATHS = {  # Fricks 2021, figure 1: phases, and where the films of phase 2 come from
    "a": ("123", ("rsna",)),
    "b": ("123", ("nih-cxr14", "nih14")),
    "c": ("13", ()),
    "d": ("23", ("rsna",)),
    "e": ("23", ("nih-cxr14", "nih14")),
    "f": ("3", ()),
}


@pytest.fixture(scope="module")
def phases() -> dict[str, Config]:
    return phase_configs(load_config("densenet121"))


@pytest.mark.parametrize("path", PATHS)
def test_paths_differ_in_their_phases_only(path: str) -> None:
    numbers, sources = PATHS[path]
    config, shared = load_config(f"densenet121_path_{path}"), load_config("densenet121")
    found = phase_configs(config)
    assert list(found) == [f"phase_{number}" for number in numbers]
    assert config.name == f"densenet121_path_{path}"
    if "phase_2" in found:
        assert found["phase_2"].data.sources == sources
    same = ("image", "model", "augment", "train", "classes", "data", "seed", "arch")
    assert config.digest(*same) == shared.digest(*same)
    last = found["phase_3"]
    assert (last.class_names, last.positive_class) == (("negative", "covid19"), "covid19")


@pytest.mark.parametrize("path", PATHS)
def test_smoke_of_a_path_takes_synthetic_films(path: str) -> None:
    for phase in phase_configs(load_config(f"densenet121_path_{path}", smoke=True)).values():
        assert phase.data.sources == ()
        assert (phase.image.size, phase.train.epochs) == (64, 1)


def test_phases_have_the_papers_rates_and_films(phases: dict[str, Config]) -> None:
    assert [phase.train.learning_rate for phase in phases.values()] == [0.01, 0.001, 0.0005]
    assert [phase.model.normalise_films for phase in phases.values()] == [16384, 2048, 2048]
    assert [phase.data.ratios for phase in phases.values()] == [(0.7, 0.1, 0.2), (0.8, 0.2, 0.0), (0.6, 0.2, 0.2)]
    for phase in phases.values():
        train = phase.train
        assert (train.optimizer, train.momentum, train.weight_decay, train.batch_size) == ("sgd", 0.9, 1e-4, 16)
        assert (train.reduce_lr_patience, train.reduce_lr_factor, train.early_stopping_patience) == (3, 0.1, 10)
        assert train.class_weights == "none"
        assert (phase.image.size, phase.augment.rotation_degrees, phase.augment.horizontal_flip) == (512, 8.0, True)
        # A crop of a tenth of the side, back at full size, is a magnification of 1 / .9.
        assert phase.augment.zoom == pytest.approx((1, 1 / 0.9), abs=1e-4)


def test_phase_1_asks_for_the_findings_in_the_nihs_order(phases: dict[str, Config]) -> None:
    first = phases["phase_1"]
    assert first.task == "multilabel"
    assert first.class_names == FINDINGS
    assert all(labels == (name,) for name, labels in first.classes.items())
    assert first.train.loss == "binary_cross_entropy"


def test_phase_2_is_about_pneumonia(phases: dict[str, Config]) -> None:
    second = phases["phase_2"]
    assert second.task == "classification"
    assert (second.class_names, second.positive_class) == (("no_pneumonia", "pneumonia"), "pneumonia")
    # Films of tuberculosis or COVID-19 are neither: both shadow the lungs without being this pneumonia.
    labels = {label for labels in second.classes.values() for label in labels}
    assert not labels & {"covid19", "tuberculosis"}


def test_vgg16_is_the_studys() -> None:
    config = load_config("vgg16")
    assert config.class_names == ("normal", "bacterial", "viral", "covid19")
    assert (config.data.folds, config.image.size, len(config.image.channels)) == (5, 224, 3)
    assert (config.model.head_layers, config.model.head_units, config.model.pooling) == (3, 4096, "flatten")
    train = config.train
    assert (train.optimizer, train.learning_rate, train.batch_size, train.epochs) == ("adam", 1e-3, 32, 50)


def test_variants_of_vgg16_change_one_thing() -> None:
    whole, segmented, maps = (load_config(name) for name in ("vgg16", "vgg16_segmented", "vgg16_cam"))
    tables = ("data", "classes", "model", "augment", "train", "seed")
    assert segmented.digest(*tables) == whole.digest(*tables)
    assert (whole.image.lungs, segmented.image.lungs) == ("none", "mask")
    tables = ("data", "classes", "image", "augment", "train", "seed")
    assert maps.digest(*tables) == whole.digest(*tables)
    assert maps.model.pooling == "average"
