"""The five-fold portable CXR study on phantoms: its arithmetic, its films, and which films may judge a lung network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.splits import patient_digest, split_by_patient, split_digest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.judging import overlap_table
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.recipes.reproductions import vgg16_pcxr, vgg16_pcxr_lungs
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.run import Reproduction, reproduce
from covidcxr_tf.recipes.reproductions.table import Row
from covidcxr_tf.recipes.reproductions.vgg16_pcxr_films import CLASSES, FILMS, missing, study_films


@pytest.fixture(scope="module")
def smoke(lung_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reproduction]:
    """Return the whole reproduction on phantoms, with a lung network written by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVIDCXR_MODELS", str(lung_models))
        yield reproduce("vgg16_pcxr", out=tmp_path_factory.mktemp("vgg16") / "out", smoke=True)


@pytest.fixture(scope="module")
def rows(smoke: Reproduction) -> dict[str, Row]:
    return {row.fact or f"also {row.what}": row for row in smoke.rows}


def bench_of(films: pd.DataFrame, out: Path, settings: tuple[str, ...] = ()) -> Bench:
    films.attrs |= {"root": str(out), "manifest": str(out / "films.csv")}
    return Bench(films, out / "films.csv", out, out, settings=settings)


def many(counts: dict[str, int], films_each: int = 2) -> pd.DataFrame:
    """Return films of some labels, `films_each` a patient."""
    parts = [
        pd.DataFrame({"label": label, "patient_id": [f"{label}{k // films_each}" for k in range(count)]})
        for label, count in counts.items()
    ]
    films = pd.concat(parts, ignore_index=True)
    return films.assign(path=[f"{k}.png" for k in films.index], source=np.where(films.index % 4 < 2, "east", "west"))


def test_each_printed_number_is_measured_or_says_why(rows: dict[str, Row]) -> None:
    printed = [row for name, row in rows.items() if not name.startswith("also ")]
    assert len(printed) == 51 and all(row.experiment for row in printed)
    without = {row.fact for row in printed if row.measured is None}
    # The hand-written network does not say what it learned from; a class that nobody called has no precision.
    assert {"methods.unet_iou", "methods.unet_dice"} <= without
    assert all(name.endswith(".precision") for name in without - {"methods.unet_iou", "methods.unet_dice"})
    assert "does not say which films" in rows["methods.unet_iou"].why


def test_the_tables_are_one_confusion(rows: dict[str, Row]) -> None:
    counts = np.array([[rows[f"table1.{true}.{called}"].measured for called in CLASSES] for true in CLASSES], float)
    n = rows["abstract.whole.accuracy"].n or 0
    support, called, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    assert counts.sum() == n
    assert rows["results.whole.accuracy"].measured == pytest.approx(hits.sum() / n)
    assert rows["results.whole.sensitivity"].measured == pytest.approx(np.mean(hits / support))
    specificity = [(n - support[k] - (called[k] - hits[k])) / (n - support[k]) for k in range(4)]
    assert rows["results.whole.specificity"].measured == pytest.approx(np.mean(specificity))
    micro = 1 - (n - hits.sum()) / (3 * n)
    assert f"micro average {micro:.3f}" in rows["results.whole.specificity"].note
    for k, name in enumerate(CLASSES):
        assert rows[f"table2.{name}.recall"].measured == pytest.approx(hits[k] / support[k])
        assert rows[f"table2.{name}.f1"].measured == pytest.approx(2 * hits[k] / (support[k] + called[k]))


def test_one_number_stands_wherever_the_paper_prints_it(rows: dict[str, Row]) -> None:
    for name in vgg16_pcxr.OVERALL:
        assert rows[f"abstract.whole.{name}"].measured == rows[f"results.whole.{name}"].measured
        places = {rows[f"{place}.segmented.{name}"].measured for place in ("abstract", "results", "discussion")}
        assert len(places) == 1


def test_conditions_and_each_source_stand_beside_the_figures(smoke: Reproduction, rows: dict[str, Row]) -> None:
    assert "; 32 px, random first weights, 1 epoch(s), phantoms" in rows["abstract.whole.auc"].note
    table = pd.read_csv(smoke.folder / "repeat_1" / "runs" / "whole" / "predictions_test.csv")
    for source, part in table.groupby("source"):
        accuracy = rows[f"also whole films: accuracy within {source}"]
        assert accuracy.measured == pytest.approx((part["label"] == part["predicted"]).mean())
        assert f"gives {part['label'].value_counts().max() / len(part):.3f}" in accuracy.note


