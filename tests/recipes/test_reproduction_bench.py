"""The bench: films as manifests, configs as the user laid them over, runs that are trained once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import Config
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import ConfigError, ManifestError, UsageError
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions import bench as bench_module
from covidcxr_tf.recipes.reproductions.bench import Bench, check_settings, settings_for
from covidcxr_tf.train.loop import _Training
from covidcxr_tf.train.run_dir import RunDir

TINY = ("image.size=64", "image.tiles=4", "train.epochs=1", "train.batch_size=8")
Make = Callable[..., Bench]


@pytest.fixture
def make(phantoms: Path, tmp_path: Path) -> Make:
    """Return a function that makes a bench on the phantoms."""

    def build(**more: object) -> Bench:
        films = load_manifest(phantoms)
        values = {"out": tmp_path / "out", "settings": TINY} | more
        return Bench(films, phantoms, phantoms.parent, **values)  # type: ignore[arg-type]

    return build


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Replace training by a note of the config; the run holds only its metrics."""
    done: list[Config] = []

    def execute(config: Config, out: Path, **how: object) -> Outcome:
        done.append(config)
        run = RunDir.create(out, config)
        (run.folder / "metrics.json").write_text(json.dumps({"n": len(done)}))
        return Outcome(run, {"n": len(done)})

    monkeypatch.setattr(bench_module, "execute", execute)
    return done


def test_films_are_a_manifest_of_the_same_root(make: Make) -> None:
    bench = make()
    rows = bench.manifest[bench.manifest["label"] == "covid19"].assign(label="viral")
    path = bench.films(rows, "virus")
    assert path == bench.out / "films" / "virus.csv"
    again = load_manifest(path, root=bench.root)
    assert again["path"].tolist() == rows["path"].tolist()
    assert set(again["label"]) == {"viral"}
    assert not Path(again["path"][0]).is_absolute()


def test_no_rows_are_a_reason_and_bad_names_a_defect(make: Make) -> None:
    bench = make()
    with pytest.raises(ManifestError, match="no film for 'none'"):
        bench.films(bench.manifest.head(0), "none")
    for name in ("a/b", "", "..", ".hidden"):
        with pytest.raises(ValueError, match="no name"):
            bench.films(bench.manifest, name)


def test_the_users_settings_lie_over_the_experiments_changes(make: Make, phantoms: Path) -> None:
    config = make(seed=9).config("base", ["image.size=80", "train.learning_rate=0.5", "seed=4"])
    assert config.image.size == 64
    assert config.train.learning_rate == 0.5
    assert config.seed == 9
    assert Path(config.data.manifest) == phantoms
    assert Path(config.data.root) == phantoms.parent
    assert make(settings=(), smoke=True).config("base").train.epochs == 1
    with pytest.raises(ConfigError, match=r"train\.epoch"):
        make(settings=("train.epoch=1",)).config("base")


def test_a_finished_run_is_read_again(make: Make, trained: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    first = make().train("base", "one")
    second = make().train("base", "one")
    assert len(trained) == 1
    assert second.metrics == first.metrics == {"n": 1}
    assert second.run.folder == first.run.folder
    assert "read again" in capsys.readouterr().err


def test_another_config_is_another_run_and_the_old_one_is_kept(make: Make, trained: list[Config]) -> None:
    make().train("base", "one")
    for changes in (["train.learning_rate=0.5"], ["train.learning_rate=0.25"]):
        make().train("base", "one", changes)
    runs = make().out / "runs"
    assert sorted(path.name for path in runs.iterdir()) == ["one", "one_before", "one_before_2"]
    assert [
        json.loads((runs / n / "metrics.json").read_text())["n"] for n in ("one_before", "one_before_2", "one")
    ] == [
        1,
        2,
        3,
    ]
    make(seed=1).train("base", "one", ["train.learning_rate=0.25"])
    assert len(trained) == 4


def test_other_rows_under_the_same_name_are_trained_anew(make: Make, trained: list[Config]) -> None:
    bench = make()
    path = bench.films(bench.manifest, "some")
    bench.train("base", "one", films=path)
    assert bench.films(bench.manifest, "some") == path
    bench.train("base", "one", films=path)
    assert len(trained) == 1
    bench.films(bench.manifest.head(20), "some")
    bench.train("base", "one", films=path)
    assert len(trained) == 2


def test_a_reproduction_that_was_moved_is_still_done(make: Make, trained: list[Config], tmp_path: Path) -> None:
    bench = make()
    bench.train("base", "one", films=bench.films(bench.manifest, "some"))
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    moved = make(out=tmp_path / "elsewhere")
    moved.train("base", "one", films=moved.films(moved.manifest, "some"))
    assert len(trained) == 1


def test_a_key_that_configs_got_since_does_not_cost_the_run(make: Make, trained: list[Config]) -> None:
    run = make().train("base", "one").run
    path = run.folder / "config.toml"
    text = path.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("shuffle_buffer")]
    path.write_text(text.replace(f"{line}\n", ""))  # as if it had been written before there was such a key
    make().train("base", "one")
    assert len(trained) == 1
    path.write_text(text.replace(line, "shuffle_buffer = 7"))  # as if the default had been another
    make().train("base", "one")
    assert len(trained) == 2
    path.write_text(f"gone = 1\n{text}")  # a key that is no longer known: it cannot be told what it did
    with path.with_name("finished.json").open("w") as finished:
        json.dump({"config": "another", "films": "same"}, finished)
    make().train("base", "one")
    assert len(trained) == 3


