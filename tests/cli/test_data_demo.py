from __future__ import annotations

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from covidcxr_tf.cli.data_demo import command
from covidcxr_tf.cli.main import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["data", "demo", *arguments])
    return int(str(stopped.value.code))


def test_writes_a_demo_and_prints_its_manifest(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = CliRunner().invoke(
        command, [str(out), "--patients", "6", "--seed", "2", "--size", "40", "--labels", "normal, viral"]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out / 'manifest.csv'}\n"
    with (out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {"normal", "viral"}
    assert {max(int(row["original_width"]), int(row["original_height"])) for row in rows} == {40}
    assert len({row["patient_id"] for row in rows}) == 6


def test_shortcut_is_hidden_but_works(tmp_path: Path) -> None:
    assert "--shortcut" not in CliRunner().invoke(command, ["--help"]).output
    out = tmp_path / "demo"
    done = CliRunner().invoke(command, [str(out), "--patients", "9", "--size", "32", "--shortcut"])
    assert done.exit_code == 0, done.output
    with (out / "manifest.csv").open(newline="") as file:
        pairs = {(row["label"], row["source"]) for row in csv.DictReader(file)}
    assert len(pairs) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--patients", "2"], "2 patients"),
        (["--size", "7"], "size 7"),
        (["--labels", "normal,flu"], "unknown label 'flu'"),
        (["--patients", "many"], "many"),
    ],
)
def test_wrong_usage_exits_2_with_a_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run(str(tmp_path / "demo"), *options) == 2
    streams = capsys.readouterr()
    assert words in streams.err and streams.out == ""
    assert not list(tmp_path.iterdir())


def test_a_used_folder_exits_2_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(str(tmp_path), "--patients", "9", "--size", "32") == 2
    assert str(tmp_path) in capsys.readouterr().err
