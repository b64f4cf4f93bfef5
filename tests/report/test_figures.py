from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from covidcxr_tf.evaluate.calibration import reliability
from covidcxr_tf.evaluate.roc import precision_recall_points, roc_band, roc_points
from covidcxr_tf.report import figures

SCORES = np.array([0.9, 0.8, 0.4, 0.3, 0.6, 0.1])
SICK = np.array([1, 1, 1, 0, 0, 0], bool)
AREA = {"value": 0.889, "ci95": [0.7, 1.0]}


def legend_of(axes: figures.Axes) -> str:
    legend = axes.get_legend()
    return "" if legend is None else "\n".join(text.get_text() for text in legend.get_texts())


def points(line: Any) -> np.ndarray:
    """The points of a line, [N, 2]."""
    return np.asarray(line.get_xydata(), float)


def test_confusion_shows_counts_and_shares() -> None:
    _, (axes,) = figures.new_figure()
    assert figures.draw_confusion(np.array([[3, 1], [0, 0]]), ["normal", "viral_or_covid19"], axes) is axes
    assert [text.get_text() for text in axes.texts] == ["3\n75%", "1\n25%", "0", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["normal\n(n = 4)", "viral or\ncovid19\n(n = 0)"]
    # rows are the truth: drawn top to bottom
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 0]]


def test_roc_draws_the_points_with_area_and_n() -> None:
    _, (axes,) = figures.new_figure()
    curve, band = roc_points(SCORES, SICK), roc_band(SCORES, SICK, np.arange(6), 50)
    figures.draw_roc(curve, axes, "ours", AREA, band)
    assert curve is not None
    assert any(np.array_equal(points(line)[:, 1], curve.vertical) for line in axes.lines)
    assert legend_of(axes) == "ours\nAUC 0.889 (0.700 to 1.000)\nn = 3 against 3"
    assert len(axes.collections) == 1
    lines = len(axes.lines)
    figures.draw_roc(curve, axes, "theirs", AREA, line_colour=figures.colour(1))
    assert len(axes.lines) == lines + 1  # the line of chance is drawn once


def test_an_undefined_curve_says_why() -> None:
    why = {"value": None, "ci95": None, "why": "every film is covid19"}
    for draw in (figures.draw_roc, figures.draw_precision_recall):
        _, (axes,) = figures.new_figure()
        draw(None, axes, "covid19", why)
        assert "undefined: every film is covid19" in legend_of(axes)


def test_precision_recall_shows_the_share_of_positives() -> None:
    _, (axes,) = figures.new_figure()
    figures.draw_precision_recall(precision_recall_points(SCORES, SICK), axes, area=AREA)
    assert any(set(points(line)[:, 1]) == {0.5} for line in axes.lines)
    assert "average precision 0.889" in legend_of(axes)


def test_reliability_draws_its_bins() -> None:
    predicted = np.repeat([0.2, 0.9], 10)
    bins = reliability(predicted, np.arange(20) % 2 == 0)
    _, (axes,) = figures.new_figure()
    figures.draw_reliability(bins, axes, "top label", AREA)
    assert any(np.allclose(points(line), [[0.2, 0.5], [0.9, 0.5]]) for line in axes.lines)
    assert "n = 20 in 2 bins" in legend_of(axes)


@pytest.mark.parametrize("above", [True, False])
def test_the_legend_of_a_reliability_diagram_hides_no_bin(above: bool) -> None:
    """Of a model that is too unsure, or too sure: bins in one corner or the other."""
    stated = np.linspace(0.02, 0.6, 60) if above else np.linspace(0.4, 0.98, 60)
    came = np.random.default_rng(0).random(60) < (0.95 if above else 0.05)
    figure, (axes,) = figures.new_figure()
    figures.draw_reliability(reliability(stated, came, 6), axes, "probability of the most probable class", AREA)
    figure.canvas.draw()
    legend = axes.get_legend()
    assert legend is not None
    ground = legend.get_window_extent()
    bins = axes.transData.transform(points(axes.lines[1]))
    assert len(bins) == 6 and not any(ground.contains(*place) for place in bins)


