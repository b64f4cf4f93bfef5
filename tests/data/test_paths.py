from __future__ import annotations

import os
from pathlib import Path

import pytest

from covidcxr_tf.data.paths import is_inside, real_path, unresolved


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "film.png").write_bytes(b"x")
    (tmp_path / "outside").mkdir()
    (root / "door").symlink_to(tmp_path / "outside")
    (root / "alias").symlink_to(root / "a")
    (root / "leak.png").symlink_to(tmp_path / "outside" / "film.png")
    (root / "a" / "loop").symlink_to(root / "a" / "loop")
    return root


@pytest.mark.parametrize(
    "relative",
    ["a/film.png", "a/missing.png", "alias/film.png", "door/x.png", "leak.png", "a/../a/film.png", "../outside/x",
     "door/../x.png", "alias/../a", ".", "", "a//b", "a/b/", "a/./b", "a/loop", "a/loop/x", "no/such/folder/x.png"],
)  # fmt: skip
def test_the_quick_way_agrees_with_realpath(tree: Path, relative: str) -> None:
    path = os.path.join(str(tree), relative)
    known = {str(tree): str(tree)}
    assert real_path(path, known) == os.path.realpath(path)
    assert real_path(path, known) == os.path.realpath(path)  # and again from what is known


def test_inside_is_a_matter_of_folders_not_of_letters() -> None:
    assert is_inside("/data/films/a.png", "/data/films")
    assert is_inside("/data/films", "/data/films")
    assert not is_inside("/data/films2/a.png", "/data/films")
    assert not is_inside("/data", "/data/films")
    assert is_inside("/a.png", "/")


def test_paths_that_no_root_can_hold() -> None:
    assert unresolved("/etc/passwd") == "is absolute"
    assert unresolved("a\0.png") is not None
    assert unresolved("a\n.png") is not None
    assert unresolved("a b/ü.png") is None