def interrupt(make: Make, monkeypatch: pytest.MonkeyPatch, changes: list[str]) -> None:
    """Leave a real run behind that was interrupted after its first epoch, as by Ctrl-C."""
    usual = _Training.train_batches

    def stop(training: _Training, progress: Any) -> None:
        if training.state.epoch == 2:
            raise KeyboardInterrupt
        usual(training, progress)

    with monkeypatch.context() as patch:
        patch.setattr(_Training, "train_batches", stop)
        with pytest.raises(KeyboardInterrupt):
            make().train("base", "one", changes)


def test_an_interrupted_run_goes_on_from_its_checkpoint(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["image.lungs=none", "train.epochs=2"]
    make = partial(make, settings=TINY[:2] + TINY[3:])
    whole = make(seed=0).train("base", "whole", changes)
    interrupt(make, monkeypatch, changes)
    outcome = make().train("base", "one", changes)
    told = capsys.readouterr().err
    assert "run one: was interrupted, goes on" in told
    assert "resumed in epoch 2" in (outcome.run.folder / "train.log").read_text()
    assert sorted(path.name for path in (make().out / "runs").iterdir()) == ["one", "whole"]
    pd.testing.assert_series_equal(pd.read_csv(outcome.run.history)["loss"], pd.read_csv(whole.run.history)["loss"])


def test_an_interrupted_run_of_folds_goes_on_after_it_was_moved(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    changes = ["image.lungs=none", "train.epochs=2", "data.folds=3"]
    make = partial(make, settings=TINY[:2] + TINY[3:])
    interrupt(make, monkeypatch, changes)
    (tmp_path / "out").rename(tmp_path / "moved")
    outcome = make(out=tmp_path / "moved").train("base", "one", changes)
    assert "run one: was interrupted, goes on" in capsys.readouterr().err
    assert "resumed in epoch 2" in (outcome.run.folder / "fold_1" / "train.log").read_text()


def test_an_interrupted_run_whose_config_is_torn_is_begun_anew(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["image.lungs=none", "train.epochs=2"]
    make = partial(make, settings=TINY[:2] + TINY[3:])
    interrupt(make, monkeypatch, changes)
    config = make().out / "runs" / "one" / "config.toml"
    config.write_text(config.read_text()[:40])
    make().train("base", "one", changes)
    assert "damaged: begun anew" in capsys.readouterr().err


def test_an_interrupted_run_of_another_config_is_begun_anew(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = partial(make, settings=TINY[:2] + TINY[3:])
    interrupt(make, monkeypatch, ["image.lungs=none", "train.epochs=2"])
    outcome = make().train("base", "one", ["image.lungs=none", "train.epochs=1", "train.learning_rate=0.25"])
    assert (
        "run one: was interrupted, and is of another config or other films or damaged: begun anew"
        in capsys.readouterr().err
    )
    assert pd.read_csv(outcome.run.history)["learning_rate"].tolist() == [0.25]


def test_a_real_training_is_read_back_equal(make: Make) -> None:
    bench = make(smoke=True)
    first = bench.train("base", "real", ["image.lungs=none"])
    assert (first.run.folder / "model.keras").is_file()
    again = bench.train("base", "real", ["image.lungs=none"])
    assert json.loads(json.dumps(first.metrics)) == again.metrics
    assert again.metrics["classes"] == ["normal", "covid19"]


def test_a_setting_may_name_the_configs_it_is_for(make: Make) -> None:
    settings = ("unet*:train.epochs=7", "train.epochs=3", "base:image.size=96", "model.init=C:/weights.h5")
    bench = make(settings=settings)
    assert settings_for("unet_four", settings) == ["train.epochs=3", "model.init=C:/weights.h5", "train.epochs=7"]
    assert bench.config("unet").train.epochs == 7
    assert bench.config("base").train.epochs == 3
    assert bench.config("base").image.size == 96
    assert bench.config("unet").image.size == 256
    check_settings(settings)
    with pytest.raises(UsageError, match="'resnet19' is no config"):
        check_settings(["resnet19:train.epochs=1"])


def test_what_an_experiment_is_about_lies_over_the_users_settings(make: Make, trained: list[Config]) -> None:
    bench = make()
    bench.train("base", "large", ["image.size=80"], fixed=["image.size=80"])
    assert trained[0].image.size == 80
    assert bench.config("base", fixed=["seed=4"]).seed == 0


def test_drawn_films_are_those_named_for_it(make: Make, tmp_path: Path) -> None:
    bench = make()
    own = bench.drawn()
    assert own is not None
    assert len(own.manifest) == len(bench.manifest)
    masked = bench.manifest.assign(mask_path=bench.manifest["mask_path"].where(bench.manifest.index % 3 == 0, ""))
    (tmp_path / "masked").mkdir()
    masked.to_csv(tmp_path / "masked" / "masks.csv", index=False)
    other = make(masks=load_manifest(tmp_path / "masked" / "masks.csv", root=bench.root)).drawn()
    assert other is not None
    assert other.manifest["path"].tolist() == bench.manifest["path"][::3].tolist()
    assert other.manifest.index.tolist() == list(range(len(other.manifest)))
    assert other.manifest_path == tmp_path / "masked" / "masks.csv"
    assert other.root == bench.root.resolve()
    assert (other.out, other.settings) == (bench.out, bench.settings)
    assert replace(bench, manifest=bench.manifest.drop(columns="mask_path")).drawn() is None


def test_a_changed_file_is_another_run(
    make: Make, trained: list[Config], tmp_path: Path, anatomy_of: Callable[..., Path], anatomy_drawn: np.ndarray
) -> None:
    network, phase = anatomy_of(anatomy_drawn), tmp_path / "phase_1.csv"
    phase.write_bytes(make().manifest_path.read_bytes())
    table = f'phases.phase_1.data.manifest="{phase}"'
    lungs = ("image.lungs=crop", f'image.lung_model="{network}"')

    def train() -> int:
        make().train("base", "one", [table, *lungs])
        return len(trained)

    assert [train(), train()] == [1, 1]
    phase.write_text(phase.read_text() + "\n")
    assert [train(), train()] == [2, 2]
    anatomy_of(anatomy_drawn[:, ::-1])  # other weights under the same name
    assert [train(), train()] == [3, 3]
    network.unlink()  # what is finished can be read without it
    assert train() == 3


def test_a_run_from_before_files_counted_is_told_by_its_own_lung_network(
    make: Make, trained: list[Config], anatomy_of: Callable[..., Path], anatomy_drawn: np.ndarray
) -> None:
    network = anatomy_of(anatomy_drawn)
    lungs = ("image.lungs=crop", f'image.lung_model="{network}"')
    run = make().train("base", "one", lungs).run
    stored = json.loads((run.folder / "finished.json").read_text())
    (run.folder / "finished.json").write_text(json.dumps({key: stored[key] for key in ("config", "films", "init")}))
    shutil.copyfile(network, run.folder / "lung_model.keras")
    make().train("base", "one", lungs)
    assert len(trained) == 1
    anatomy_of(anatomy_drawn[:, ::-1])
    make().train("base", "one", lungs)
    assert len(trained) == 2