def test_overlap_pictures() -> None:
    dice = np.array([0.5, 0.91, 0.95, 1.0])
    _, (left, right) = figures.new_figure(1, 2)
    figures.draw_overlap_histogram(dice, left, "Dice", AREA | {"p05": 0.56})
    bars: list[Any] = list(left.patches)
    assert sum(bar.get_height() for bar in bars) == 4  # none falls outside, 1.0 neither
    assert "5th percentile 0.560\nn = 4" in legend_of(left)
    figures.draw_overlap_boxes({"a": dice, "b": dice[:2]}, right)
    assert [label.get_text() for label in right.get_xticklabels()] == ["a\nn = 4", "b\nn = 2"]


def history(epochs: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "loss": np.linspace(1, 0.5, epochs),
            "val_loss": [1.0, 0.4, *[0.6] * (epochs - 2)][:epochs],
            "val_auroc": np.linspace(0.5, 0.9, epochs),
            "learning_rate": 1e-3,
            "seconds": 9.0,
            "films_per_second": 50.0,
        }
    )


@pytest.mark.parametrize("epochs", [1, 5, 40])
def test_history_has_four_panels_with_their_columns(epochs: int, tmp_path: Path) -> None:
    figure = figures.plot_history(history(epochs), Figure())
    loss, score, rate, time = figure.axes
    assert legend_of(loss) == "loss\nval_loss"
    assert legend_of(score) == "val_auroc"
    assert rate.get_yscale() == "log"
    assert time.get_ylabel() == "seconds an epoch"
    # the dot marks the epoch with the least validation loss
    assert points(loss.lines[-1])[0, 0] == (2 if epochs > 1 else 1)
    path = figures.save_figure(figure, tmp_path / "history.png")
    pd.testing.assert_frame_equal(pd.read_csv(path.with_suffix(".csv")), history(epochs), check_dtype=False)


def test_history_without_validation_or_scores_still_draws() -> None:
    lean = history(3)[["epoch", "loss", "learning_rate"]].assign(val_loss=np.nan)
    figure = figures.plot_history(lean, Figure())
    assert [len(axes.lines) for axes in figure.axes] == [2, 0, 1, 0]


def test_saved_picture_has_its_data_beside_it_and_is_the_same_twice(tmp_path: Path) -> None:
    def save(name: str) -> Path:
        figure, (axes,) = figures.new_figure()
        figures.draw_roc(roc_points(SCORES, SICK), axes, "ours", AREA)
        return figures.save_figure(figure, tmp_path / "deep" / name)

    first, second = save("a.png"), save("b.png")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.format == "PNG"
    data = pd.read_csv(tmp_path / "deep" / "a.csv")
    curve = roc_points(SCORES, SICK)
    assert curve is not None
    assert data["sensitivity"].tolist() == curve.vertical.tolist()
    assert sorted(path.name for path in first.parent.iterdir()) == ["a.csv", "a.png", "b.csv", "b.png"]


def test_a_plain_line_is_saved_by_its_points(tmp_path: Path) -> None:
    figure, (axes,) = figures.new_figure()
    axes.plot([1, 2], [3, 4], label="rate")
    figures.save_figure(figure, tmp_path / "p.png")
    data = pd.read_csv(tmp_path / "p.csv")
    assert data.to_dict("list") == {"line": ["rate"] * 2, "horizontal": [1, 2], "vertical": [3, 4]}


def test_colours_are_told_apart_without_red_and_green() -> None:
    # Deuteranopia after Vienot, Brettel and Mollon 1999: linear RGB to LMS, M from L and S, back
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in figures.COLOURS]) ** 2.2
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    seen = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    simulated = np.clip(rgb @ (np.linalg.inv(to_lms) @ seen @ to_lms).T, 0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(simulated[:, None] - simulated[None], axis=-1) + np.eye(len(rgb))
    assert distances.min() > 0.12
    assert figures.colour(0) == figures.colour(len(figures.COLOURS))


def test_pyplot_and_tensorflow_stay_out() -> None:
    script = (
        "import sys, covidcxr_tf.evaluate\n"
        "assert not {'matplotlib', 'tensorflow', 'keras'} & set(sys.modules)\n"
        "import covidcxr_tf.report.evaluation, covidcxr_tf.report.card\n"
        "assert not {'matplotlib.pyplot', 'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
