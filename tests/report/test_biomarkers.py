from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from covidcxr_tf.evaluate.markers import marker_summary, marker_tests
from covidcxr_tf.lungs.biomarkers import MARKERS
from covidcxr_tf.report.biomarker_summary import caveats, marker_document, summarise_markers
from covidcxr_tf.report.biomarkers import draw_biomarkers, draw_marker, draw_means, draw_scatter

NAMES = list(MARKERS)


def markers(patients: int = 12, films: int = 1) -> pd.DataFrame:
    """Three classes; normal and covid19 share the source a, tuberculosis is b's alone; covid19 darker and uneven."""
    random = np.random.default_rng(0)
    rows = []
    for label, sources in (("covid19", "ab"), ("normal", "ac"), ("tuberculosis", "d")):
        for patient in range(patients):
            for _ in range(films):
                row = {"patient_id": f"{label}{patient}", "label": label, "source": sources[patient % len(sources)]}
                row |= dict(zip(NAMES, random.normal(100, 3, len(NAMES))))
                row["lung_mean"] -= 30 * (label == "covid19")
                rows.append(row)
    table = pd.DataFrame(rows)
    made = {"lung_mask_from": "manifest", "heart_mask_from": "manifest", "lung_verdict": "good"}
    return table.assign(path=[f"{row}.png" for row in table.index], **made)


def panel() -> object:
    return Figure().subplots()


def test_a_marker_is_drawn_by_class_with_asterisks_where_classes_differ() -> None:
    table = markers()
    axes = draw_marker(table, "lung_mean", panel(), marker_tests(table, NAMES))  # type: ignore[arg-type]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "covid19\nn = 12",
        "normal\nn = 12",
        "tuberculosis\nn = 12",
    ]
    # Twelve against twelve without overlap: 3.7e-5 by the normal curve, times the 36 tests of the family.
    assert [text.get_text() for text in axes.texts] == ["**", "**"]
    brackets = [line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) == 4]  # type: ignore[union-attr]
    assert [1, 1, 2, 2] in brackets and [1, 1, 3, 3] in brackets and [2, 2, 3, 3] not in brackets
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["a", "b", "c", "d"]
    assert "grey level" in axes.get_ylabel()


def test_without_differences_the_picture_says_so() -> None:
    table = markers()
    axes = draw_marker(table, "lung_std", panel(), marker_tests(table, NAMES))  # type: ignore[arg-type]
    assert not axes.texts and "no pair differs" in axes.get_title()


def test_means_are_those_of_patients() -> None:
    table = markers(films=2)
    axes = draw_means(table, "lung_mean", panel())  # type: ignore[arg-type]
    drawn = [bars.lines[0].get_ydata()[0] for bars in axes.containers]  # type: ignore[union-attr]
    means = table.groupby(["label", "patient_id"])["lung_mean"].mean().groupby("label").mean()
    assert drawn == pytest.approx(means.to_list())


@pytest.mark.parametrize(("by", "groups"), [("label", 3), ("source", 4)])
def test_scatter_names_groups_with_their_patients(by: str, groups: int) -> None:
    axes = draw_scatter(markers(), "lung_mean", "lung_std", by, panel())  # type: ignore[arg-type]
    legend = axes.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == groups and sum(int(text.split("n = ")[1][:-1]) for text in texts) == 36


def test_pictures_and_their_data_are_written(tmp_path: Path) -> None:
    few = [name for name in NAMES if name not in ("lung_mean", "lung_std", "cardiothoracic_ratio")]
    table = markers(patients=4).assign(cardiothoracic_ratio=np.nan).drop(columns=few)
    written = draw_biomarkers(table, marker_tests(table, ["lung_mean", "lung_std"]), tmp_path)
    assert {path.stem for path in written} == {"lung_mean", "lung_std", "mean_against_std"}
    data = pd.read_csv(tmp_path / "lung_mean.csv")
    assert sorted(data["value"]) == pytest.approx(sorted(table["lung_mean"])) and set(data["marker"]) == {"lung_mean"}
    assert len(pd.read_csv(tmp_path / "mean_against_std.csv")) == 24
    assert np.asarray(Image.open(tmp_path / "lung_mean.png").convert("L")).std() > 5


