from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from covidcxr_tf.cli.data_split import command
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.splits import split_by_patient, split_digest, torn_patients
from covidcxr_tf.errors import ManifestError, SplitError


def _write(path: Path, patients: range, start: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{start}{patient}_{film}.png,{'normal' if patient % 2 else 'covid19'},p{patient},0{patient}"
        for patient in patients
        for film in range(2)
    ]
    path.write_text("\n".join(["path,label,patient_id,ward", *rows]) + "\n")
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_table_and_the_file(tmp_path: Path) -> None:
    manifest = _write(tmp_path / "m.csv", range(20))
    result = _run(manifest, tmp_path / "s.csv", "--seed", 3)
    assert result.exit_code == 0
    made = load_manifest(tmp_path / "s.csv")
    expected = split_by_patient(load_manifest(manifest), seed=3)
    pd.testing.assert_frame_equal(made, expected)
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["label", "train", "validation", "test", "all"]
    assert lines[2].split() == ["covid19", "12", "(6)", "4", "(2)", "4", "(2)", "20", "(10)"]
    assert lines[-1] == f"split digest {split_digest(made)}"
    assert result.stderr == ""


def test_a_manifest_elsewhere_needs_its_root(tmp_path: Path) -> None:
    manifest = _write(tmp_path / "data" / "m.csv", range(20))
    result = _run(manifest, tmp_path / "out" / "s.csv")
    assert f"--root {tmp_path.resolve() / 'data'}" in result.stderr
    again = load_manifest(tmp_path / "out" / "s.csv", root=tmp_path / "data")
    assert again["path"].tolist() == load_manifest(manifest)["path"].tolist()


def test_several_manifests_together(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.csv", range(30))
    second = _write(tmp_path / "b.csv", range(0, 30, 3), "mask_")
    third = _write(tmp_path / "c.csv", range(25, 40), "third_")
    outs = [tmp_path / f"{name}_split.csv" for name in "abc"]
    result = _run(first, outs[0], "--with", second, outs[1], "--with", third, outs[2], "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    made = [load_manifest(out) for out in outs]
    assert torn_patients(pd.concat(made)) == {}
    assert [entry["digest"] for entry in document["manifests"]] == [split_digest(films) for films in made]
    assert document["manifests"][1]["table"]["all"]["all"] == {"films": 20, "patients": 10}


def test_ratios_and_folds(tmp_path: Path) -> None:
    manifest = _write(tmp_path / "m.csv", range(20))
    _run(manifest, tmp_path / "s.csv", "--ratios", ".5, .5,0")
    assert load_manifest(tmp_path / "s.csv")["split"].value_counts().to_dict() == {"train": 20, "validation": 20}
    result = _run(tmp_path / "s.csv", tmp_path / "f.csv", "--folds", 5)
    folds = load_manifest(tmp_path / "f.csv")
    assert folds.groupby("fold")["patient_id"].nunique().tolist() == [4, 4, 4, 4, 4]
    assert result.stdout.splitlines()[1].split() == ["label", "1", "2", "3", "4", "5", "all"]
    assert "split" in folds.columns


def test_in_place_is_allowed(tmp_path: Path) -> None:
    manifest = _write(tmp_path / "m.csv", range(20))
    assert _run(manifest, manifest).exit_code == 0
    assert load_manifest(manifest)["ward"].tolist()[0] == "00"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--ratios", ".5,.5,0", "--folds", "3"], "exclude each other"),
        (["--ratios", "a,b,c"], "three numbers"),
        (["--with", "b.csv", "s.csv"], "named twice"),
        (["--with", "m.csv", "s2.csv", "--with", "b.csv", "m.csv"], "another manifest"),
    ],
)
def test_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: list[str], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "m.csv", range(20))
    _write(tmp_path / "b.csv", range(20))
    result = _run("m.csv", "s.csv", *extra)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "s.csv").exists()


def test_what_cannot_be_split_leaves_no_file(tmp_path: Path) -> None:
    manifest = _write(tmp_path / "m.csv", range(4))
    result = _run(manifest, tmp_path / "s.csv")
    assert isinstance(result.exception, SplitError)
    assert isinstance(_run(tmp_path / "none.csv", tmp_path / "s.csv").exception, ManifestError)
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]
