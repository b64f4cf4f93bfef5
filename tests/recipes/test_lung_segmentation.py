"""Heart and lungs from the config to the masks: what goes together, what is refused, a run on synthetic films."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import load_config
from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.anatomy import CLASSES
from covidcxr_tf.recipes.lung_segmentation import check, model

FOUR = ("fcdensenet103", "fcdensenet67", "unet_four")


@pytest.mark.parametrize("name", FOUR)
def test_shipped_configs_go_together(name: str) -> None:
    config = load_config(name)
    check(config)
    assert config.class_names == CLASSES
    assert (config.train.loss, config.train.background_weight) == ("cross_entropy", 0.5)
    assert not config.augment.horizontal_flip


@pytest.mark.parametrize("name", ["unet", "unet_paper"])
def test_lungs_alone_still_pass(name: str) -> None:
    check(load_config(name))
    assert model(load_config(name, smoke=True)).output_shape == (None, 32, 32, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.loss=bce_dice", "the masks have 4 classes; expected cross_entropy"),
        ("augment.horizontal_flip=true", "left lungs into right ones"),
        ("classes={background=[], lung=[]}", "expected none"),
        ("classes={background=[], heart=[], right_lung=[], left_lung=[]}", "expected none"),
    ],
)
def test_what_does_not_go_together_is_refused(change: str, message: str) -> None:
    config = load_config("unet_four", [change], smoke=True)
    for refuse in (check, model):
        with pytest.raises(ConfigError, match=message):
            refuse(config)


def test_an_fcdensenet_may_find_lungs_alone() -> None:
    config = load_config("fcdensenet67", ["classes={}", "train.loss=bce_dice"], smoke=True)
    built = model(config)
    assert built.output_shape == (None, 32, 32, 1)
    assert built.name == "fcdensenet67"


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the U-Net for four classes on synthetic films."""
    from covidcxr_tf.recipes.execute import execute

    still = {"rotation_degrees": 0, "shift": 0, "shear_degrees": 0, "zoom": [1, 1], "noise": 0}
    still |= {name: [1, 1] for name in ("brightness", "contrast", "gamma")}
    quick = {"epochs": 10, "learning_rate": 0.01, "reduce_lr_patience": 0}
    changes = [
        f"data.manifest={phantoms}",
        "model.filters=[8, 16, 32, 64]",
        "model.batch_norm_momentum=0.7",  # few steps: 0.99 would still remember the start
        *(f"augment.{name}={value}" for name, value in still.items()),
        *(f"train.{name}={value}" for name, value in quick.items()),
    ]
    out = tmp_path_factory.mktemp("runs") / "four"
    execute(load_config("unet_four", changes, smoke=True), out)
    return out


def test_a_run_learns_and_judges_each_class(run: Path) -> None:
    history = pd.read_csv(run / "history.csv")
    metrics = json.loads((run / "metrics.json").read_text())
    table = pd.read_csv(run / "overlap_test.csv")
    assert set(metrics["test"]["by_class"]) == {"heart", "left_lung", "right_lung"}
    for name, entry in metrics["test"]["by_class"].items():
        assert entry["n"] == len(table)
        for kind in ("dice", "jaccard"):
            assert entry[kind]["value"] == pytest.approx(table[f"{kind}_{name}"].mean())
    assert metrics["test"]["dice"]["value"] > 0.8
    assert min(entry["dice"]["value"] for entry in metrics["test"]["by_class"].values()) > 0.6
    # val_dice is the mean over the three organs, on the network's own grid and not cleaned: near the table's.
    organs = pd.read_csv(run / "overlap_validation.csv")[["dice_heart", "dice_left_lung", "dice_right_lung"]]
    assert history["val_dice"].max() == pytest.approx(organs.mean(axis=None), abs=0.15)
    assert "the heart wins" in json.loads((run / "card.json").read_text())["facts"]["lungs"]


def test_the_runs_network_finds_hearts(run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    assert LungFinder.load(run).finds_heart
    done = covidcxr("segment", phantoms, "--model", run, "--out", tmp_path / "masks", "--json")
    assert done.code == 0, done.err
    films = json.loads(done.out)["films"]
    for film in films[:3]:
        heart = cv2.imread(str(tmp_path / "masks" / film["heart_mask_path"]), cv2.IMREAD_UNCHANGED)
        assert list(heart.shape) == film["size"]
        assert set(np.unique(heart)) <= {0, 255}


def test_the_run_judges_itself_as_evaluate_does(run: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    split = pd.read_csv(run / "split.csv").set_index("path")["split"]
    films = load_manifest(phantoms)
    films.assign(split=films["path"].map(split)).to_csv(tmp_path / "split.csv", index=False)
    words = ("--data", tmp_path / "split.csv", "--root", phantoms.parent, "--split", "test", "--out", tmp_path / "out")
    done = covidcxr("evaluate", "--model", run, *words)
    assert done.code == 0, done.err
    ours = json.loads((tmp_path / "out" / "metrics.json").read_text())
    theirs = json.loads((run / "metrics.json").read_text())["test"]
    assert ours["by_class"]["heart"]["dice"]["value"] == pytest.approx(theirs["by_class"]["heart"]["dice"]["value"])


def test_films_without_a_heart_are_left_out(phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from covidcxr_tf.recipes.datasets import open_manifest

    films = load_manifest(phantoms)
    rows = len(films)
    films.loc[films.index[:2], "heart_mask_path"] = ""
    films.to_csv(tmp_path / "some.csv", index=False)
    settings = [f"data.manifest={tmp_path / 'some.csv'}", f"data.root={phantoms.parent}"]
    kept = open_manifest(load_config("unet_four", settings, smoke=True), masks=True)
    assert len(kept) == rows - 2
    assert film_path(kept, 0, "heart_mask_path").is_file()
    assert f"2 of {rows} films have no mask of the heart" in capsys.readouterr().err
    assert len(open_manifest(load_config("unet", settings, smoke=True), masks=True)) == rows
