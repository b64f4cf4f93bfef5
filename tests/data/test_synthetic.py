from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from covidcxr_tf.data.film import LABELS, SOURCES, make_film
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.opacities import draw_opacity
from covidcxr_tf.data.patient import Patient, Pose
from covidcxr_tf.data.phantom import Chest, make_grid
from covidcxr_tf.data.soft_tissue import body, tubes
from covidcxr_tf.data.synthetic import COLUMNS, write_demo
from covidcxr_tf.errors import UsageError

SIZE = 128


def chest_of(seed: int, size: int = SIZE) -> Chest:
    patient = Patient.draw(np.random.SeedSequence(seed))
    return Chest(patient, Pose(), make_grid(patient, Pose(), size, size))


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def in_box(mask: np.ndarray) -> np.ndarray:
    """Return the mask cut to its bounding box at 96 x 96, which takes size and place of the patient out."""
    cut = mask[ndimage.find_objects(mask)[0]]
    return cv2.resize(cut, (96, 96), interpolation=cv2.INTER_NEAREST)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "small", patients=9, seed=4, size=64)


# one film


def test_the_same_seed_gives_the_same_film_and_another_seed_another() -> None:
    first, again, else_ = (make_film("viral", "demo-west", seed, SIZE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.film, again.film)
    np.testing.assert_array_equal(first.lung_mask, again.lung_mask)
    assert np.abs(first.film - else_.film).mean() > 0.02


def test_a_seed_sequence_is_not_used_up() -> None:
    seed = np.random.SeedSequence(5)
    first = make_film("covid19", SOURCES[0], seed, 64)
    np.testing.assert_array_equal(first.film, make_film("covid19", SOURCES[0], seed, 64).film)
    np.testing.assert_array_equal(first.film, make_film("covid19", SOURCES[0], 5, 64).film)


@settings(max_examples=25, deadline=None)
@given(
    label=st.sampled_from(LABELS),
    source=st.sampled_from(SOURCES),
    seed=st.integers(0, 2**64),
    size=st.integers(32, 90),
    index=st.integers(0, 4),
)
def test_every_film_keeps_the_contract(label: str, source: str, seed: int, size: int, index: int) -> None:
    made = make_film(label, source, seed, size, index=index)
    assert made.film.dtype == np.float32
    assert np.isfinite(made.film).all()
    assert made.film.min() >= 0 and made.film.max() <= 1
    assert max(made.film.shape) == size
    for mask in (made.lung_mask, made.heart_mask):
        assert mask.dtype == np.uint8 and mask.shape == made.film.shape
        assert set(np.unique(mask)) == {0, 1}
    assert made.view in ("PA", "AP") and made.sex in ("F", "M") and 18 <= made.age <= 90


@pytest.mark.parametrize("source", SOURCES)
def test_lungs_are_darker_than_heart_and_belly_and_the_background_is_black(source: str) -> None:
    for seed in range(4):
        made = make_film("normal", source, seed, SIZE)
        lungs = (made.lung_mask == 1) & (made.heart_mask == 0)
        assert np.median(made.film[lungs]) < np.median(made.film[made.heart_mask == 1]) - 0.15
        below = made.film[-SIZE // 10 :, made.film.shape[1] // 3 : 2 * made.film.shape[1] // 3]
        assert np.median(made.film[lungs]) < np.median(below) - 0.15
        # Above the shoulder that bears no marker the beam meets nothing.
        corner = made.film[:6, -6:] if source != "demo-north" else made.film[:6, :6]
        assert corner.mean() < 0.1


def test_lung_mask_is_two_lungs_of_sensible_size_on_either_side_of_the_spine() -> None:
    for seed in range(6):
        chest = chest_of(seed)
        labels, count = ndimage.label(chest.lung_mask)
        assert count == 2
        centres = sorted(ndimage.center_of_mass(chest.lung_mask, labels, [1, 2]), key=lambda point: point[1])
        assert centres[0][1] < SIZE / 2 < centres[1][1]
        # The right lung ends higher, on the liver.
        lowest = [chest.grid.rows[chest.lung_mask & (chest.left == left)].max() for left in (False, True)]
        assert lowest[1] > lowest[0] - 0.5
        square_cm = chest.lung_mask.sum() * chest.grid.pixel**2
        assert 300 < square_cm < 800


def test_lung_mask_is_where_the_beam_meets_lung() -> None:
    chest = chest_of(7, 256)
    core = ndimage.binary_erosion(chest.lung_mask, iterations=2)
    assert (chest.cavity[core] > 0).all()
    assert (chest.lung[core] > 0).all()
    beside = (chest.side > chest.lateral) | (chest.side < chest.medial) | (chest.grid.rows < 0)
    assert (chest.cavity[beside] == 0).all()
    # The dome is round: from 2 cm below its top only the recess behind it holds lung.
    below = chest.grid.rows > chest.diaphragm + 2
    assert chest.cavity[below].max() < 0.25 * chest.cavity[chest.lung_mask].max()


def test_heart_is_asymmetric_overlaps_the_lungs_and_lies_in_the_body() -> None:
    for seed in range(6):
        chest = chest_of(seed)
        columns = chest.grid.columns[chest.heart_mask]
        assert columns.max() > 1.3 * -columns.min() > 0
        ratio = (columns.max() - columns.min()) / (2 * chest.patient.half_width)
        assert ratio == pytest.approx(chest.patient.heart_ratio, abs=0.09)
        assert (body(chest)[chest.heart_mask] > 10).all()
        assert (chest.heart_mask & chest.lung_mask).sum() > 0.2 * chest.heart_mask.sum()


def test_body_is_thicker_than_what_lies_in_it() -> None:
    for seed in range(6):
        chest = chest_of(seed)
        inner = chest.lung + chest.airway
        assert (body(chest)[chest.lung_mask] > inner[chest.lung_mask]).mean() > 0.99


@pytest.mark.parametrize("radius", [0.03, 0.1, 0.3])
def test_a_tube_keeps_its_mass_at_any_pixel_size(radius: float) -> None:
    paths = np.array([[[4.0, -8.0], [6.0, 0.0], [8.0, 8.0]]])
    mass = []
    for size in (64, 128, 256, 512):
        grid = chest_of(0, size).grid
        mass.append(tubes(grid, np.array([radius]), paths).sum() * grid.pixel**2)
    # A round tube holds pi r^2 cm3 a cm.
    np.testing.assert_allclose(mass, np.pi * radius**2 * np.hypot(4, 16), rtol=0.12)


# disease: what differs from the same film without it


def difference(label: str, seed: int) -> tuple[np.ndarray, Chest]:
    chest = chest_of(seed)
    opacity = draw_opacity(label, chest, np.random.default_rng(seed))
    return (opacity.fill * chest.lung + np.minimum(opacity.extra, chest.cavity)).astype(np.float64), chest


def shares(label: str, seeds: range = range(12)) -> dict[str, float]:
    """Return medians over patients of where the added tissue lies, relative to where the lung lies."""
    found = defaultdict(list)
    for seed in seeds:
        added, chest = difference(label, seed)
        added, mask = added * chest.lung_mask, chest.lung_mask
        lower, left = chest.grid.rows > 0.5 * chest.floor, chest.left
        outer = chest.side > 0.6 * chest.lateral
        total = added.sum()
        found["lower"].append(added[lower].sum() / total / (mask & lower).sum() * mask.sum())
        found["outer"].append(added[outer].sum() / total / (mask & outer).sum() * mask.sum())
        found["weaker side"].append(min(added[left].sum(), added[~left].sum()) / total)
        found["upper half"].append(added[~lower].sum() / total)
        found["touched"].append((added[mask] > 0.3).mean())
    return {name: float(np.median(values)) for name, values in found.items()}


def test_covid19_is_bilateral_peripheral_and_lower() -> None:
    found = shares("covid19")
    assert found["lower"] > 1.15
    assert found["outer"] > 1.15
    assert found["weaker side"] > 0.25


def test_bacterial_keeps_to_one_side_and_viral_to_none() -> None:
    assert shares("bacterial")["weaker side"] < 0.01
    viral = shares("viral")
    assert viral["weaker side"] > 0.3
    assert viral["touched"] > 0.5


def test_tuberculosis_lies_in_the_upper_half() -> None:
    assert shares("tuberculosis")["upper half"] > 0.95


def test_normal_adds_nothing() -> None:
    added, _ = difference("normal", 1)
    assert not added.any()


@pytest.mark.parametrize("label", [name for name in LABELS if name != "normal"])
def test_disease_brightens_the_lungs_and_leaves_the_rest_alone(label: str) -> None:
    for seed in range(3):
        ill, well = make_film(label, "demo-north", seed, SIZE), make_film("normal", "demo-north", seed, SIZE)
        np.testing.assert_array_equal(ill.lung_mask, well.lung_mask)
        change = ill.film.astype(float) - well.film
        # Below the dome hangs the lung's recess, which fluid fills too.
        near = np.maximum.accumulate(ndimage.binary_dilation(ill.lung_mask, iterations=4), axis=0)
        assert change[ill.lung_mask == 1].mean() > 0.001
        assert change.max() > 0.04
        # Scatter spreads a little of any change over the film.
        assert np.abs(change[~near]).max() < 0.06


# one patient, several films and sizes


def test_films_of_a_patient_share_the_anatomy_but_not_the_pose() -> None:
    same, others = [], []
    for seed in range(5):
        first, second = (make_film("normal", SOURCES[0], seed, SIZE, index=index) for index in (0, 1))
        stranger = make_film("normal", SOURCES[0], seed + 50, SIZE)
        assert (first.age, first.sex) == (second.age, second.sex)
        assert not np.array_equal(first.lung_mask, second.lung_mask)
        same.append(dice(in_box(first.heart_mask | first.lung_mask), in_box(second.heart_mask | second.lung_mask)))
        others.append(
            dice(in_box(first.heart_mask | first.lung_mask), in_box(stranger.heart_mask | stranger.lung_mask))
        )
    assert np.mean(same) > np.mean(others)
    assert min(same) > 0.9


@pytest.mark.parametrize("label", ["normal", "tuberculosis"])
def test_a_larger_film_shows_the_same_patient(label: str) -> None:
    small, large = make_film(label, "demo-south", 8, 96), make_film(label, "demo-south", 8, 288)
    height, width = small.film.shape
    lungs = cv2.resize(large.lung_mask, (width, height), interpolation=cv2.INTER_NEAREST)
    assert dice(lungs, small.lung_mask) > 0.97
    film = cv2.resize(large.film, (width, height), interpolation=cv2.INTER_AREA)
    plain = np.s_[height // 5 :]  # text is drawn in whole pixels
    assert np.corrcoef(film[plain].ravel(), small.film[plain].ravel())[0, 1] > 0.99


def test_caption_changes_the_corner_alone() -> None:
    bare, marked = (make_film("normal", "demo-south", 2, SIZE, caption=text) for text in ("", "PORTABLE"))
    changed = np.argwhere(bare.film != marked.film)
    assert len(changed) > 20
    assert changed[:, 0].max() < SIZE // 4 and changed[:, 1].max() < SIZE // 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"label": "flu"}, "unknown label 'flu'"),
        ({"label": "normal", "source": "north"}, "unknown source 'north'"),
        ({"label": "normal", "size": 31}, "size 31"),
        ({"label": "normal", "size": 5000}, "size 5000"),
        ({"label": "normal", "seed": -1}, "seed -1"),
        ({"label": "normal", "index": -1}, "film index -1"),
    ],
)
def test_bad_film_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_film(**arguments)


# the demo data set


def test_manifest_is_valid_and_its_files_are_what_it_says(demo: Path) -> None:
    rows = rows_of(demo)
    assert tuple(rows[0]) == COLUMNS
    assert len(load_manifest(demo)) == len(rows)
    for row in rows:
        content = (demo.parent / row["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        film = cv2.imread(str(demo.parent / row["path"]), cv2.IMREAD_UNCHANGED)
        assert film.dtype == (np.uint16 if row["source"] == "demo-west" else np.uint8)
        assert film.shape == (int(row["original_height"]), int(row["original_width"]))
        for column in ("mask_path", "heart_mask_path"):
            mask = cv2.imread(str(demo.parent / row[column]), cv2.IMREAD_UNCHANGED)
            assert mask.shape == film.shape
            assert set(np.unique(mask)) == {0, 255}
        assert row["license"] == "synthetic, CC0"


def test_written_pixels_are_the_film(demo: Path) -> None:
    row = rows_of(demo)[0]
    made = make_film(row["label"], row["source"], np.random.SeedSequence(4, spawn_key=(0,)), 64)
    written = cv2.imread(str(demo.parent / row["path"]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, np.rint(made.film * 255))


def test_each_class_has_three_patients_spread_over_the_sources(demo: Path) -> None:
    patients = {row["patient_id"]: (row["label"], row["source"]) for row in rows_of(demo)}
    assert len(patients) == 9
    assert Counter(patients.values()) == {
        (label, source): 1 for label in ("normal", "covid19", "pneumonia") for source in SOURCES
    }


def test_a_patient_has_one_label_source_age_and_one_to_three_films(demo: Path) -> None:
    films = defaultdict(list)
    for row in rows_of(demo):
        films[row["patient_id"]].append((row["label"], row["source"], row["age"], row["sex"]))
    assert all(1 <= len(rows) <= 3 and len(set(rows)) == 1 for rows in films.values())
    assert any(len(rows) > 1 for rows in films.values())


def test_a_larger_demo_starts_with_the_smaller_one(demo: Path, tmp_path: Path) -> None:
    larger = rows_of(write_demo(tmp_path / "larger", patients=10, seed=4, size=64))
    smaller = rows_of(demo)
    assert larger[: len(smaller)] == smaller
    assert {row["patient_id"] for row in larger[len(smaller) :]} == {"demo0010"}


def test_shortcut_ties_the_source_and_the_caption_to_the_label(demo: Path, tmp_path: Path) -> None:
    tied = rows_of(write_demo(tmp_path / "tied", patients=9, seed=4, size=64, shortcut=True))
    sources = defaultdict(set)
    for row in tied:
        sources[row["label"]].add(row["source"])
    assert sorted(next(iter(found)) for found in sources.values()) == sorted(SOURCES)
    assert all(len(found) == 1 for found in sources.values())
    # The patients themselves are those of the honest demo.
    assert [(row["patient_id"], row["label"], row["age"]) for row in tied] == [
        (row["patient_id"], row["label"], row["age"]) for row in rows_of(demo)
    ]


def test_other_labels_can_be_asked_for(tmp_path: Path) -> None:
    rows = rows_of(write_demo(tmp_path / "two", patients=6, size=32, labels=("tuberculosis", "other")))
    assert {row["label"] for row in rows} == {"tuberculosis", "other"}


def test_progress_is_told_once_a_film(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    rows = rows_of(
        write_demo(
            tmp_path / "told", patients=3, size=32, labels=["normal"], progress=lambda done, of: told.append((done, of))
        )
    )
    assert told == [(done, len(rows)) for done in range(1, len(rows) + 1)]


@pytest.mark.parametrize("there", [False, True])
def test_a_stopped_demo_leaves_nothing(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "stopped"
    if there:
        out.mkdir()

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(out, patients=3, size=32, labels=["normal"], progress=stop)
    assert list(tmp_path.rglob("*")) == ([out] if there else [])


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    manifest = write_demo(tmp_path, patients=3, size=32, labels=["normal"])
    assert manifest == tmp_path / "manifest.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "films", "hearts", "lungs", "manifest.csv"]


def test_the_same_demo_again_writes_nothing(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.parent.rglob("*")}
    assert write_demo(demo.parent, patients=9, seed=4, size=64) == demo
    assert {path: path.stat().st_mtime_ns for path in demo.parent.rglob("*")} == before


@pytest.mark.parametrize("options", [{"seed": 5}, {"size": 65}, {"patients": 10}, {"shortcut": True}])
def test_another_demo_is_refused(demo: Path, options: dict) -> None:
    with pytest.raises(UsageError, match="other options"):
        write_demo(demo.parent, **{"patients": 9, "seed": 4, "size": 64, **options})


@pytest.mark.parametrize("damage", ["film", "mask", "manifest"])
def test_a_changed_demo_is_refused(demo: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo.parent, copy)
    row = rows_of(demo)[0]
    if damage == "film":
        (copy / row["path"]).write_bytes(b"else")
    elif damage == "mask":
        (copy / row["mask_path"]).unlink()
    else:
        (copy / "manifest.csv").write_text(demo.read_text().replace("normal", "covid19"))
    with pytest.raises(UsageError, match="changed since"):
        write_demo(copy, patients=9, seed=4, size=64)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_with_other_things_is_refused_and_kept(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    if content is not None:
        (tmp_path / "demo.json").write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="not empty"):
        write_demo(tmp_path, patients=9, size=32)
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write_demo(tmp_path / "file", patients=9, size=32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patients": 8}, "8 patients for 3 labels; expected at least 9"),
        ({"labels": ()}, "no labels"),
        ({"labels": ("normal", "normal")}, "a label comes twice"),
        ({"labels": ("normal", "flu")}, "unknown label 'flu'"),
        ({"size": 16}, "size 16"),
        ({"seed": -3}, "seed -3"),
    ],
)
def test_bad_demo_arguments_are_named_and_nothing_is_written(tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write_demo(tmp_path / "demo", **{"size": 32, **options})
    assert not list(tmp_path.iterdir())
