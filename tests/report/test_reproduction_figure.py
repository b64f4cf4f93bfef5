"""The picture of a reproduction: which numbers stand in which panel, at which place."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidcxr_tf.report import reproduction
from covidcxr_tf.report.reproduction import draw_agreement, draw_reproduction

ROWS = [
    ("a", "one", "accuracy", "%", 96.1, "96.1", 90.0, 99.0, 91.0, 80.0, 97.0),
    ("b", "one", "AUC", "1", 0.99, "0.99", None, None, 0.75, None, None),
    ("c", "two", "p", "1", 0.001, "< 0.001", None, None, 2e-9, None, None),
    ("d", "two", "sensitivity", "%", 88.0, "88", None, None, 70.0, 60.0, 80.0),
    ("e", "two", "specificity", "%", 98.0, "98", None, None, None, None, None),
    ("", "two", "AUC within", "1", None, "", None, None, 0.6, None, None),
]
COLUMNS = ("fact", "experiment", "what", "unit", "printed", "printed_text", "printed_ci95_low", "printed_ci95_high",
           "measured", "ci95_low", "ci95_high")  # fmt: skip


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=COLUMNS).assign(locator="Table 1", interval="")


def panels(monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame, path: Path) -> list[Axes]:
    kept: list[Figure] = []
    save = reproduction.save_figure

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return save(figure, path)

    monkeypatch.setattr(reproduction, "save_figure", keep)
    draw_reproduction(table, path, "title")
    return kept[0].axes


def test_one_panel_a_unit_and_bounds_apart(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = panels(monkeypatch, table, tmp_path / "a.png")
    assert [one.get_xlabel() for one in axes] == [
        "per cent",
        "share or pure number",
        "share or pure number, printed as a bound",
    ]
    assert [one.get_xscale() for one in axes] == ["linear", "linear", "log"]
    assert [len(one.get_yticks()) for one in axes] == [2, 1, 1]
    title = axes[0].figure.get_suptitle()  # type: ignore[union-attr]
    assert axes[2].get_yticklabels()[0].get_text() == "p < 0.001 [Table 1]"
    assert "4 of 5 printed numbers, 1 not run" in title
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(tmp_path / "a.csv")["fact"].tolist() == ["a", "d", "b", "c"]


def test_points_lie_at_their_values_from_top_to_bottom(table: pd.DataFrame) -> None:
    axes = draw_agreement(table[table["fact"].isin(["a", "d"])], Figure().subplots())
    drawn = {str(line.get_label()): line.get_xdata().tolist() for line in axes.lines}  # type: ignore[union-attr]
    assert drawn == {"printed": [96.1, 88.0], "measured": [91.0, 70.0]}
    assert axes.yaxis_inverted()
    assert axes.get_yticklabels()[0].get_text() == "accuracy [Table 1]"
    segments = [part for group in axes.collections for part in group.get_segments()]  # type: ignore[attr-defined]
    spans = {(float(part[0][0]), float(part[-1][0])) for part in segments if len(part)}
    assert {(90.0, 99.0), (80.0, 97.0), (60.0, 80.0)} <= spans


def test_nothing_measured_is_said(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (axes,) = panels(monkeypatch, table.assign(measured=float("nan")), tmp_path / "a.png")
    assert "nothing could be measured" in axes.texts[0].get_text()
    assert pd.read_csv(tmp_path / "a.csv").empty


def test_a_long_name_keeps_two_lines(table: pd.DataFrame) -> None:
    long = table.head(1).assign(what="word " * 60)
    text = draw_agreement(long, Figure().subplots()).get_yticklabels()[0].get_text()
    assert text.count("\n") == 1
    assert text.endswith("...")
