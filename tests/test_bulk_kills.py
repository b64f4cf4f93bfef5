"""`predict` and `prepare` killed at exact moments, gone on with: what was finished is kept, the result is the same.

The process kills itself, with a real SIGKILL, at the n-th time it comes to a given step: no clock is looked at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.ledger import Ledger
from covidcxr_tf.models.files import save_model

DRIVER = """
import os, signal, sys
from covidcxr_tf import ledger, shards
from covidcxr_tf.cli.main import main

moment, count, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
shards.FILMS_PER_SHARD = 3
if sys.argv[4] == "predict":
    from covidcxr_tf import classifiers

    classifiers.PIXELS_AT_ONCE = 3 * 32**2
seen = 0

def here(name):
    global seen
    seen += name == moment
    if name == moment and seen == count:
        os.kill(os.getpid(), number)

replace, rename, add = os.replace, os.rename, ledger.Ledger.add

def own_replace(a, b):
    here("file written aside")
    replace(a, b)
    here("file renamed")

def own_rename(a, b):
    here("folder ready")
    rename(a, b)
    here("folder renamed")

def own_add(self, **facts):
    if moment == "line cut short":
        with self.path.open("ab") as stream:
            stream.write(b'{"start": 0, "st')
        here("line cut short")
    add(self, **facts)
    here("line written")

os.replace, os.rename, ledger.Ledger.add = own_replace, own_rename, own_add
main(sys.argv[4:])
"""
KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
Moment = tuple[str, int]


def run(words: Sequence[object], moment: Moment = ("", 0), number: int = KILL) -> tuple[int, str]:
    """Run `covidcxr` until a moment; return its code and stderr."""
    command = [sys.executable, "-c", DRIVER, moment[0], str(moment[1]), str(number), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of whole films, 32 px."""
    image = keras.Input((32, 32, 1), name="image")
    spread = keras.layers.Conv2D(4, 3, strides=2, activation="relu", kernel_initializer=keras.initializers.HeNormal(3))
    pooled = keras.layers.GlobalAveragePooling2D()(spread(image))
    logits = keras.layers.Dense(2, name="logits", kernel_initializer=keras.initializers.HeNormal(4))(pooled)
    facts = {
        "name": "tiny",
        "task": "classification",
        "classes": ["normal", "covid19"],
        "image": ImageConfig(size=32, channels=("raw",), lungs="none").model_dump(mode="json"),
    }
    return save_model(keras.Model(image, logits), tmp_path_factory.mktemp("tiny") / "model.keras", facts)


def films_in(words: str, told: str) -> int:
    """Return the number before some words of stderr, 0 where they are not there."""
    return next((int(line.split()[1]) for line in told.splitlines() if words in line), 0)


@pytest.fixture
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three films, as in the processes that are killed."""
    monkeypatch.setattr("covidcxr_tf.classifiers.PIXELS_AT_ONCE", 3 * 32**2)


#: And the films that the run after it finds finished: the plan is the first file, parts of three films follow.
PREDICT_MOMENTS: list[tuple[Moment, int]] = [
    (("file written aside", 4), 6),
    (("line cut short", 1), 6),
    (("line written", 2), 12),
    (("file renamed", 2), 12),
]


@pytest.mark.usefixtures("three_at_once")
def test_a_killed_prediction_loses_one_part_and_nothing_of_its_result(
    model: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert covidcxr("predict", phantoms, "--model", model, "--out", whole).code == 0
    words = ["predict", phantoms, "--model", model, "--out", out, "--part-films", 2, "--resume"]
    kept = 0
    for moment, left in PREDICT_MOMENTS:
        code, told = run(words, moment)
        assert code == -KILL, told
        assert not out.exists()
        assert films_in("films are there already", told) == kept
        kept = left
    done = covidcxr(*words)
    assert done.code == 0, done.err
    assert films_in("films are there already", done.err) == kept
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, out.name, f"{out.name}.json"}


@pytest.mark.usefixtures("three_at_once")
def test_sigterm_finishes_the_batch_and_exits_with_75(
    model: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert covidcxr("predict", phantoms, "--model", model, "--out", whole).code == 0
    words = ["predict", phantoms, "--model", model, "--out", out, "--resume"]
    code, told = run(words, ("file renamed", 1), TERM)  # of the plan: before the first batch
    assert code == 75, told
    assert "--resume" in told.splitlines()[-1] and not out.exists()
    done = covidcxr(*words)
    assert done.code == 0 and films_in("films are there already", done.err) == 3
    assert out.read_bytes() == whole.read_bytes()


#: And the shards of three films that are finished then.
PREPARE_MOMENTS: list[tuple[Moment, int]] = [
    (("file written aside", 3), 2),
    (("line cut short", 1), 2),
    (("line written", 2), 4),
]


def test_a_killed_preparation_goes_on_with_its_shards(phantoms: Path, covidcxr: Callable, tmp_path: Path) -> None:
    settings = ("image.size=32", "image.tiles=4", "image.lungs=none")
    words = ["prepare", phantoms, "--config", "base", *(word for one in settings for word in ("--set", one)), "--out"]
    code, told = run([*words, tmp_path / "unbroken" / "shards"])
    assert code == 0, told
    out = tmp_path / "broken" / "shards"
    files: dict[str, int] = {}
    for moment, shards in PREPARE_MOMENTS:
        code, told = run([*words, out], moment)
        assert code == -KILL, told
        assert not out.exists()
        assert films_in("films are there already", told) == 3 * len(files)
        place = next(out.parent.glob(".shards.*.parts"))
        now = {path.name: path.stat().st_ino for path in (place / "shards").glob("*.tfrecord")}
        assert files.items() <= now.items(), "a finished shard was written again"
        files = {line["name"]: now[line["name"]] for line in Ledger(place).lines()}
        assert len(files) == shards
    for moment, is_there in (("folder ready", False), ("folder renamed", True)):
        assert run([*words, out], (moment, 1))[0] == -KILL
        assert out.exists() == is_there
    done = covidcxr(*words, out)
    assert done.code == 0, done.err
    assert [path.name for path in out.parent.iterdir()] == ["shards"]
    whole = tmp_path / "unbroken" / "shards"
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))
    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list(out.glob("*.tfrecord"))) > 5