def test_both_kinds_of_films_have_the_same_folds(smoke: Reproduction) -> None:
    runs = smoke.folder / "repeat_1" / "runs"
    tables = [
        pd.read_csv(runs / name / "predictions_test.csv", dtype={"patient_id": str}) for name in ("whole", "segmented")
    ]
    first, second = (table.set_index("path")["fold"].to_dict() for table in tables)
    assert first == second and len(first) == len(tables[0])
    assert tables[0].groupby("patient_id")["fold"].nunique().max() == 1
    probabilities = [table[[f"prob_{name}" for name in CLASSES]].to_numpy() for table in tables]
    assert not np.allclose(probabilities[0], probabilities[1]), "segmented lungs gave the same outputs as whole films"


def test_the_gain_is_the_difference_of_the_areas(smoke: Reproduction, rows: dict[str, Row]) -> None:
    from sklearn.metrics import roc_auc_score

    areas = []
    for name in ("segmented", "whole"):
        table = pd.read_csv(smoke.folder / "repeat_1" / "runs" / name / "predictions_test.csv")
        areas.append(roc_auc_score(table["label"] == "covid19", table["prob_covid19"]))
    gain = rows["also segmented lungs less whole films: AUC of covid19, all films"]
    assert gain.measured == pytest.approx(areas[0] - areas[1])


def test_pictures_of_films_stay_in_the_runs_own_folders(smoke: Reproduction) -> None:
    assert [path.name for path in (smoke.folder / "figures").glob("*.png")] == ["agreement.png"]
    runs = smoke.folder / "repeat_1" / "runs"
    for picture in ("cam_whole/figures/cam_test.png", "whole/figures/roc_folds.png", "segmented/figures/roc_folds.png"):
        assert (runs / picture).stat().st_size > 5000


def test_the_activation_networks_share_one_split(smoke: Reproduction, rows: dict[str, Row]) -> None:
    runs = smoke.folder / "repeat_1" / "runs"
    whole, lungs = (pd.read_csv(runs / name / "split.csv") for name in ("cam_whole", "cam_segmented"))
    assert whole.equals(lungs) and set(whole["split"]) == {"train", "validation", "test"}
    assert (runs / "cam_segmented" / "lung_model.keras").is_file()
    assert not (runs / "cam_whole" / "lung_model.keras").is_file()
    shares = [row for name, row in rows.items() if name.startswith("also CAM on")]
    assert len(shares) == 2
    assert all(row.measured is None or 0 <= row.measured <= 100 for row in shares)


def test_macro_specificity_by_hand() -> None:
    table = pd.DataFrame({"patient_id": list("aabbcc"), "label": list("xxyyzz"), "predicted": list("xyyyxz")})
    # of x: 3 of 4 others are not called x; of y: 3 of 4; of z: 4 of 4
    found = vgg16_pcxr.macro_specificity(table, resamples=200)
    assert found["value"] == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)
    assert found["ci95"][0] <= found["value"] <= found["ci95"][1]


def test_no_more_films_than_the_study_has_and_whole_patients(tmp_path: Path) -> None:
    films = many({"normal": 700, "bacterial": 100, "viral": 560, "covid19": 455, "other": 50}, films_each=2)
    chosen = study_films(bench_of(films, tmp_path))
    counts = chosen["label"].value_counts().to_dict()
    # 455 films are 227 patients of two films and one of one: all of them
    assert counts == {"normal": FILMS["normal"], "bacterial": 100, "viral": FILMS["viral"], "covid19": FILMS["covid19"]}
    both = films.groupby("patient_id").size()
    assert (chosen.groupby("patient_id").size() == both.reindex(sorted(set(chosen["patient_id"])))).all()
    assert chosen["path"].astype("string").str.removesuffix(".png").astype(int).is_monotonic_increasing


