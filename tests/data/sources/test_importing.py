from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from covidcxr_tf import catalog
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.sources.common import COLUMNS
from covidcxr_tf.data.sources.importing import import_films
from covidcxr_tf.errors import DataError, UsageError

Draw = Callable[..., Path]


@pytest.fixture
def films(tmp_path: Path, draw: Draw) -> Path:
    draw("data/set/normal/a.png")
    draw("data/set/covid19/b.png")
    return tmp_path / "data" / "set"


@pytest.mark.parametrize("name", catalog.SOURCES)
def test_every_source_has_a_reader_that_refuses_an_empty_folder(name: str, tmp_path: Path) -> None:
    read = catalog.resolve("sources", name)
    assert list(inspect.signature(read).parameters) == ["folder", "with_lateral"]
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value) and caught.value.expected
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("out", "prefix", "needs_root"),
    [
        ("data/set/m.csv", "", False),
        ("data/m.csv", "set/", False),
        ("m.csv", "data/set/", False),
        ("elsewhere/m.csv", "", True),
        ("data/set/deep/m.csv", "", True),
    ],
)
def test_paths_begin_where_the_manifest_lies_or_in_the_set(
    tmp_path: Path, films: Path, out: str, prefix: str, needs_root: bool
) -> None:
    done = import_films("folder", films, tmp_path / out)
    assert done.needs_root is needs_root
    table = load_manifest(tmp_path / out, root=done.root if needs_root else None)
    assert table["path"].tolist() == [f"{prefix}covid19/b.png", f"{prefix}normal/a.png"]
    assert list(table.columns) == list(COLUMNS)
    assert all((done.root / path).is_file() for path in table["path"])


def test_an_explicit_root(tmp_path: Path, films: Path) -> None:
    out = tmp_path / "elsewhere" / "m.csv"
    done = import_films("folder", films, out, root=tmp_path)
    assert done.needs_root and load_manifest(out, root=tmp_path)["path"][0] == "data/set/covid19/b.png"
    with pytest.raises(UsageError, match="does not contain"):
        import_films("folder", films, out, root=tmp_path / "elsewhere")


def test_an_unknown_source_names_the_nearest(tmp_path: Path, films: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'kermany'"):
        import_films("kermani", films, tmp_path / "m.csv")


def test_nothing_is_written_when_reading_fails(tmp_path: Path, films: Path) -> None:
    with pytest.raises(DataError):
        import_films("hannover", films, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
