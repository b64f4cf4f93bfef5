"""Runs of several parts: finished parts are read again, the interrupted one goes on, changes are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import Config, check_config, load_config, merge
from covidcxr_tf.data.manifest import load_manifest, write_manifest
from covidcxr_tf.data.splits import split_by_patient
from covidcxr_tf.errors import ConfigError, SplitError, UsageError
from covidcxr_tf.models.files import load_model
from covidcxr_tf.recipes import execute as module
from covidcxr_tf.recipes.execute import execute
from covidcxr_tf.train.lock import run_lock
from covidcxr_tf.train.run_dir import RunDir, last_folder


class Killed(BaseException):
    """A process that is gone: nothing catches it."""


def small(manifest: Path, **tables: Any) -> Config:
    """Return the base model's config at 64 px, two epochs, with `tables` laid over it."""
    config = load_config("base", [f"data.manifest={manifest}", "image.size=64", "image.tiles=4", "train.epochs=2"])
    return check_config(merge(config.model_dump(mode="json"), {"train": {"batch_size": 8}, **tables}))


def phased(manifest: Path) -> Config:
    phases = {"phase_1": {"train": {"learning_rate": 1e-3}}, "phase_2": {}}
    more = {"run_phases": ["phase_1", "phase_2"], "train": {"epochs": 1, "batch_size": 8}}
    return small(manifest, recipe="densenet121_phased", phases=phases, **more)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each run folder that is trained in."""
    done: list[str] = []

    def noted(job: Any, **more: Any) -> Any:
        done.append(job.run.folder.name)
        return fit(job, **more)

    fit = module.fit
    monkeypatch.setattr(module, "fit", noted)
    return done


def kill_in(monkeypatch: pytest.MonkeyPatch, part: str, epoch: int, call: Callable[[], Any]) -> None:
    """Run `call` up to the end of an epoch of a part."""

    def draw(history: Path, figures: Path) -> None:
        if history.parent.name == part and len(pd.read_csv(history)) == epoch:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "draw_history", draw)
        with pytest.raises(Killed):
            call()


def same_models(run: Path, unbroken: Path) -> None:
    ours, theirs = (load_model(folder / "model.keras")[0].get_weights() for folder in (run, unbroken))
    for values, again in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(again, values)
    assert (run / "predictions_test.csv").read_bytes() == (unbroken / "predictions_test.csv").read_bytes()


def test_phases_that_are_finished_are_not_trained_again(
    phantoms: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = phased(phantoms)
    whole = execute(config, tmp_path / "whole")
    kill_in(monkeypatch, "phase_2", 1, lambda: execute(config, tmp_path / "run"))
    (tmp_path / "run").rename(tmp_path / "moved")  # its parts know their places from the folder they lie in
    trained.clear()
    resumed = execute(config, tmp_path / "moved", resume=True)
    assert trained == ["phase_2"]
    same_models(resumed.run.folder, whole.run.folder)
    assert resumed.metrics == json.loads((whole.run.folder / "metrics.json").read_text())
    assert execute(config, tmp_path / "moved", resume=True).metrics == resumed.metrics
    assert trained == ["phase_2"]
    with pytest.raises(ConfigError, match=r"phases.phase_1.train.learning_rate was 0.001 and is 0.01"):
        changed = merge(config.model_dump(mode="json"), {"phases": {"phase_1": {"train": {"learning_rate": 0.01}}}})
        execute(check_config(changed), tmp_path / "moved", resume=True)


@pytest.mark.slow
def test_folds_that_are_finished_are_not_trained_again(
    phantoms: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(phantoms, data={"folds": 3}, train={"epochs": 1, "batch_size": 8})
    whole = execute(config, tmp_path / "whole")
    kill_in(monkeypatch, "fold_2", 1, lambda: execute(config, tmp_path / "run"))
    trained.clear()
    resumed = execute(config, tmp_path / "run", resume=True)
    assert trained == ["fold_2", "fold_3"]
    for fold in ("fold_1", "fold_2", "fold_3"):
        same_models(resumed.run.folder / fold, whole.run.folder / fold)
    assert json.dumps(resumed.metrics, default=float) == json.dumps(whole.metrics, default=float)


@pytest.fixture(scope="module")
def stopped(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a manifest with a split and a run on it that was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    manifest = write_manifest(split_by_patient(load_manifest(phantoms)), phantoms.parent / "with_split.csv")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, "run", 1, lambda: execute(small(manifest), folder / "run"))
    return manifest, folder / "run"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"train": {"batch_size": 4}}, "train.batch_size was 8 and is 4"),
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"classes": {"covid19": ["covid19"], "normal": ["normal"]}}, r"classes was \{'normal'.* and is \{'covid19'"),
        ({"classes": {"normal": ["normal"], "covid19": ["pneumonia"]}}, r"classes was .*'covid19': \['pneumonia'\]"),
        ({"train": {"epochs": 3, "batch_size": 4}}, "train.epochs was 2 and is 3; train.batch_size was 8 and is 4"),
    ],
)
def test_a_config_that_changed_is_refused_by_name(stopped: tuple[Path, Path], tables: dict, message: str) -> None:
    manifest, run = stopped
    config = merge(small(manifest).model_dump(mode="json"), tables)
    with pytest.raises(ConfigError, match=message) as refused:
        execute(check_config(config), run, resume=True)
    assert refused.value.exit_code == 2
    assert (run / "checkpoints").is_dir() and not (run / "run.lock").exists()


@pytest.mark.parametrize("column", ["split", "patient_id", "path"])
def test_films_that_changed_are_refused_by_name(stopped: tuple[Path, Path], column: str) -> None:
    manifest, run = stopped
    before = manifest.read_text()
    films = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    rows = films["label"].isin(["normal", "covid19"])
    if column == "path":
        films = films.drop(index=films.index[rows][0])
        message = "is not among the films any more"
    elif column == "split":
        train = films.index[rows & (films["split"] == "train")]
        films.loc[films["patient_id"] == films.at[train[0], "patient_id"], "split"] = "validation"
        message = "the split of .* was 'train' and is 'validation'"
    else:
        films["patient_id"] += "_new"
        message = "the patient_id of .* was '.*' and is '.*_new'"
    films.to_csv(manifest, index=False)
    try:
        with pytest.raises(SplitError, match=message):
            execute(small(manifest), run, resume=True)
    finally:
        manifest.write_text(before)


def test_a_second_run_in_the_folder_is_refused(stopped: tuple[Path, Path]) -> None:
    manifest, run = stopped
    with run_lock(run), pytest.raises(UsageError, match=r"another process \(pid \d+\) is training here"):
        execute(small(manifest), run, resume=True)
    with pytest.raises(UsageError, match=r"not empty; go on with it \(--resume\), name another"):
        execute(small(manifest), run)


def test_the_command_resumes_the_newest_unfinished_folder(
    stopped: tuple[Path, Path], tmp_path: Path, covidcxr: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = stopped
    for name, finished in (("", True), ("_2", False), ("_10", True), ("_x", False)):
        folder = RunDir(tmp_path / "runs" / f"covid_base{name}")
        folder.checkpoints.mkdir(parents=True)
        (folder.folder / "config.toml").write_bytes((run / "config.toml").read_bytes())
        (folder.folder / "metrics.json").write_text("{}")
        if finished:
            folder.finish()
    assert last_folder(tmp_path / "runs" / "covid_base").name == "covid_base_2"
    RunDir(tmp_path / "runs" / "covid_base_2").finish()
    assert last_folder(tmp_path / "runs" / "covid_base").name == "covid_base_10"
    assert last_folder(tmp_path / "runs" / "other").name == "other"
    asked: list[Any] = []

    def ask(config: Config, out: Path, **more: Any) -> None:
        asked.append((config, out, more))
        raise UsageError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "execute", ask)
    assert covidcxr("train", "--arch", "base", "--resume").code == 2
    assert asked[-1][1] == Path("runs/covid_base_10") and asked[-1][2]["resume"]
    done = covidcxr("train", "--resume", "--out", run)  # a run knows its own config
    assert asked[-1][0] == load_config(run / "config.toml") and f"resuming {run}" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--resume",), "name either --arch or --config"),
        (("--resume", "--out", "nowhere"), "there is no run to resume"),
        (("--resume", "--find-lr", "--arch", "base"), "--resume with --find-lr"),
    ],
)
def test_what_cannot_be_resumed(words: tuple[str, ...], message: str, covidcxr: Callable) -> None:
    done = covidcxr("train", *words)
    assert done.code == 2
    assert message in done.err