def test_sources_are_chosen_before_films_are_drawn(tmp_path: Path) -> None:
    films = many({"normal": 1200, "bacterial": 10, "viral": 10, "covid19": 10})
    chosen = study_films(bench_of(films, tmp_path, ('data.sources=["east"]',)))
    assert set(chosen["source"]) == {"east"}
    assert chosen["label"].value_counts()["normal"] == FILMS["normal"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert "bacterial or viral" in missing(bench_of(many({"normal": 4, "covid19": 4}), tmp_path))
    films = many(dict.fromkeys(CLASSES, 4))
    assert missing(bench_of(films, tmp_path)) == ""
    assert "data.folds is 0" in missing(bench_of(films, tmp_path, ("data.folds=0",)))
    assert "--masks" in vgg16_pcxr_lungs.missing_lungs(bench_of(films, tmp_path))


def drawn_bench(phantoms: Path, out: Path, **columns: Any) -> Bench:
    films = load_manifest(phantoms)
    attributes = films.attrs
    films = films.assign(**columns)
    films.attrs = attributes
    path = out / "drawn.csv"
    films.to_csv(path, index=False)
    return Bench(load_manifest(path, root=attributes["root"]), path, Path(attributes["root"]), out)


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the lung network's file says, to be filled in."""
    says: dict[str, Any] = {}
    monkeypatch.setattr(vgg16_pcxr_lungs, "read_facts", lambda path: says)
    return says


FINDER: Any = SimpleNamespace(name="lungs", path=Path("model.keras"))


def test_films_of_patients_that_trained_the_lung_network_are_left_out(
    phantoms: Path, tmp_path: Path, facts: dict[str, Any]
) -> None:
    bench = drawn_bench(phantoms, tmp_path)
    patients = sorted(set(bench.manifest["patient_id"]))
    facts["history"] = [{"patients": [patient_digest(one) for one in patients[:5]]}]
    films, which = vgg16_pcxr_lungs.unseen_films(FINDER, bench)
    assert set(films["patient_id"]) == set(patients[5:]) and "patients" in which
    assert films.index.tolist() == list(range(len(films))) and films.attrs == bench.manifest.attrs
    facts["history"] = [{"patients": [patient_digest(one) for one in patients]}]
    with pytest.raises(SplitError, match="every film with a mask"):
        vgg16_pcxr_lungs.unseen_films(FINDER, bench)


def test_the_networks_own_split_tells_its_test_films(phantoms: Path, tmp_path: Path, facts: dict[str, Any]) -> None:
    split = split_by_patient(load_manifest(phantoms), seed=4)["split"].tolist()
    bench = drawn_bench(phantoms, tmp_path, split=split)
    facts |= {"split_digest": split_digest(bench.manifest), "source": "demo-north, demo-south, demo-west"}
    films, _ = vgg16_pcxr_lungs.unseen_films(FINDER, bench)
    assert set(films["split"]) == {"test"} and len(films) == split.count("test")
    facts["split_digest"] = "of another split"
    with pytest.raises(SplitError):
        vgg16_pcxr_lungs.unseen_films(FINDER, bench)
    facts["source"] = "demo-north (9 pairs)"
    bench.manifest["source"] = np.where(np.arange(len(bench.manifest)) % 2, "demo-x", "montgomery")
    assert set(vgg16_pcxr_lungs.unseen_films(FINDER, bench)[0]["source"]) == {"montgomery"}


def test_a_network_that_says_nothing_judges_nothing(phantoms: Path, tmp_path: Path, facts: dict[str, Any]) -> None:
    with pytest.raises(SplitError, match="does not say which films"):
        vgg16_pcxr_lungs.unseen_films(FINDER, drawn_bench(phantoms, tmp_path))


def test_overlap_is_that_of_evaluate(
    phantoms: Path, tmp_path: Path, facts: dict[str, Any], shipped_lungs: Path
) -> None:
    facts["source"] = "elsewhere"
    bench = drawn_bench(phantoms, tmp_path)
    found = vgg16_pcxr_lungs.lung_overlap(bench)
    metrics = evaluate_masks(overlap_table(LungFinder.load("lung_unet"), bench.manifest), resamples=10)
    assert found["methods.unet_iou"].value == pytest.approx(metrics["jaccard"]["value"])
    assert found["methods.unet_dice"].value == pytest.approx(metrics["dice"]["value"])
    assert found["methods.unet_dice"].n == len(bench.manifest)


def test_covid19_is_shown_first_and_the_rule_is_the_median() -> None:
    labels = ["normal"] * 3 + ["covid19"] * 5 + ["viral"]
    table = pd.DataFrame({"label": labels, **{f"prob_{name}": np.linspace(0, 1, 9) for name in CLASSES}})
    assert vgg16_pcxr_lungs.shown_films(table) == [
        (4, "covid19"), (5, "covid19"), (6, "covid19"), (1, "normal"), (8, "viral")
    ]  # fmt: skip
