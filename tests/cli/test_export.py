"""`covidcxr export`: wrong use; what it writes is tested in tests/export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_out_is_a_file(covidcxr: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = covidcxr("export", "covid_cxnet", tmp_path / "out")
    assert done.code == 2
    assert "is a file" in done.err


def test_no_such_run(covidcxr: Callable[..., Any], tmp_path: Path) -> None:
    done = covidcxr("export", tmp_path / "none", tmp_path / "out")
    assert done.code == 3
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_version_zero(covidcxr: Callable[..., Any], tmp_path: Path) -> None:
    assert covidcxr("export", "covid_cxnet", tmp_path, "--version", 0).code == 2
