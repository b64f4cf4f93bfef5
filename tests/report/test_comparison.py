from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.evaluate.comparison import compare_tables
from covidcxr_tf.evaluate.folds import evaluate_folds
from covidcxr_tf.evaluate.roc import Curve, roc_points
from covidcxr_tf.report import figures
from covidcxr_tf.report.comparison import (
    draw_fold_curves,
    draw_folds,
    draw_intervals,
    draw_p_values,
    sensitivity_at,
    write_comparison,
)
from covidcxr_tf.report.comparison_summary import comparison_notes, p_text, summarise_comparison


def predictions(seed: int, strength: float, films_each: int = 2, fold: int = 0) -> pd.DataFrame:
    truth = np.arange(60) % 3 == 0
    score = 1 / (1 + np.exp(-(strength * truth + np.random.default_rng(seed).normal(size=60))))
    return pd.DataFrame(
        {
            "path": [f"{fold}_{k}.png" for k in range(60)],
            "patient_id": [f"{fold}_p{k // films_each}" for k in range(60)],
            "label": np.where(truth, "covid19", "normal"),
            "prob_normal": 1 - score,
            "prob_covid19": score,
        }
    )


def tables(films_each: int = 2) -> dict[str, pd.DataFrame]:
    perfect = predictions(0, 0, films_each)
    perfect["prob_covid19"] = np.where(perfect["label"] == "covid19", 0.9, 0.1)
    perfect["prob_normal"] = 1 - perfect["prob_covid19"]
    return {"strong": predictions(1, 2.5, films_each), "weak": predictions(2, 0.3, films_each), "perfect": perfect}


def texts_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_everything_is_written_with_its_data(tmp_path: Path) -> None:
    document = compare_tables(tables())
    written = write_comparison(tables(), document, tmp_path)
    assert {path.name for path in written} == {"roc_models.png", "intervals.png", "p_values.png"}
    assert json.loads((tmp_path / "comparison.json").read_text()) == document
    models = pd.read_csv(tmp_path / "comparison.csv")
    assert models["model"].tolist() == ["strong", "weak", "perfect"]
    assert models["auroc"].tolist() == pytest.approx([model["auroc"] for model in document["models"]])
    assert pd.read_csv(tmp_path / "pairs.csv")["p_by_patient"].tolist() == pytest.approx(
        [pair["by_patient"]["p"] for pair in document["pairs"]]
    )
    roc = pd.read_csv(tmp_path / "figures" / "roc_models.csv")
    for name, table in tables().items():
        curve = roc[roc["curve"] == name]
        expected = roc_points(table["prob_covid19"].to_numpy(), (table["label"] == "covid19").to_numpy())
        assert expected is not None
        np.testing.assert_allclose(curve["sensitivity"], expected.vertical)
        np.testing.assert_allclose(curve["one_minus_specificity"], expected.horizontal)


def test_p_values_stand_below_the_diagonal_and_bold_below_5_percent() -> None:
    document = compare_tables(tables())
    _, (axes,) = figures.new_figure()
    draw_p_values(document, axes, "bonferroni")
    places = {text.get_position(): text for text in axes.texts}
    assert set(places) == {(0, 1), (0, 2), (1, 2)}
    for pair, place in zip(document["pairs"], ((0, 1), (0, 2), (1, 2)), strict=True):
        value = pair["by_patient"]["bonferroni"]
        assert places[place].get_text() == p_text(value)
        assert (places[place].get_fontweight() == "bold") == (value < 0.05)
    assert {text.get_fontweight() for text in axes.texts} == {"bold", "normal"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["weak", "perfect"]


def test_an_undefined_p_value_is_a_dash() -> None:
    same = {"one": predictions(1, 1), "other": predictions(1, 1)}
    document = compare_tables(same)
    _, (axes,) = figures.new_figure()
    draw_p_values(document, axes)
    assert texts_of(axes) == ["-"]
    assert any("one - other has no p-value: both models place" in note for note in comparison_notes(document))


def test_intervals_are_drawn_as_computed_and_dotted_where_exact() -> None:
    document = compare_tables(tables())
    _, (axes,) = figures.new_figure()
    draw_intervals(document, axes)
    drawn = {tuple(np.asarray(line.get_xdata(), float)): line.get_linestyle() for line in axes.lines}
    for model in document["models"]:
        for basis in ("by_patient", "by_film"):
            bounds = model[basis]["ci95"] or model[basis]["exact"]
            assert drawn[tuple(bounds)] == ("-" if model[basis]["ci95"] else ":")
    assert "dotted" in axes.get_xlabel()
    two = compare_tables({name: tables()[name] for name in ("strong", "weak")})
    _, (axes,) = figures.new_figure()
    draw_intervals(two, axes)
    assert axes.get_xlabel() == "area under the ROC curve, 95 % interval"


def test_the_summary_shows_both_intervals_and_what_they_take_for_granted() -> None:
    document = compare_tables(tables())
    text = summarise_comparison(document)
    strong = document["models"][0]
    for basis in ("by_patient", "by_film"):
        low, high = strong[basis]["ci95"]
        assert f"{strong['auroc']:.3f} ({low:.3f} to {high:.3f})" in text
    assert "covid19: 20 films against 40, 30 patients" in text
    assert "3 comparisons" in text and "films of one patient are not" in text
    assert "perfect has no interval: every pair of films is in the right order" in text
    assert "Clopper-Pearson over 15 pairs of films that share no patient" in text
    single = summarise_comparison(compare_tables(tables(films_each=1)))
    assert "every patient has one film" in single and "films of one patient are not" not in single


def test_films_left_out_are_told() -> None:
    shorter = tables() | {"weak": tables()["weak"].iloc[:50]}
    assert "left out, as not in all tables: 10 of strong, 10 of perfect" in summarise_comparison(
        compare_tables(shorter, common=True)
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (1.0, "1.000"), (0.0499, "0.050"), (0.00049, "5e-4"), (2.3e-12, "2e-12"), (0.0, "<1e-99")],
)
def test_p_values_as_text(value: float | None, text: str) -> None:
    assert p_text(value) == text


