"""Oh 2020: which films the experiments take, how they count and test, and the whole of them once on phantoms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import ManifestError
from covidcxr_tf.evaluate.markers import marker_tests
from covidcxr_tf.papers.facts import load_paper
from covidcxr_tf.recipes.patch_resnet18 import patch_levels
from covidcxr_tf.recipes.reproductions import patch_resnet18 as paper
from covidcxr_tf.recipes.reproductions import patch_resnet18_films as films_module
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import (
    adults,
    at_most,
    covid_net_films,
    divided,
    evenly,
    four_classes,
    kept_table,
    lacking,
    patch_config,
    training_share,
)
from covidcxr_tf.recipes.reproductions.patch_resnet18_markers import Contrast, _inside, _tested, patch_intensity
from covidcxr_tf.recipes.reproductions.patch_resnet18_networks import databases
from covidcxr_tf.recipes.reproductions.patch_resnet18_segmentation import _deformed
from covidcxr_tf.recipes.reproductions.run import Reproduction, reproduce
from covidcxr_tf.voting import places

KEY = "patch_resnet18"


@pytest.fixture(scope="session")
def smoke(lung_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reproduction]:
    """Return the whole reproduction on phantoms, shrunk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVIDCXR_MODELS", str(lung_models))
        yield reproduce(KEY, out=tmp_path_factory.mktemp("smoke") / KEY, smoke=True)


