"""Files are there whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.files import replacing, write_json, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = write_text(tmp_path / "table.csv", "old")
    with pytest.raises(RuntimeError, match="half way"), replacing(target) as aside:
        aside.write_text("new, but ha")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_success_replaces_and_keeps_the_suffix(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model.keras"
    with replacing(target) as aside:
        assert aside.suffix == ".keras"
        assert aside.parent == target.parent
        aside.write_text("whole")
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["model.keras"]


def test_results_are_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        target = write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_json_takes_numpy_and_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.array([0.5, 1.0]), "p": Path("b"), "t": (1, 2)})
    assert json.loads(path.read_text()) == {"n": 3, "x": [0.5, 1.0], "p": "b", "t": [1, 2]}
    for bad in (float("nan"), np.float32("inf")):
        with pytest.raises(ValueError, match="null"):
            write_json(path, {"value": bad})
    assert json.loads(path.read_text())["n"] == 3