def test_one_class_and_one_patient_can_be_drawn(tmp_path: Path) -> None:
    table = markers(patients=1).query("label == 'normal'")[
        ["patient_id", "label", "intra_patch_std", "inter_patch_std"]
    ]
    tests = marker_tests(table, ["intra_patch_std", "inter_patch_std"])
    assert len(draw_biomarkers(table, tests, tmp_path)) == 3


def test_caveats_name_what_the_table_shows() -> None:
    table = markers(patients=24)
    table.loc[table["source"] == "b", "lung_std"] += 50
    table.loc[table["label"] == "normal", "lung_mask_from"] = "lung_unet"
    table.loc[0, ["lung_verdict", "cardiothoracic_ratio"]] = ["poor", np.nan]
    lines = caveats(table, marker_tests(table, NAMES))
    assert lines[0].startswith("no source in common: covid19 and tuberculosis, normal and tuberculosis;")
    assert lines[1].startswith("sources differ within one class in lung_std:")
    assert lines[2].startswith("lung masks of different makers in different proportions")
    assert lines[3].startswith("1 of 72 lung masks are doubtful") and lines[4].startswith("1 of 72 films have no")
    assert len(lines) == 6


def test_nothing_to_say_against_it_leaves_the_one_about_equalisation() -> None:
    table = markers().query("label != 'tuberculosis'").assign(source="a")
    assert [line.split()[0] for line in caveats(table, marker_tests(table, NAMES))] == ["equalisation"]


def test_one_class_alone_has_no_patients_in_both() -> None:
    table = markers().query("label == 'normal'").assign(source="a")
    assert [line.split()[0] for line in caveats(table, marker_tests(table, NAMES))] == ["equalisation"]
    # With two makers' films one class is tested between them, and no pair of classes is there.
    table = markers(patients=24).query("label == 'normal'")
    assert not [line for line in caveats(table, marker_tests(table, NAMES)) if "stand in both" in line]


def test_patients_in_two_classes_are_told() -> None:
    table = markers()
    table.loc[12, "patient_id"] = "covid190"
    assert any(line.startswith("up to 1 patients stand in both") for line in caveats(table, marker_tests(table, NAMES)))


def summary_of(table: pd.DataFrame) -> tuple[dict, str]:
    tests = marker_tests(table, NAMES)
    document = marker_document(table, tests, marker_summary(table, NAMES, ("label", "source")))
    return document, summarise_markers(document)


def test_document_and_lines() -> None:
    table = markers().assign(lung_mean=[20.0, 40.0] * 18)
    document, text = summary_of(table)
    assert document["masks"]["lung"]["normal"] == {"manifest": 12}
    assert document["label_by_source"]["normal"] == {"a": 6, "b": 0, "c": 6, "d": 0}
    first = document["markers"]["lung_mean"]["by_class"][0]
    assert (first["label"], first["patients"], first["mean"], first["std"]) == (
        "covid19",
        12,
        30.0,
        pytest.approx(np.sqrt(1200 / 11)),
    )
    # By class and source: covid19 from a has the even rows, 20 each.
    line = next(line for line in text.splitlines() if line.startswith("covid19"))
    assert re.split(" {2,}", line.strip()) == ["covid19", "30.0 ± 10.4 (12)", "20.0 ± 0.0 (6)", "40.0 ± 0.0 (6)"]
    assert "pairs of classes, all films: 0 of 36 (each test for itself: " in text
    assert f"Cramer's V of label and source: {document['cramers_v']:.2f}" in text


def test_lines_of_a_set_without_sources_and_ratio() -> None:
    table = markers().drop(columns="source").assign(cardiothoracic_ratio=np.nan)
    document, text = summary_of(table)
    assert document["cramers_v"] is None and "label and source: not defined" in text
    assert "pairs of classes within one source: no pair" in text
    assert "cardiothoracic ratio (" not in text
    assert document["markers"]["cardiothoracic_ratio"]["by_class"][0]["mean"] is None