@pytest.fixture(scope="session")
def six_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of the phantoms that a smoke run takes."""
    return paper.smoke_films(tmp_path_factory.mktemp("six") / "films", 0)


def bench_of(manifest: Path, out: Path, **more: Any) -> Bench:
    return Bench(load_manifest(manifest), manifest, manifest.parent, out, **more)


def table_of(*rows: tuple[str, str, str], **columns: Any) -> pd.DataFrame:
    """Return films of (label, source, patient)."""
    table = pd.DataFrame(rows, columns=["label", "source", "patient_id"])
    table.insert(0, "path", [f"{number}.png" for number in range(len(rows))])
    table.attrs["root"] = "/films"
    return table.assign(**columns)


# -- films ------------------------------------------------------------------------------------------------------------


def test_children_are_told_by_source_or_age_and_doubt_stays() -> None:
    films = table_of(*[("normal", source, "p") for source in ("kermany", "kermany-v7", "nih14", "nih14", "nih14")])
    kept = adults(films.assign(age=[np.nan, 40.0, 17.9, 18.0, np.nan]))
    assert kept.index.tolist() == [3, 4]
    assert kept.attrs == films.attrs
    assert adults(films.drop(columns="source")).index.tolist() == [0, 1, 2, 3, 4]


def test_at_most_takes_mixed_sources_first_and_patients_together() -> None:
    films = table_of(
        *[("covid19", "armiro", f"a{number}") for number in range(6)],
        *[("covid19", "cohen", f"c{number // 2}") for number in range(6)],
        ("normal", "cohen", "n"),
        ("other", "cohen", "o"),
    )
    kept = at_most(films, {"covid19": 4, "normal": 9}, seed=3)
    assert kept["label"].value_counts().to_dict() == {"covid19": 4, "normal": 1}
    assert set(kept["source"]) == {"cohen"}
    assert set(kept.loc[kept["label"].eq("covid19"), "patient_id"].value_counts()) == {2}
    assert kept.index.is_monotonic_increasing
    drawn = {tuple(at_most(films, {"covid19": 4, "normal": 9}, seed=seed).index) for seed in range(8)}
    assert len(drawn) > 1
    # Beyond the mixed source the other one helps out.
    more = at_most(films, {"covid19": 8, "normal": 9}, seed=0)
    assert more.loc[more["label"].eq("covid19"), "source"].value_counts().to_dict() == {"cohen": 6, "armiro": 2}


def test_evenly_takes_as_many_of_each_source_as_it_can() -> None:
    films = table_of(*[("normal", source, source) for source in "aaaaaaab"])
    assert evenly(films, 4, seed=0)["source"].value_counts().to_dict() == {"a": 3, "b": 1}
    assert len(evenly(films, 99, seed=0)) == 8


def test_a_share_of_the_training_patients_leaves_the_rest_alone() -> None:
    rows = [(label, "s", f"{label}{number // 2}") for label in ("normal", "covid19") for number in range(20)]
    films = table_of(*rows, split=["train"] * 16 + ["test"] * 4 + ["train"] * 16 + ["validation"] * 4)
    kept = {share: training_share(films, share, seed=1) for share in (1.0, 0.5, 0.25, 0.01)}
    assert len(kept[1.0]) == 40
    training = {share: part[part["split"].eq("train")] for share, part in kept.items()}
    for share, patients in ((0.5, 4), (0.25, 2), (0.01, 1)):
        assert training[share].groupby("label")["patient_id"].nunique().tolist() == [patients, patients]
        assert len(kept[share]) - len(training[share]) == 8
        assert len(training[share]) == 4 * patients  # whole patients
    assert set(training[0.25]["patient_id"]) < set(training[0.5]["patient_id"])


def test_a_split_that_is_there_stays_and_else_patients_are_not_cut() -> None:
    rows = [(label, "s", f"{label}{number // 2}") for label in ("viral", "covid19", "other") for number in range(20)]
    films = table_of(*rows)
    classes = {"viral_or_covid19": ("viral", "covid19")}
    split = divided(films, classes, (0.6, 0.2, 0.2), 0)
    assert set(split["label"]) == {"viral", "covid19"}  # the manifest's own labels
    assert split.groupby("patient_id")["split"].nunique().max() == 1
    assert set(split["split"]) == {"train", "validation", "test"}
    given = divided(films.assign(split="test"), classes, (0.6, 0.2, 0.2), 0)
    assert set(given["split"]) == {"test"}
    assert len(given) == 40
    # Films of no class need no split; one of a class does.
    of_others = films.assign(split=films["label"].map({"viral": "train", "covid19": "test", "other": ""}))
    kept = divided(of_others, classes, (0.6, 0.2, 0.2), 0)
    assert kept["split"].value_counts().to_dict() == {"train": 20, "test": 20}
    with pytest.raises(ManifestError, match="20 of 40 films have no split"):
        divided(of_others.assign(split=of_others["split"].replace("test", "")), classes, (0.6, 0.2, 0.2), 0)


def test_the_sets_of_both_classifiers(six_labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(six_labels, tmp_path, smoke=True)
    four = four_classes(bench)
    assert set(four["label"]) == {"normal", "bacterial", "tuberculosis", "viral", "covid19"}
    assert four.index.tolist() == list(range(len(four)))
    monkeypatch.setattr(films_module, "COVID_NET_HELD_OUT", {"normal": 1, "pneumonia": 1, "covid19": 1})
    three = covid_net_films(bench)
    assert set(three["label"]) == {"normal", "pneumonia", "covid19"}
    for part in ("validation", "test"):
        assert three[three["split"].eq(part)]["label"].value_counts().max() == 1
    assert three.groupby("patient_id")["split"].nunique().max() == 1


def test_what_is_lacking_is_named(six_labels: Path, tmp_path: Path) -> None:
    bench = bench_of(six_labels, tmp_path, smoke=True)
    assert lacking(bench, "patch-resnet18") == ""
    bench = replace(bench, manifest=bench.manifest[bench.manifest["label"].ne("tuberculosis")])
    assert "tuberculosis" in lacking(bench, "patch-resnet18")
    assert lacking(bench, "patch-resnet18-covidnet") == ""


@pytest.mark.parametrize(
    ("settings", "film", "patch"),
    [
        ((), 1024, 224),
        (("image.size=512",), 512, 112),
        (("image.size=64",), 64, 32),
        (("patch-resnet18:image.size=512", "patch-resnet18:patches.size=200"), 512, 200),
        (("resnet18:image.size=512",), 1024, 224),
    ],
)
def test_patches_keep_their_share_of_the_film(
    six_labels: Path, tmp_path: Path, settings: tuple[str, ...], film: int, patch: int
) -> None:
    config = patch_config(bench_of(six_labels, tmp_path, settings=settings))
    assert (config.image.size, config.patches.size) == (film, patch)


def test_a_table_is_kept_for_the_same_films_only(tmp_path: Path) -> None:
    films = table_of(("normal", "", "007"), ("normal", "a", "8"))
    made: list[int] = []

    def make() -> pd.DataFrame:
        made.append(len(made))
        return films[["path", "patient_id", "source"]].assign(jaccard=[1 / 3, np.nan], score=len(made))

    first = kept_table(tmp_path / "t.csv", films, make)
    again = kept_table(tmp_path / "t.csv", films, make)
    assert made == [0]
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    assert again["patient_id"].tolist() == ["007", "8"]
    kept_table(tmp_path / "t.csv", films.head(1), make)
    assert made == [0, 1]


# -- databases --------------------------------------------------------------------------------------------------------


def drawn_set(folder: Path, behind: bool) -> Path:
    """Write films of two sources, of which the first has hearts; a heart lies on the lungs where `behind`."""
    lung, heart = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    lung[4:28, 3:12] = lung[4:28, 20:29] = 255
    heart[14:25, 12:20] = 255
    if behind:
        heart[14:25, 6:26] = 255
    for name, picture in (("lung", lung), ("heart", heart)):
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    rows = []
    for number in range(12):
        source = "jsrt" if number < 6 else "montgomery"
        patient = "both" if number in (0, 6) else f"p{number}"
        rows.append((f"film{number}.png", "normal", patient, source, "lung.png", "heart.png" * (source == "jsrt")))
    table = pd.DataFrame(rows, columns=["path", "label", "patient_id", "source", "mask_path", "heart_mask_path"])
    table.to_csv(folder / "masks.csv", index=False)
    return folder / "masks.csv"


@pytest.mark.parametrize("behind", [False, True])
def test_one_database_trains_and_the_other_tests(tmp_path: Path, six_labels: Path, behind: bool) -> None:
    masks = load_manifest(drawn_set(tmp_path, behind))
    sets = databases(bench_of(six_labels, tmp_path / "out", masks=masks))
    assert set(sets.training["source"]) == {"jsrt"}
    assert set(sets.training["split"]) == {"train", "validation"}
    assert set(sets.test["source"]) == {"montgomery"}
    assert "both" not in set(sets.test["patient_id"])
    assert len(sets.test) == 5
    assert sets.organs is not behind
    assert sets.bench.root == tmp_path.resolve()
    assert sets.bench.out == tmp_path / "out"


def test_one_source_alone_is_split_by_patient(tmp_path: Path, six_labels: Path) -> None:
    masks = load_manifest(drawn_set(tmp_path, False))
    sets = databases(bench_of(six_labels, tmp_path / "out", masks=masks.drop(columns="source")))
    assert not set(sets.test["patient_id"]) & set(sets.training["patient_id"])
    assert len(sets.test) + len(sets.training) == 12
    assert "not another database" in sets.note


def test_films_without_masks_are_told(tmp_path: Path, six_labels: Path) -> None:
    bench = bench_of(six_labels, tmp_path)
    bench = replace(bench, manifest=bench.manifest.drop(columns=["mask_path", "heart_mask_path"]))
    experiment = next(one for one in paper.EXPERIMENTS if one.name == "segmentation")
    assert "--masks" in experiment.missing(bench)


# -- counting and testing ---------------------------------------------------------------------------------------------


def test_lungs_left_out_are_counted_beyond_a_quarter() -> None:
    part = pd.DataFrame({"missed": [0.0, 0.25, 0.26, 1.0], "patient_id": list("abcd")})
    count, share = _deformed(part, ("viral",), 0, "note")
    assert (count.value, count.n) == (2, 4)
    assert share.value == 50
    # Four patients drawn with replacement: none of the two deformed ones in 1 of 16 draws, so that 0 and 100 % belong.
    assert share.ci95 == pytest.approx((0, 100))
    nothing = _deformed(part.head(0), ("tuberculosis",), 0, "note")
    assert [one.value for one in nothing] == [None, None]
    assert "tuberculosis" in nothing[0].why


def test_the_interval_of_left_out_lungs_is_as_wide_as_the_number_of_patients_says() -> None:
    missed = [1.0, 0.0, 0.0, 0.0] * 10
    films = _deformed(pd.DataFrame({"missed": missed, "patient_id": range(40)}), ("viral",), 0, "")[1]
    # The same films, ten of one patient each: all four a patient's deformed one are one patient's.
    whole = pd.DataFrame({"missed": sorted(missed), "patient_id": [row // 10 for row in range(40)]})
    patients = _deformed(whole, ("viral",), 0, "")[1]
    assert films.value == patients.value == 25 and films.ci95 is not None and patients.ci95 is not None
    assert patients.ci95 == pytest.approx((0, 75))  # 0 to 3 of 4 patients: 4 of 4 comes once in 256 draws
    assert films.ci95[1] - films.ci95[0] < 30
    # All films agree: Clopper and Pearson over the four patients, 1 - .025^(1/4).
    none = _deformed(whole.assign(missed=0.0), ("viral",), 0, "")[1]
    assert none.ci95 == pytest.approx((0, 100 * (1 - 0.025**0.25)))
    assert _deformed(whole.assign(missed=1.0), ("viral",), 0, "")[1].ci95 == pytest.approx((100 * 0.025**0.25, 100))


def test_the_side_that_is_larger_is_the_contrasts_first() -> None:
    """All viral patients lie above all normal ones: U is 0 or 9, and p of 3 against 3 is 2 / C(6, 3)."""
    values = {"normal": (1.0, 2.0, 3.0), "viral": (4.0, 5.0, 6.0)}
    rows = [(label, "cohen", f"{label}{value}") for label, numbers in values.items() for value in numbers]
    table = table_of(*rows, lung_std=[*values["normal"], *values["viral"]])
    table = pd.concat([table, table_of(("normal", "nih14", "x"), lung_std=[0.5])], ignore_index=True)
    tests = marker_tests(table, ["lung_std"])
    contrast = Contrast("lung_std", "viral", "normal", "higher")
    found = _tested(tests, contrast, "note")
    assert found.value == pytest.approx(2 / 35)  # with the film of the other source: C(7, 3)
    assert found.n == 7
    assert "viral is larger in 100% of pairs (paper: higher)" in found.note
    inside = _inside(tests, contrast)
    assert [one.value for one in inside.values()] == [pytest.approx(0.1)]
    assert "within cohen" in next(iter(inside))
    swapped = _tested(tests, Contrast("lung_std", "normal", "viral", "lower"), "note")
    assert "normal is larger in 0% of pairs" in swapped.note
    missing = _tested(tests, Contrast("lung_std", "covid19", "viral"), "note")
    assert missing.value is None
    assert "covid19" in missing.why


def test_only_patches_that_were_classified_rightly_count(six_labels: Path, tmp_path: Path) -> None:
    levels = pd.DataFrame(
        {
            "path": "a",
            "patient_id": ["1", "1", "1", "2", "2", "2", "2"],
            "label": ["viral"] * 3 + ["normal"] * 4,
            "called": ["viral"] * 3 + ["normal"] * 3 + ["viral"],
            "mean": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0],
            "std": [1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 0.0],
        }
    )
    found = patch_intensity(bench_of(six_labels, tmp_path), levels, "viral")
    assert found["section4c3.inter_patch.normal.p"].value == pytest.approx(0.1)
    assert found["section4c3.inter_patch.normal.p"].n == 6
    # Ranks 1, 3, 5 against 2, 4, 6: U = 3, of 20 orders 7 are at most that far out on each side.
    assert found["section4c3.intra_patch.normal.p"].value == pytest.approx(14 / 20)
    assert found["section4c3.inter_patch.bacterial.p"].value is None
    over_patients = found["also inter-patch mean intensity, viral against normal, over patients: p-value"]
    assert (over_patients.value, over_patients.n) == (1.0, 2)


def test_levels_are_those_of_the_lung_pixels(tmp_path: Path) -> None:
    array = np.zeros((32, 32, 3), np.uint8)
    array[8:24, 8:24] = 100
    array[8:16, 8:24] = 200
    cv2.imwrite(str(tmp_path / "a.png"), array)
    films = table_of(("normal", "", "p")).assign(path="a.png")
    films.attrs["root"] = str(tmp_path)
    loaded: Any = SimpleNamespace(
        classes=("normal", "covid19"),
        film_input=lambda film: SimpleNamespace(array=array),
        places=lambda image: places(image, 32, 3, 0),
        patch_probabilities=lambda batch: np.tile([0.2, 0.8], (len(batch), 1)),
    )
    table = patch_levels(loaded, films)
    assert table["called"].tolist() == ["covid19"] * 3
    assert table["mean"].tolist() == [150.0] * 3
    assert table["std"].tolist() == [50.0] * 3


# -- the whole --------------------------------------------------------------------------------------------------------


def test_every_printed_result_has_an_experiment() -> None:
    printed = {fact.id for fact in load_paper(KEY).of_role("result")}
    answered = {fact for experiment in paper.EXPERIMENTS for fact in experiment.facts}
    assert printed <= answered
    assert {"section5d.parameters", "section5f1.fcdensenet103_parameters"} <= answered


def test_the_whole_paper_runs_on_phantoms(smoke: Reproduction) -> None:
    rows = {row.fact: row for row in smoke.rows if row.fact}
    measured = {name for name, row in rows.items() if row.measured is not None}
    may_lack = {name for name in rows if name.startswith(("section4c3.", "section4a.jaccard_p"))}
    assert set(rows) - measured <= may_lack
    assert 0 <= rows["section4a.jaccard_preprocessed"].measured <= 1  # type: ignore[operator]
    assert 0 <= rows["section4d.sensitivity_covid19_viral"].measured <= 100  # type: ignore[operator]
    assert rows["section4d.sensitivity_covid19_viral"].n is not None
    assert rows["section5f1.fcdensenet67_parameters"].measured == pytest.approx(3.5e6, rel=0.01)
    assert {row.experiment for row in smoke.rows} == {one.name for one in paper.EXPERIMENTS}
    also = {row.what for row in smoke.rows if not row.fact}
    assert any("AUC within demo-" in name for name in also)
    assert "patches of 64 px (32 px elsewhere): accuracy" in also
    assert "lung pixels that the patches of a film cover, mean" in also


def test_tables_and_pictures_are_written(smoke: Reproduction) -> None:
    repeat = smoke.folder / "repeat_1"
    assert (repeat / "biomarkers" / "tests.csv").is_file()
    pictures = {path.name for path in (repeat / "heat_maps").glob("*.png")}
    assert {"normal_1_patch-gradcam.png", "viral_or_covid19_1_gradcam.png"} <= pictures
    split = pd.read_csv(repeat / "runs" / "patches" / "split.csv", dtype=str).set_index("path")["split"]
    half = pd.read_csv(repeat / "runs" / "patches_50_percent" / "split.csv", dtype=str).set_index("path")["split"]
    assert half.eq(split[half.index]).all()
    assert set(split.index) - set(half.index) <= set(split.index[split.eq("train")])


def test_a_second_call_reads_the_runs_again(
    smoke: Reproduction, shipped_lungs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = sorted(smoke.folder.glob("repeat_1/runs/*/model.keras"))
    before = [path.stat().st_mtime_ns for path in models]
    again = reproduce(KEY, out=smoke.folder, smoke=True, only=["mask_only", "under_segmentation"])
    assert [path.stat().st_mtime_ns for path in models] == before
    assert "run mask_only: finished before, read again" in capsys.readouterr().err
    for fact in ("section5f3.mask_only_sensitivity", "section5f3.normal.under_segmented"):
        first, second = (next(row for row in done.rows if row.fact == fact) for done in (smoke, again))
        assert first.measured == second.measured