def folds(classes: int = 2) -> dict[str, pd.DataFrame]:
    found = {f"fold_{k}": predictions(k, 1.5, fold=k) for k in (1, 2, 3)}
    if classes == 3:
        for table in found.values():
            table["prob_viral"] = table["prob_normal"] / 2
            table["prob_normal"] /= 2
            table.loc[table.index % 3 == 1, "label"] = "viral"
    return found


def test_fold_curves_mean_and_pooled() -> None:
    metrics = evaluate_folds(folds(), resamples=20)
    _, (axes,) = figures.new_figure()
    draw_fold_curves(folds(), metrics, "covid19", axes)
    legend = legend_of(axes)
    spread = metrics["folds"]["mean_sd"]["auroc"]
    assert legend[:3] == [f"fold {k}  {spread['values'][f'fold_{k}']:.3f}" for k in (1, 2, 3)]
    assert legend[3] == f"mean  {spread['mean']:.3f} ± {spread['sd']:.3f} (sd)"
    assert legend[4].startswith(f"pooled  {metrics['auroc']['value']:.3f} (")
    assert axes.get_title() == "covid19: 60 films against 120"


@pytest.mark.parametrize("classes", [2, 3])
def test_the_folds_picture_has_a_panel_a_class_and_its_data(tmp_path: Path, classes: int) -> None:
    metrics = evaluate_folds(folds(classes), "covid19", resamples=20)
    written = draw_folds(folds(classes), metrics, "covid19", tmp_path)
    assert written[0] == tmp_path / "roc_folds.png"
    assert {"confusion_test.png", "roc_test.png", "calibration_test.png"} < {path.name for path in written}
    data = pd.read_csv(tmp_path / "roc_folds.csv")
    assert set(data["curve"]) == {"fold_1", "fold_2", "fold_3", "mean of folds", "pooled"}
    pooled = data[data["curve"] == "pooled"]
    if classes == 2:
        area = np.trapezoid(pooled["sensitivity"], pooled["one_minus_specificity"])
        assert area == pytest.approx(metrics["auroc"]["value"])


def test_a_fold_without_the_class_is_told_and_left_out() -> None:
    some = folds(3)
    some["fold_2"] = some["fold_2"][some["fold_2"]["label"] != "viral"]
    metrics = evaluate_folds(some, "covid19", resamples=10)
    _, (axes,) = figures.new_figure()
    draw_fold_curves(some, metrics, "viral", axes)
    assert "fold 2  undefined" in legend_of(axes)
    assert any(text.startswith("mean  undefined") for text in legend_of(axes))


def test_sensitivity_at_a_specificity_worked_by_hand() -> None:
    curve = Curve(np.array([0.0, 0.0, 0.5, 0.5, 1.0]), np.array([0.0, 0.4, 0.4, 0.8, 1.0]), np.zeros(5), 5, 2)
    np.testing.assert_allclose(sensitivity_at(curve, np.array([0.0, 0.25, 0.5, 0.75, 1.0])), [0.4, 0.4, 0.8, 0.9, 1.0])
