"""The border: exit codes, lists, shown configs, the doctor."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from covidcxr_tf import catalog
from covidcxr_tf.cli import main as border
from covidcxr_tf.config import load_config
from covidcxr_tf.errors import CheckFailed, ImageError, RunFailed, Stopped, UsageError


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UsageError("no such thing"), 2, "error: no such thing"),
        (ImageError("is text", where="a.png"), 3, "error: a.png: is text"),
        (CheckFailed("two faults"), 4, "error: two faults"),
        (RunFailed("loss is nan"), 5, "error: loss is nan"),
        (Stopped("saved"), 75, "error: saved"),
        (click.UsageError("bad option"), 2, "bad option"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "run/model.keras"), 5, "run/model.keras: No space left"),
        (OSError(errno.EACCES, "Permission denied", "/run"), 5, "/run: Permission denied"),
    ],
)
def test_each_kind_of_end_has_its_code_and_one_line(
    raised: BaseException, code: int, said: str, covidcxr: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise raised

    monkeypatch.setattr(border.cli, "main", fail)
    done = covidcxr("list")
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_defect_of_ours_shows_where(covidcxr: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(border.cli, "main", fail)
    done = covidcxr("list")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "defect of covidcxr" in done.err


def test_unknown_commands_and_options(covidcxr: Callable) -> None:
    assert covidcxr("trian").code == 2
    assert covidcxr("train", "--archh", "x").code == 2
    assert covidcxr("--version").out.startswith("covidcxr, version ")


def test_a_reader_that_leaves_is_no_error() -> None:
    script = "from covidcxr_tf.cli.main import main; main(['list'])"
    command = f'{sys.executable} -c "{script}" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_list_names_all_there_is(covidcxr: Callable) -> None:
    everything = json.loads(covidcxr("list", "--json").out)
    assert set(everything["archs"]) == set(catalog.ARCHS)
    assert set(everything["sources"]) == set(catalog.SOURCES)
    assert json.loads(covidcxr("list", "archs", "--json").out) == everything["archs"]
    configs = covidcxr("list", "configs").out
    assert "chexnet_hierarchical" in configs
    assert "Haghanifar 2020" in configs
    assert covidcxr("list", "nothing").code == 2


def test_show_prints_a_config_that_reads_back_with_its_sources(covidcxr: Callable, tmp_path: Path) -> None:
    done = covidcxr("show", "chexnet", "--set", "train.epochs=4")
    assert done.code == 0
    assert "size = 320  # Haghanifar 2020, section 3.2" in done.out
    assert "zoom = [0.8, 1.5]  # authors' code" in done.out
    shown = tmp_path / "shown.toml"
    shown.write_text(done.out)
    again, wanted = load_config(shown), load_config("chexnet", ["train.epochs=4"])
    assert again.train == wanted.train
    assert again.image == wanted.image
    assert again.classes == wanted.classes


def test_doctor_knows_what_is_here_and_what_is_missing(
    covidcxr: Callable, shipped_lungs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covidcxr_tf.doctor.OPTIONAL", {"no_such_module": "nothing: pip install nothing"})
    monkeypatch.setattr("covidcxr_tf.doctor.SHIPPED", ("lung_unet", "no_such_model"))
    found = json.loads(covidcxr("doctor", "--json").out)
    assert found["packages"]["tensorflow"].startswith("2.")
    assert found["models"]["lung_unet"]["path"] == str(shipped_lungs / "lung_unet" / "1" / "model.keras")
    assert any("no_such_model" in line for line in found["missing"])
    assert any("pip install nothing" in line for line in found["missing"])
    assert not any("lung_unet" in line for line in found["missing"])
    assert "missing: " in covidcxr("doctor").out


def test_tensorflow_is_imported_quietly_and_once() -> None:
    script = (
        "import sys\n"
        "from covidcxr_tf.cli.main import QuietImport\n"
        "hook = QuietImport(); sys.meta_path.insert(0, hook)\n"
        "import tensorflow as tf\n"
        "assert hook not in sys.meta_path\n"
        "print(int(tf.constant(2) * 3)); print('heard', file=sys.stderr)\n"
    )
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "6\n"
    assert done.stderr == "heard\n"
