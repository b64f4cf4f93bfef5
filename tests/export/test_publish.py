"""Version folders: numbers, and whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from covidcxr_tf.errors import UsageError
from covidcxr_tf.export.publish import next_version, publishing


def test_next_version(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none") == 1
    for name in ("9", "10", "notes", ".exporting-11-x"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_appears_at_the_end_only(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    with publishing(folder, 3) as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "file").write_text("whole")
        assert not (folder / "3").exists()
    assert [path.name for path in folder.iterdir()] == ["3"]
    assert (folder / "3" / "sub" / "file").read_text() == "whole"
    assert (folder / "3").stat().st_mode & 0o500 == 0o500


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), publishing(tmp_path / "new" / "model", 1) as aside:
        (aside / "file").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_another_export_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there already"), publishing(tmp_path, 1) as aside:
        (aside / "file").write_text("second")
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "file").write_text("first")
    assert (tmp_path / "1" / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_killed_in_the_middle_leaves_no_version(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from covidcxr_tf.export.publish import publishing
with publishing(Path({str(tmp_path)!r}), 1) as aside:
    (aside / "saved_model.pb").write_bytes(b"all of it")
    os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".exporting-1-")
    with publishing(tmp_path, next_version(tmp_path)) as aside:
        (aside / "file").write_text("whole")
    assert (tmp_path / "1" / "file").is_file()
