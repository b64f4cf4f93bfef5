from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from covidcxr_tf.cli.data_check import command
from covidcxr_tf.data.duplicates import RADIUS
from covidcxr_tf.errors import CheckFailed, ManifestError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for seed in range(3):
        cells = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(cells).resize((64, 64)).save(tmp_path / f"{seed}.png")
    path = tmp_path / "m.csv"
    path.write_text("path,label,patient_id\n0.png,normal,p1\n1.png,viral,p2\n2.png,ill,p3\n")
    return path


def test_a_fault_ends_with_4_after_the_report(manifest: Path) -> None:
    result = CliRunner().invoke(command, [str(manifest)])
    assert isinstance(result.exception, CheckFailed)
    assert result.exception.exit_code == 4
    assert "row 4, column label: unknown label 'ill'" in result.stdout
    assert "1 fault, 0 warnings" in result.stdout
    assert "3/3 films" in result.stderr
    assert "films" not in result.stdout.splitlines()[-1]


def test_json_alone_on_stdout(manifest: Path) -> None:
    result = CliRunner().invoke(command, [str(manifest), "--json"])
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["faults"][0]["kind"] == "schema"


def test_labels_of_a_config_are_known(manifest: Path, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text(
        'name = "own"\nrecipe = "covid_cxnet"\narch = "chexnet"\n'
        '[classes]\nwell = ["normal"]\nsick = ["ill", "viral"]\n'
    )
    result = CliRunner().invoke(command, [str(manifest), "--config", str(config)])
    assert result.exception is None
    assert result.exit_code == 0


def test_films_are_left_alone(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("no film")
    manifest.write_text(manifest.read_text().replace("ill", "other"))
    assert CliRunner().invoke(command, [str(manifest), "--no-images"]).exit_code == 0
    assert isinstance(CliRunner().invoke(command, [str(manifest)]).exception, CheckFailed)


def test_the_films_can_lie_elsewhere(manifest: Path, tmp_path: Path) -> None:
    moved = tmp_path / "tables" / "m.csv"
    moved.parent.mkdir()
    moved.write_text(manifest.read_text().replace("ill", "other"))
    assert isinstance(CliRunner().invoke(command, [str(moved)]).exception, CheckFailed)
    assert CliRunner().invoke(command, [str(moved), "--root", str(tmp_path)]).exit_code == 0


def test_no_manifest_is_bad_input(tmp_path: Path) -> None:
    assert isinstance(CliRunner().invoke(command, [str(tmp_path / "none.csv")]).exception, ManifestError)


def test_the_default_radius_is_the_librarys() -> None:
    assert next(option for option in command.params if option.name == "radius").default == RADIUS
