"""One process a run folder; a dead one holds nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from covidcxr_tf.errors import RunFailed, UsageError
from covidcxr_tf.train.lock import NAME, run_lock

HOLD = """
import sys
from covidcxr_tf.train.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_with_the_pid_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"another process \(pid {first.pid}\)") as refused, run_lock(folder):
            pass
        assert refused.value.exit_code == 2
    finally:
        first.kill()
        first.communicate()
    assert (folder / NAME).is_file()  # nobody was left to remove it
    with run_lock(folder):
        assert (folder / NAME).read_text() == f"pid {os.getpid()}\n"


def test_a_folder_that_stays_empty_goes_and_another_does_not(tmp_path: Path) -> None:
    with run_lock(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a" / "b").exists()
    with run_lock(tmp_path / "c"):
        (tmp_path / "c" / "model.keras").touch()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["model.keras"]


def test_it_is_given_back_after_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), run_lock(tmp_path):
        raise ValueError("inside")
    with run_lock(tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"), run_lock(tmp_path / "file"):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunFailed, match=f"cannot be written to: {os.strerror(number)}"), run_lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with run_lock(tmp_path):
        assert "no locks on this file system" in capsys.readouterr().err
