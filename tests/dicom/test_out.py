"""`--dicom-out` of explain and segment: files for the user alone, and right refusals."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from covidcxr_tf.dicom.out import write_private


@pytest.fixture
def films(tmp_path: Path, dicom_film: Callable[..., bytes]) -> Path:
    """Return a folder with the film as DICOM and another one as PNG."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(dicom_film())
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80), dtype=np.uint8)).save(folder / "b.png")
    return folder


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_explain_writes_three_objects_for_the_user_alone(
    run: Path, films: Path, tmp_path: Path, covidcxr: Callable
) -> None:
    out, objects = tmp_path / "out", tmp_path / "new" / "dicom"
    done = covidcxr("explain", films / "a.dcm", "--model", run, "--out", out, "--dicom-out", objects, "--json")
    assert done.code == 0, done.err
    entry = json.loads(done.out)["films"][0]
    names = {"segmentation": "a_segmentation.dcm", "heatmap": "a_heatmap.dcm", "report": "a_report.dcm"}
    assert entry["dicom"] == {kind: str(objects / name) for kind, name in names.items()}
    assert sorted(path.name for path in objects.iterdir()) == sorted(names.values())
    assert modes(objects) == {0o600} and stat.S_IMODE(objects.stat().st_mode) == 0o700
    assert sorted(entry["files"]) == ["json", "npy", "png"] and entry["predicted"] in ("normal", "covid19")
    for path in objects.iterdir():
        assert pydicom.dcmread(path).StudyInstanceUID == "1.2.3.4.5.1"


def test_explain_gives_the_same_with_and_without(run: Path, films: Path, tmp_path: Path, covidcxr: Callable) -> None:
    entries = []
    for name, more in (("plain", ()), ("also", ("--dicom-out", tmp_path / "d"))):
        done = covidcxr("explain", films / "a.dcm", "--model", run, "--out", tmp_path / name, "--json", *more)
        entries.append(json.loads(done.out)["films"][0])
    assert entries[1].pop("dicom")
    for entry in entries:
        entry["files"] = sorted(entry["files"])
    assert entries[0] == entries[1]


def test_films_that_are_not_dicom_are_refused(run: Path, films: Path, tmp_path: Path, covidcxr: Callable) -> None:
    done = covidcxr("explain", films, "--model", run, "--out", tmp_path / "out", "--dicom-out", tmp_path / "d")
    assert done.code == 3
    assert "b.png: is not DICOM, so that there is no study to file results in; expected a DICOM film" in done.err
    assert len(list((tmp_path / "d").iterdir())) == 3 and not list((tmp_path / "out").glob("b*"))


def test_segment_writes_segmentations(run: Path, films: Path, tmp_path: Path, covidcxr: Callable) -> None:
    lungs = run / "lung_model.keras"
    words = ("--model", lungs, "--out", tmp_path / "out", "--dicom-out", tmp_path / "d")
    done = covidcxr("segment", films / "a.dcm", *words)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "d").iterdir()
    assert path.name == "a_segmentation.dcm" and str(path) in done.out and modes(tmp_path / "d") == {0o600}
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png")) > 0
    assert mask.any()
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array.reshape(mask.shape) > 0, mask)


def test_segment_refuses_before_it_writes_and_skips_what_it_may(
    run: Path, films: Path, tmp_path: Path, covidcxr: Callable
) -> None:
    words = ("--model", run / "lung_model.keras", "--out", tmp_path / "out", "--dicom-out", tmp_path / "d")
    done = covidcxr("segment", films, *words)
    assert done.code == 3 and "b.png: is not DICOM" in done.err and not (tmp_path / "out").exists()
    done = covidcxr("segment", films, *words, "--skip-bad", 1)
    assert done.code == 0 and "left out: " in done.err
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["a_segmentation.dcm"]
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["a.png"]


def test_private_files_are_replaced_whole(tmp_path: Path) -> None:
    path = write_private(tmp_path / "new" / "file", b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two" and modes(tmp_path / "new") == {0o600}
    assert [one.name for one in path.parent.iterdir()] == ["file"]
