"""`covidcxr segment` from end to end: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from covidcxr_tf.data.manifest import film_path, load_manifest


def test_json_is_the_document_that_was_written(
    shipped_lungs: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = covidcxr("segment", phantoms, "--out", out, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document == json.loads((out / "segmentation.json").read_text())
    assert document["schema_version"] == 1 and document["model"]["name"] == "lung_unet"
    films = load_manifest(phantoms)
    places = [(out / document["root"] / film["film"]).resolve() for film in document["films"]]
    assert places == [film_path(films, row) for row in films.index]
    assert all((out / film["mask_path"]).is_file() for film in document["films"])
    assert str(tmp_path) not in done.out and str(phantoms.parent) not in done.out


def test_lines_name_mask_verdict_network_and_root(
    shipped_lungs: Path, phantoms: Path, covidcxr: Callable, tmp_path: Path
) -> None:
    film = film_path(load_manifest(phantoms), 0)
    done = covidcxr("segment", film, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"masks/{film.stem}.png: ")
    assert lines[1].startswith("lung network: lung_unet, sha256 ")
    manifest, root = lines[2].removeprefix("manifest: ").removesuffix(")").split(" (use with --root ")
    assert film_path(load_manifest(manifest, root=root, require=("path",)), 0) == film


def test_a_users_own_manifest_stays(shipped_lungs: Path, covidcxr: Callable, tmp_path: Path) -> None:
    assert covidcxr("data", "demo", tmp_path / "own", "--patients", 12, "--size", 96).code == 0
    manifest = tmp_path / "own" / "manifest.csv"
    before = {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*")}
    done = covidcxr("segment", manifest, "--out", manifest.parent)
    assert done.code == 2
    assert "manifest.csv: the new manifest would replace this one; name another --out" in done.err
    assert {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*")} == before
