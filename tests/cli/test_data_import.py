from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr_tf.cli.main import main


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for name in ("normal/a.png", "covid19/b.png"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    return tmp_path / "set"


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", "import", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_import_prints_counts_to_stdout_and_notes_to_stderr(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = films.parent / "m.csv"
    assert _run("folder", films, out) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: 2 films of 2 patients, 0 with a lung mask\n  labels: covid19 1, normal 1\n")
    assert "--root" not in printed.out
    assert "patient of its own" in printed.err


def test_import_says_when_root_is_needed(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("folder", films, tmp_path / "other" / "m.csv") == 0
    assert f"give --root '{films.resolve()}' to later commands" in capsys.readouterr().out


def test_import_json(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("folder", films, films / "m.csv", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["films"] == 2 and document["labels"] == {"covid19": 1, "normal": 1}
    assert document["needs_root"] is False and document["views"] == {"unknown": 2}


@pytest.mark.parametrize(
    ("source", "folder", "code"), [("folders", "set", 2), ("hannover", "set", 3), ("rsna", "no", 3)]
)
def test_import_exit_codes(
    films: Path, source: str, folder: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = films.parent / "m.csv"
    assert _run(source, films.parent / folder, out) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.startswith("error: ")
    assert not out.exists()
