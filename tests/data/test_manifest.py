from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from covidcxr_tf.data.manifest import (
    film_path,
    load_manifest,
    map_classes,
    path_problem,
    row_place,
    write_manifest,
)
from covidcxr_tf.errors import ManifestError

HEADER = "path,label,patient_id,age\n"


def _manifest(folder: Path, rows: str = "f/a.png,normal,p1,50\nf/b.png,covid19,p2,\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "m.csv"
    path.write_text(HEADER + rows)
    return path


def test_what_is_loaded(tmp_path: Path) -> None:
    path = _manifest(tmp_path)
    films = load_manifest(path)
    assert films.index.tolist() == [0, 1]
    assert list(films.columns) == ["path", "label", "patient_id", "age"]
    assert films["age"].tolist()[0] == 50.0
    assert films.attrs == {"root": str(tmp_path.resolve()), "manifest": str(path)}


def test_unknown_columns_and_own_labels_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("ward,path,label,patient_id\n7,a.png,zebra,p1\n")
    films = load_manifest(path)
    assert films["ward"].tolist() == ["7"]
    assert films["label"].tolist() == ["zebra"]
    with pytest.raises(ManifestError, match=r"m\.csv, row 2, column label: unknown label 'zebra'"):
        load_manifest(path, labels=("normal",))


def test_the_first_fault_is_raised_and_the_others_counted(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "a.png,normal,p1,50\nb.png,,p2,\nc.png,NaN,,\n")
    with pytest.raises(ManifestError, match=r"row 3, column label: the cell is empty.*\(2 more") as caught:
        load_manifest(path)
    assert caught.value.exit_code == 3


def test_a_manifest_that_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="the manifest does not exist"):
        load_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="the manifest is a folder"):
        load_manifest(tmp_path)
    with pytest.raises(ManifestError, match="root is not a folder"):
        load_manifest(_manifest(tmp_path), root=tmp_path / "none")


def test_a_manifest_can_lie_elsewhere_than_its_films(tmp_path: Path) -> None:
    (tmp_path / "films" / "f").mkdir(parents=True)
    (tmp_path / "films" / "f" / "a.png").write_bytes(b"x")
    films = load_manifest(_manifest(tmp_path / "tables"), root=tmp_path / "films")
    assert film_path(films, 0) == (tmp_path / "films" / "f" / "a.png").resolve()
    assert path_problem(films, 0) is None
    assert path_problem(films, 1) == "f/b.png does not exist"


def test_film_path_takes_rows_columns_and_relative_paths(tmp_path: Path) -> None:
    films = load_manifest(_manifest(tmp_path)).assign(mask_path=["m.png", ""])
    assert film_path(films, 0, "mask_path") == tmp_path.resolve() / "m.png"
    assert film_path(films, "x/y.png") == tmp_path.resolve() / "x" / "y.png"
    with pytest.raises(ManifestError, match=r"m\.csv, row 3, column mask_path: there is no path"):
        film_path(films, 1, "mask_path")
    with pytest.raises(ManifestError, match="leads outside the root"):
        film_path(films, "../x.png")
    with pytest.raises(ManifestError, match="is absolute"):
        film_path(films, "/etc/passwd")
    with pytest.raises(ManifestError, match="load_manifest"):
        film_path(pd.DataFrame({"path": ["a"]}), 0)


def test_a_link_made_after_loading_is_still_refused(tmp_path: Path) -> None:
    films = load_manifest(_manifest(tmp_path / "root"))
    (tmp_path / "root" / "f").symlink_to(tmp_path)
    with pytest.raises(ManifestError, match=r"row 2, column path: path 'f/a\.png' leads outside"):
        film_path(films, 0)
    assert "leads outside" in str(path_problem(films, 0))


def test_files_that_cannot_be_opened_as_a_film(tmp_path: Path) -> None:
    films = load_manifest(_manifest(tmp_path))
    (tmp_path / "f" / "a.png").mkdir(parents=True)
    (tmp_path / "f" / "b.png").touch()
    assert path_problem(films, 0) == "f/a.png is not a file"
    assert path_problem(films, 1) == "f/b.png is empty (0 bytes)"


def test_rows_keep_their_number_when_others_are_left_out(tmp_path: Path) -> None:
    films = load_manifest(_manifest(tmp_path))
    kept = films[films["label"] == "covid19"]
    assert row_place(kept, kept.index[0], "age").endswith("m.csv, row 3, column age")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_written_manifest_loads_equal(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text('path,label,patient_id,fold,age,license\na.png,normal,007,1,50,"CC, BY"\nb.png,viral,NA,,,\n')
    films = load_manifest(path)
    again = load_manifest(write_manifest(films, tmp_path / name))
    pd.testing.assert_frame_equal(again, films)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted({"m.csv", name})


def test_classes_take_labels(tmp_path: Path) -> None:
    rows = "a.png,normal,p1,\nb.png,viral,p2,\nc.png,other,p3,\nd.png,covid19,p4,\ne.png,other,p5,\n"
    films = load_manifest(_manifest(tmp_path, rows))
    mapped = map_classes(films, {"normal": ("normal",), "viral_or_covid19": ("viral", "covid19")})
    assert mapped["label"].tolist() == ["normal", "viral_or_covid19", "viral_or_covid19"]
    assert mapped["original_label"].tolist() == ["normal", "viral", "covid19"]
    assert mapped.index.tolist() == [0, 1, 3]
    assert mapped.attrs["dropped_labels"] == {"other": 2}
    assert film_path(mapped, 3).name == "d.png"
    assert "original_label" not in films.columns


def test_own_labels_are_mapped_and_slips_are_not(tmp_path: Path) -> None:
    films = load_manifest(_manifest(tmp_path, "a.png,ill,p1,\nb.png,well,p2,\nc.png,wel,p3,\n"))
    with pytest.raises(ManifestError, match=r"row 4, column label: unknown label 'wel'.*did you mean 'well'\?"):
        map_classes(films, {"sick": ("ill",), "healthy": ("well",)})
    mapped = map_classes(films.iloc[:2], {"sick": ("ill",), "healthy": ("well",)})
    assert mapped["label"].tolist() == ["sick", "healthy"]


def test_a_class_without_a_film(tmp_path: Path) -> None:
    films = load_manifest(_manifest(tmp_path))
    with pytest.raises(ManifestError, match="no film for the class 'tb'; expected at least one film labelled tuberc"):
        map_classes(films, {"normal": ("normal",), "tb": ("tuberculosis",)})
