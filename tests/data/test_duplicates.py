from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covidcxr_tf.data import duplicates
from covidcxr_tf.data.duplicates import COLUMNS, find_duplicates, near_pairs
from covidcxr_tf.data.fingerprints import Fingerprints, fingerprint


def _film(seed: int) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return Image.fromarray(cells).resize((160, 192), Image.Resampling.BICUBIC)


@pytest.fixture
def films(tmp_path: Path) -> pd.DataFrame:
    """Rows 2 to 7: a film, another, the first's bytes again, the first as a small JPEG, a third, no film."""
    _film(0).save(tmp_path / "a.png")
    _film(1).save(tmp_path / "b.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    _film(0).resize((120, 144)).save(tmp_path / "small.jpg", quality=85)
    _film(2).save(tmp_path / "c.png")
    (tmp_path / "text.png").write_text("no film")
    table = pd.DataFrame(
        {
            "path": ["a.png", "b.png", "copy.png", "small.jpg", "c.png", "text.png"],
            "label": ["normal", "normal", "covid19", "normal", "normal", "normal"],
            "patient_id": ["p1", "p2", "p1", "p3", "p4", "p5"],
            "split": ["train", "train", "test", "train", "test", "test"],
        }
    )
    table.attrs.update(root=str(tmp_path.resolve()), manifest="m.csv")
    return table


def test_copies_are_found_and_described(films: pd.DataFrame) -> None:
    found = find_duplicates(films)
    assert list(found.columns) == list(COLUMNS)
    first, second = found.to_dict("records")
    assert (first["row_a"], first["row_b"], first["path_b"], first["kind"]) == (2, 4, "copy.png", "identical")
    assert (first["distance"], first["same_patient"], first["same_label"], first["same_split"]) == (
        0, True, False, False,
    )  # fmt: skip
    assert (second["row_a"], second["row_b"], second["path_b"], second["kind"]) == (2, 5, "small.jpg", "near")
    assert 0 <= second["distance"] <= 32
    assert (second["same_patient"], second["same_label"], second["same_split"]) == (False, True, True)


def test_rows_are_those_of_the_file_when_others_are_left_out(films: pd.DataFrame) -> None:
    found = find_duplicates(films.loc[[5, 3, 0]])
    assert found[["row_a", "row_b", "path_a"]].to_numpy().tolist() == [[2, 5, "a.png"]]


def test_without_splits_nothing_is_said_of_them(films: pd.DataFrame) -> None:
    assert find_duplicates(films.drop(columns="split"))["same_split"].tolist() == [None, None]
    folds = films.drop(columns="split").assign(fold=[1, 1, 1, 2, 2, 2])
    assert find_duplicates(folds)["same_split"].tolist() == [True, False]


def test_no_pairs(films: pd.DataFrame) -> None:
    found = find_duplicates(films.loc[[0, 1, 4, 5]])
    assert found.empty
    assert list(found.columns) == list(COLUMNS)
    assert find_duplicates(films.iloc[:0]).empty


def test_many_copies_are_each_paired_with_the_first() -> None:
    count = 50
    table = pd.DataFrame({"path": [f"{k}.png" for k in range(count)], "label": "normal", "patient_id": "p1"})
    same = Fingerprints(
        np.arange(count), ["ab"] * count, np.zeros((count, 4), dtype=np.uint64), np.ones(count, dtype=bool)
    )
    found = find_duplicates(table, fingerprints=same)
    assert found["row_a"].tolist() == [2] * (count - 1)
    assert found["row_b"].tolist() == list(range(3, count + 2))


def test_given_fingerprints_are_used(films: pd.DataFrame) -> None:
    prints = fingerprint(films)
    films.attrs["root"] = "/nowhere"
    assert len(find_duplicates(films, fingerprints=prints)) == 2


def _slow_pairs(hashes: np.ndarray, radius: int) -> dict[tuple[int, int], int]:
    texts = ["".join(f"{int(word):064b}" for word in row) for row in hashes]
    distances = {
        (one, other): sum(a != b for a, b in zip(texts[one], texts[other], strict=True))
        for one, other in combinations(range(len(texts)), 2)
    }
    return {pair: distance for pair, distance in distances.items() if distance <= radius}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 25),
    words=st.integers(1, 5),
    radius=st.integers(0, 60),
    cells=st.sampled_from([1, 7, 100, 10**6]),
)
def test_pairs_agree_with_counting_letters(seed: int, count: int, words: int, radius: int, cells: int) -> None:
    random = np.random.default_rng(seed)
    # few distinct words, each with some bits turned, so that there are near pairs
    hashes = random.integers(0, 2**63, (3, words), dtype=np.uint64)[random.integers(0, 3, count)]
    for _ in range(6):
        turned = np.uint64(1) << random.integers(0, 64, (count, words), dtype=np.uint64)
        hashes = hashes ^ turned
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_CELLS", cells)
        pairs, distances = near_pairs(hashes, radius)
    found = {(int(a), int(b)): int(d) for (a, b), d in zip(pairs, distances, strict=True)}
    assert len(found) == len(pairs)
    assert found == _slow_pairs(hashes, radius)


def test_ten_thousand_films_are_a_matter_of_blocks() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, (10_000, 4), dtype=np.uint64)
    hashes[9_999] = hashes[17] ^ np.uint64(0b111)
    pairs, distances = near_pairs(hashes, 32)
    assert pairs.tolist() == [[17, 9_999]]
    assert distances.tolist() == [12]
