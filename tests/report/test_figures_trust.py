from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from covidcxr_tf.evaluate.calibration import bin_intervals, calibration_line, reliability
from covidcxr_tf.evaluate.decision import decision_curve
from covidcxr_tf.evaluate.subgroups import subgroup_rows
from covidcxr_tf.report import figures, figures_trust

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.random(120)
SICK = GENERATOR.random(120) < SCORES
PATIENTS = np.array([f"p{i // 2}" for i in range(120)], object)


def rows() -> list[dict[str, object]]:
    table = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(120)],
            "patient_id": PATIENTS,
            "label": np.where(SICK, "covid19", "normal"),
            "sex": np.repeat(["F", "M"], 60),
            "view": np.repeat(["PA", "AP"], [110, 10]),
            "prob_normal": 1 - SCORES,
            "prob_covid19": SCORES,
        }
    )
    table.loc[table["view"] == "AP", "label"] = "covid19"
    return subgroup_rows(table)


def legend_of(axes: Axes) -> str:
    legend = axes.get_legend()
    assert legend is not None
    return "\n".join([legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())])


def test_calibration_has_intervals_and_a_histogram_of_every_film(tmp_path: Path) -> None:
    bins = reliability(SCORES, SICK)
    reach, line = bin_intervals(bins, SICK, PATIENTS), calibration_line(SCORES, SICK, PATIENTS)
    figure, (axes,) = figures.new_figure()
    figures_trust.draw_calibration(bins, SCORES, SICK, axes, "positive class", None, reach, line)
    assert f"slope {line['slope']['value']:.2f} (" in legend_of(axes)
    (below,) = axes.child_axes
    assert sum(abs(bar.get_height()) for bar in below.patches) == 120  # type: ignore[attr-defined]
    data = pd.read_csv(figures.save_figure(figure, tmp_path / "c.png").with_suffix(".csv"))
    assert data.loc[data["curve"] == "came true", "films"].sum() == SICK.sum()
    assert data.loc[data["curve"].str.startswith("95 %"), "lower"].to_numpy() == pytest.approx(reach[:, 0])


@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_decision_curve_stands_beside_all_and_none(prevalence: float | None, tmp_path: Path) -> None:
    curve = decision_curve(SCORES, SICK, PATIENTS, prevalence, 50)
    assert curve is not None
    figure, (axes,) = figures.new_figure()
    figures_trust.draw_decision(curve, axes, "covid19")
    text = legend_of(axes)
    assert all(words in text for words in ("act on none", "act on all", "act on the model, covid19"))
    assert ("stated" in text) == (prevalence is not None)
    assert axes.get_ylim()[1] > curve.prevalence
    data = pd.read_csv(figures.save_figure(figure, tmp_path / "d.png").with_suffix(".csv"))
    assert data["model"].to_numpy() == pytest.approx(curve.model)
    assert list(data) == ["act_from", "model", "act_on_all", "lower", "upper"]


@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_the_band_of_a_decision_curve_is_drawn_whole_or_said_to_be_cut(prevalence: float | None) -> None:
    sick = np.arange(60) % 2 == 0
    scores = np.clip(np.random.default_rng(2).normal(0.5 + 0.05 * sick, 0.25), 0, 1)  # hardly better than chance
    curve = decision_curve(scores, sick, np.arange(60), prevalence, 200)
    assert curve is not None and curve.lower is not None and curve.upper is not None
    _, (axes,) = figures.new_figure()
    figures_trust.draw_decision(curve, axes, "covid19")
    bottom, top = axes.get_ylim()
    assert top > curve.upper.max()
    title = axes.get_legend().get_title().get_text()
    assert ("not drawn" in title) == bool(curve.lower.min() < bottom)
    assert bottom >= -curve.prevalence


def test_forest_has_a_line_a_group_marks_small_ones_and_names_undefined_ones(tmp_path: Path) -> None:
    found = rows()
    figure, (axes,) = figures.new_figure()
    figures_trust.draw_forest(found, axes)
    words = [label.get_text() for label in axes.get_yticklabels()]
    assert [word.split("   ")[0] for word in words] == ["all films", "F", "M", "AP", "PA"]
    assert words[0].endswith(f"n = {found[0]['positives']} + {found[0]['negatives']}")
    shown = [text.get_text() for text in axes.texts]
    assert shown.count("undefined") == 1  # of AP every film is covid19
    assert {"sex", "view"} <= set(shown)
    places = axes.get_yticks()
    assert len(set(places)) == 5 and list(places) == sorted(places)
    data = pd.read_csv(figures.save_figure(figure, tmp_path / "f.png").with_suffix(".csv"))
    assert data["group"].tolist() == ["all films", "F", "M", "AP", "PA"]
    assert data["value"].isna().tolist() == [False, False, False, True, False]


def test_subgroups_have_three_panels_and_all_their_data(tmp_path: Path) -> None:
    figure = figures_trust.plot_subgroups(rows(), "covid19 against the rest")
    assert [axes.get_xlabel().split(",")[0] for axes in figure.axes] == ["AUC", "sensitivity", "specificity"]
    assert [any(label.get_text() for label in axes.get_yticklabels()) for axes in figure.axes] == [True, False, False]
    data = pd.read_csv(figures.save_figure(figure, tmp_path / "s.png").with_suffix(".csv"))
    assert len(data) == 15
