"""Real kills of `covidcxr train`, inside saving and elsewhere: no corrupt file, the weights of the unbroken run."""

from __future__ import annotations

import importlib.util
import random
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.models.files import load_model
from covidcxr_tf.train.checkpoints import Checkpoints


def _killer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("killer", Path(__file__).with_name("killer.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


killer = _killer()
KILL = int(signal.SIGKILL)
SAME = ["epoch", "loss", "val_loss", "val_accuracy", "learning_rate"]


def words(phantoms: Path, out: Path, epochs: int) -> list[str]:
    settings = ("image.size=64", "image.tiles=4", "train.batch_size=4", "train.checkpoint_steps=1")
    sets = [word for setting in settings for word in ("--set", setting)]
    return ["--config", "base", "--data", str(phantoms), "--epochs", str(epochs), *sets, "--out", str(out)]


def check_whole(run: Path) -> None:
    """Every file that is there under its own name can be read to its end."""
    for path in run.rglob("*"):
        if path.name.startswith(".") or any(part.startswith(".") for part in path.relative_to(run).parts):
            continue
        if path.suffix in (".zip", ".keras"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, path
        if path.suffix == ".csv":
            assert len(pd.read_csv(path)) > 0


def check_equal(run: Path, unbroken: Path) -> None:
    ours, theirs = (pd.read_csv(folder / "history.csv")[SAME] for folder in (run, unbroken))
    pd.testing.assert_frame_equal(ours, theirs, atol=1e-6)
    model, facts = load_model(run / "model.keras")
    other, expected = load_model(unbroken / "model.keras")
    assert facts == expected
    for values, again in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(again, values)
    for name in ("predictions_test.csv", "predictions_validation.csv", "metrics.json"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes()


def kill_and_resume(phantoms: Path, run: Path, epochs: int, kills: list[tuple[int, str, int]]) -> int:
    """Kill a run at each of the moments, resume it after each, and return how many kills came before its end."""
    done = 0
    for number, event, sight in kills:
        code, told = killer.train([*words(phantoms, run, epochs), "--resume"], number, event, sight)
        assert code in (75 if number == signal.SIGTERM else -number, 0), told
        if code == 75:
            last = told.strip().splitlines()[-1]
            assert last.startswith("error: stopped by SIGTERM in epoch") and "--resume" in last
        check_whole(run)
        done += code != 0
    code, told = killer.train([*words(phantoms, run, epochs), "--resume"])
    assert code == 0, told
    assert Checkpoints(run / "checkpoints").steps() == []
    return done


def test_three_kills_and_a_sigterm_of_the_command(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    done = covidcxr("train", *words(phantoms, tmp_path / "whole", 4))
    assert done.code == 0, done.err
    kills = [(KILL, "saving", 4), (KILL, "model", 1), (signal.SIGTERM, "saved", 2), (KILL, "judged", 1)]
    assert kill_and_resume(phantoms, tmp_path / "run", 4, kills) == 4
    check_equal(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_twenty_four_kills_of_one_run(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    assert covidcxr("train", *words(phantoms, tmp_path / "whole", 24)).code == 0
    draw = random.Random(7)
    events = ["saving"] * 12 + ["saved"] * 5 + ["model"] * 3 + ["history"] * 3
    draw.shuffle(events)
    kills = [(KILL, event, draw.randint(1, 4) if event.startswith("sav") else 1) for event in events]
    assert kill_and_resume(phantoms, tmp_path / "run", 24, [*kills, (KILL, "judged", 1)]) >= 20
    check_equal(tmp_path / "run", tmp_path / "whole")
