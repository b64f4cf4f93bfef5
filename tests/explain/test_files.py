"""The three files of an explanation, and names that do not get into each other's way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from covidcxr_tf.errors import ImageError, RunFailed
from covidcxr_tf.explain.files import as_document, explain_file, write_explanation
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.files import distinct_stems


def test_files_of_the_contract(stand_in: Any, film: np.ndarray, tmp_path: Path) -> None:
    found = explain_film(stand_in(region=np.ones((4, 4), dtype=np.uint8)), film, "gradcam++", "covid19", seed=5)
    paths = write_explanation(found, film, "scan 1.png", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scan 1_gradcam++.png",
        "scan 1_gradcam++.npy",
        "scan 1_gradcam++.json",
    }
    heat = np.load(paths["npy"], allow_pickle=False)
    np.testing.assert_array_equal(heat, found.heatmap)
    assert heat.dtype == np.float32 and Image.open(paths["png"]).size == (1200, 600)
    document = json.loads(paths["json"].read_text())
    assert document["schema_version"] == 1 and document["film"] == "scan 1.png" and document["seed"] == 5
    assert document["predicted"] == "normal" and document["target_class"] == "covid19"
    assert document["probabilities"] == found.probabilities
    assert document["heat_in_lungs"] == pytest.approx(1.0) and "heat_in_lungs_why" not in document
    assert document["model"] == found.model and document["lung_mask_quality"] == {"verdict": "good", "score": 0.9}
    assert "lime" not in document and "diagnosis" in document["notice"]


def test_lime_document_keeps_all_weights(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(), film, "lime", samples=50)
    document = as_document(found, "film.png")
    assert document["heat_in_lungs"] is None and document["heat_in_lungs_why"]
    assert document["lime"]["samples"] == 50 and len(document["lime"]["shown"]) == 5
    assert found.superpixels is not None
    np.testing.assert_array_equal(document["lime"]["weights"], found.superpixels.weights)


def test_explain_file_reads_explains_and_writes(stand_in: Any, film: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    Image.fromarray(np.rint(film * 255).astype(np.uint8)).save(path)
    document = explain_file(stand_in(), path, tmp_path / "out", "other", method="saliency", target="covid19")
    assert document["path"] == str(path) and document["film"] == "film.png"
    assert Path(document["files"]["npy"]) == tmp_path / "out" / "other_saliency.npy"
    stored = json.loads(Path(document["files"]["json"]).read_text())
    assert stored == {key: value for key, value in document.items() if key not in ("path", "files")}
    assert np.load(document["files"]["npy"]).shape == film.shape


def test_unreadable_film_leaves_no_file(stand_in: Any, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(b"no film")
    with pytest.raises(ImageError, match=r"film\.png"):
        explain_file(stand_in(), path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_made(stand_in: Any, film: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    Image.fromarray(np.rint(film * 255).astype(np.uint8)).save(path)
    with pytest.raises(RunFailed, match=r"film\.png.*cannot be written"):
        explain_file(stand_in(), path, path / "out")


def test_stems_by_hand() -> None:
    assert distinct_stems(["a/film.png", "b/film.png", "film.jpg", "other.png"]) == [
        "film",
        "film_2",
        "film_3",
        "other",
    ]
    assert distinct_stems(["a/film.png", "b/film.png", "c/film_2.png"]) == ["film", "film_3", "film_2"]
    assert distinct_stems(["Film.png", "film.png"]) == ["Film", "film_2"]
    assert distinct_stems([]) == []


@given(st.lists(st.sampled_from(["a", "a_2", "A", "a_2_2", "b", "a_3"]), max_size=12))
def test_stems_are_never_shared_and_unique_names_are_kept(names: list[str]) -> None:
    stems = distinct_stems([f"{name}.png" for name in names])
    folded = [stem.casefold() for stem in stems]
    assert len(set(folded)) == len(names)
    for name, stem in zip(names, stems):
        if [other.casefold() for other in names].count(name.casefold()) == 1:
            assert stem == name
