"""The README's example of an own architecture, word for word: one file and one line in the catalog."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from covidcxr_tf.catalog import ARCHS, Entry

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_architecture_trains_predicts_and_explains(
    phantoms: Path, covidcxr: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped_lungs: Path
) -> None:
    text = README.read_text(encoding="utf-8")
    source = re.search(r'```python\n(""".*?)```', text, re.S)
    line = re.search(r'"my_net": Entry\("covidcxr_tf\.models\.my_net:build", "(.*?)"\)', text)
    assert source and line
    (tmp_path / "my_net.py").write_text(source.group(1))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ARCHS, "my_net", Entry("my_net:build", line.group(1)))
    run = tmp_path / "run"
    small = ("--set", "image.size=32", "--set", "image.tiles=4", "--set", "train.batch_size=8")
    done = covidcxr("train", "--arch", "my_net", "--data", phantoms, "--out", run, *small, "--epochs", 1)
    assert done.code == 0, done.err
    assert "no config is called 'my_net'" in done.err
    film = next((phantoms.parent / "films").glob("*.png"))
    done = covidcxr("explain", film, "--model", run, "--method", "cam", "--out", tmp_path / "heat")
    assert done.code == 0, done.err
    assert (tmp_path / "heat" / f"{film.stem}_cam.npy").is_file()
    sys.modules.pop("my_net")
