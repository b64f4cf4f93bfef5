"""The report as a reader meets it: its numbers, its honesty, what it must never give away."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import DataError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.report.blocks import Bars, Films, Picture, Table
from covidcxr_tf.report.card import build_card
from covidcxr_tf.report.document import build_report, render, write_report
from covidcxr_tf.report.run_folder import read_run
from covidcxr_tf.report.sections_failures import worst_errors
from covidcxr_tf.report.summary import format_metric

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
NAMED = PIXEL + b"names of hospitals"
CONFIG = """name = "covid_cxnet"
recipe = "covid_cxnet"
arch = "chexnet"
task = "classification"
compat = "paper"
seed = 7
[data]
manifest = "/home/somebody/secret/cxr.csv"
ratios = [0.6, 0.2, 0.2]
[image]
size = 96
channels = ["beasf", "clahe", "raw"]
lungs = "crop"
[model]
init = "/home/somebody/weights.h5"
[train]
epochs = 3
optimizer = "adam"
monitor = "val_loss"
[source]
"train.optimizer" = "Haghanifar 2020, section 5.1"
"""


class Page(HTMLParser):
    """What a browser would fetch, the visible words, headings, anchors, pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.alts: list[str | None] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        if tag == "a":
            self.anchors.add(str(found["href"]))
        else:
            self.fetched += [str(found[key]) for key in ("src", "href", "srcset", "data", "action") if key in found]
        if "id" in found:
            self.ids.append(str(found["id"]))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.alts.append(found.get("alt"))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def films(classes: tuple[str, ...] = ("normal", "covid19"), split: str = "test", seed: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    truth = np.arange(48) % len(classes)
    probs = generator.dirichlet(np.ones(len(classes)), 48)
    return pd.DataFrame(
        {
            "path": [f"films/{split}_patient_Jane_Doe_{number}.png" for number in range(48)],
            "patient_id": [f"{split}_p{number // 2}" for number in range(48)],
            "label": [classes[number] for number in truth],
            "predicted": [classes[number] for number in probs.argmax(axis=1)],
            "split": split,
            "source": ["Saint Elsewhere", "Saint Elsewhere", "Elsewhere"] * 16,
            **{f"prob_{name}": probs[:, column] for column, name in enumerate(classes)},
        }
    )


def make_run(folder: Path, classes: tuple[str, ...] = ("normal", "covid19"), figures: bool = True) -> dict[str, Any]:
    """Write a run folder and return its metrics."""
    (folder / "figures").mkdir(parents=True)
    table = films(classes)
    metrics = evaluate_table(table, resamples=30, seed=3) | {"split": "test"}
    metrics["validation"] = evaluate_table(films(classes, "validation", 2), resamples=30)
    facts: dict[str, Any] = {"name": "covid_cxnet", "arch": "chexnet", "task": "classification"}
    facts |= {"classes": list(classes)}
    facts |= {"positive": classes[-1], "compat": "paper", "sha256": "a" * 64, "split_digest": "b" * 64, "epoch": 2}
    (folder / "card.json").write_text(json.dumps(build_card(facts, metrics)))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.toml").write_text(CONFIG)
    environment: dict[str, Any] = {
        "schema_version": 1,
        "covidcxr_tf": "0.1.0",
        "python": "3.12.1",
        "packages": {"numpy": "2.4.6"},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    table.to_csv(folder / "predictions_test.csv", index=False)
    columns = ["path", "patient_id", "label", "source", "split"]
    whole = pd.concat([films(classes, split)[columns] for split in ("train", "validation", "test")])
    whole.to_csv(folder / "split.csv", index=False)
    history: dict[str, Any] = {
        "epoch": [1, 2, 3],
        "loss": [0.9, 0.7, 0.6],
        "val_loss": [0.8, 0.65, 0.75],
        "seconds": [4.0, 4, 4],
    }
    pd.DataFrame(history | {"learning_rate": [1e-3] * 3}).to_csv(folder / "history.csv", index=False)
    curves = ("roc", "precision_recall", "calibration", "decision", "roc_within_source")
    for name in ("history", *(f"{curve}_test" for curve in curves)) if figures else ():
        (folder / "figures" / f"{name}.png").write_bytes(NAMED if "source" in name else PIXEL)
    return metrics


def audit_document(sha256: str = "a" * 64) -> dict[str, Any]:
    limits = {"warn": 0.6, "fail": 0.7, "bad_is": "above", "reason": "Nothing of a lung is left."}
    hidden = {"name": "lungs_hidden", "quantity": "AUC", "value": 0.734, "ci95": [0.61, 0.82], "verdict": "fail"}
    hidden |= {"sentence": "In Saint Elsewhere 73 % of pairs are ranked rightly.", "limits": limits, "details": {}}
    none = {**hidden, "name": "cross_source", "value": None, "ci95": None, "verdict": "not applicable", "quantity": ""}
    verdicts = {"pass": 0, "warn": 0, "fail": 1, "not applicable": 1}
    return {
        "schema_version": 1,
        "model": {"name": "m", "arch": "chexnet", "sha256": sha256},
        "positive": "covid19",
        "films": 40,
        "patients": 20,
        "films_of_split": 48,
        "split": "test",
        "verdict": "fail",
        "verdicts": verdicts,
        "findings": [hidden, {**none, "sentence": "Not checked."}],
        "note": "for research",
    }


def text_of(metric: dict[str, Any], digits: int = 3) -> str:
    return format_metric(metric, digits)


def page_of(run: Path, **options: Any) -> tuple[str, Page]:
    text = render(build_report(read_run(run, **options)))
    return text, Page(text)


def test_the_numbers_on_the_page_are_those_of_the_run(tmp_path: Path) -> None:
    metrics = make_run(tmp_path / "run")
    path = write_report(tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    page = Page(path.read_text())
    shown = [metrics[name] for name in ("auroc", "auprc", "accuracy", "macro_f1", "ece", "brier")]
    shown += [metrics["per_class"]["covid19"][name] for name in ("sensitivity", "specificity", "f1")]
    shown += [metrics["within_source"][name] for name in ("Saint Elsewhere", "Elsewhere")]
    for metric in shown:
        assert text_of(metric) in page.text
    for row in metrics["confusion"]:
        for count in row:
            assert f" {count} " in page.text
    assert "48 test films of 24 patients" in page.text
    assert "epoch 2" in page.text and "Haghanifar 2020, section 5.1" in page.text


def test_areas_within_a_source_come_before_the_pooled_one(tmp_path: Path) -> None:
    make_run(tmp_path)
    report = build_report(read_run(tmp_path))
    assert report.tiles[0].label.startswith("AUC of covid19 within")
    assert report.tiles[1].label.endswith("sources pooled")
    assert report.sections[0].key == "results"
    bars = next(block for block in report.sections[0].blocks if isinstance(block, Bars))
    assert [row.label for row in bars.rows] == ["within Elsewhere", "within Saint Elsewhere", "all sources pooled"]


def test_an_audit_stands_beside_the_pooled_area(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit.json").write_text(json.dumps(audit_document()))
    _, page = page_of(tmp_path / "run", audit=tmp_path / "audit")
    assert "0.734 (0.610 to 0.820)" in page.text  # beside the areas
    assert "0.73 (0.61 to 0.82)" in page.text  # in its own chapter
    assert "warns from 0.6, fails from 0.7 on" in page.text.lower()
    assert "1 fail, 1 not applicable: 40 films of 20 patients, split test, drawn from 48" in page.text
    assert "another model file" not in page.text
    (tmp_path / "run" / "audit").mkdir()
    (tmp_path / "run" / "audit" / "audit.json").write_text(json.dumps(audit_document("c" * 64)))
    assert "This audit is of another model file" in page_of(tmp_path / "run")[1].text


def test_the_paper_beside_the_run(tmp_path: Path) -> None:
    metrics = make_run(tmp_path)
    _, page = page_of(tmp_path)
    accuracy = 100 * metrics["accuracy"]["value"]
    assert "99.03 %" not in page.text  # of another model of the paper
    printed = re.search(r"Table 6, row 4.*? (\d+\.\d+) %", page.text)
    assert printed is not None
    assert f"{accuracy - float(printed[1]):+.1f} %" in page.text
    assert "The data differ" in page.text


def test_the_page_fetches_nothing_and_is_well_formed(tmp_path: Path) -> None:
    make_run(tmp_path)
    text, page = page_of(tmp_path)
    assert all(address.startswith("data:") for address in page.fetched)
    assert not {"script", "link", "iframe", "object", "embed"} & page.tags
    assert not re.search(r"url\(|@import|https?://", text.partition("</style>")[0])
    assert {anchor[1:] for anchor in page.anchors} <= set(page.ids)
    assert all(anchor.startswith("#") for anchor in page.anchors)
    assert len(page.ids) == len(set(page.ids))
    assert page.headings.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(page.headings, page.headings[1:]))
    assert page.alts and all(page.alts)


def test_hostile_names_are_words_and_nothing_else(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    make_run(tmp_path / "run", ("normal", hostile))
    table = pd.read_csv(tmp_path / "run" / "predictions_test.csv")
    table["path"] = [f'"><img src=x onerror=alert({number})>.png' for number in range(len(table))]
    table.to_csv(tmp_path / "run" / "predictions_test.csv", index=False)
    text, page = page_of(tmp_path / "run")
    assert hostile not in text and html.escape(hostile) in text
    assert "<img src=x" not in text and "onerror=alert(" in page.text
    assert all(address.startswith("data:") for address in page.fetched)


def test_without_names_nothing_planted_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidcxr_tf.report.pictures.draw_evaluation", lambda *words, **more: [])
    folder = tmp_path / "Dr_Strange_run"
    make_run(folder)
    (folder / "audit").mkdir()
    (folder / "audit" / "audit.json").write_text(json.dumps(audit_document()))
    named, _ = page_of(folder)
    picture = Picture(NAMED, "").uri  # a picture can name hospitals too
    for planted in ("Jane_Doe", "Elsewhere", "somebody", picture):
        assert planted in named
    text, page = page_of(folder, anonymous=True)
    for planted in ("Jane_Doe", "Elsewhere", "somebody", "Dr_Strange", "films/test", "_p1", str(tmp_path), picture):
        assert planted not in text, planted
    assert "source A" in page.text and "source B" in page.text
    assert page_of(folder, anonymous=True)[0] == text
    sections = build_report(read_run(folder, anonymous=True)).sections
    (films_shown,) = (block for section in sections for block in section.blocks if isinstance(block, Films))
    names = [film.name for film in films_shown.rows]
    assert all(re.fullmatch("f[0-9a-f]{20}", name) for name in names) and len(set(names)) == len(names)


def test_hashes_of_films_cannot_be_made_from_the_path_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    make_run(tmp_path / "two")
    table = pd.read_csv(tmp_path / "two" / "predictions_test.csv")
    table[["prob_normal", "prob_covid19"]] = table[["prob_normal", "prob_covid19"]].round(6)
    table.to_csv(tmp_path / "two" / "predictions_test.csv", index=False)
    first, second = (read_run(tmp_path / name, anonymous=True).names.film("a.png") for name in ("one", "two"))
    assert first != second


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    make_run(tmp_path)
    for name in ("predictions_test.csv", "history.csv", "environment.json"):
        (tmp_path / name).unlink()
    report = build_report(read_run(tmp_path))
    said = {one.what: one.command for one in report.missing}
    assert any("No predictions of the test films" in what and "covidcxr evaluate" in said[what] for what in said)
    assert any("No audit" in what and "covidcxr audit" in said[what] for what in said)
    assert any("history.csv" in what for what in said) and any("environment.json" in what for what in said)
    assert "What is missing" in Page(render(report)).text


def test_validation_figures_are_not_passed_off_as_test_figures(tmp_path: Path) -> None:
    metrics = make_run(tmp_path)
    only = metrics["validation"] | {"split": "validation"}
    (tmp_path / "metrics.json").write_text(json.dumps(only))
    (tmp_path / "predictions_test.csv").unlink()
    report = build_report(read_run(tmp_path))
    assert report.tiles[-1].label == "Validation films"
    assert any("No test predictions" in one.what for one in report.missing)
    assert text_of(metrics["auroc"]) not in Page(render(report)).text


def test_figures_of_an_evaluation_in_the_run_are_found(tmp_path: Path) -> None:
    metrics = make_run(tmp_path)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "predictions_test.csv").rename(tmp_path / "evaluation" / "predictions.csv")
    _, page = page_of(tmp_path)
    assert text_of(metrics["auroc"]) in page.text and "from evaluation/metrics.json" in page.text


def test_the_worst_errors_are_the_most_confident_ones(tmp_path: Path) -> None:
    make_run(tmp_path)
    table = pd.read_csv(tmp_path / "predictions_test.csv")
    wrong = table[table["predicted"] != table["label"]]
    best = wrong[["prob_normal", "prob_covid19"]].max(axis=1).sort_values(ascending=False)
    run = read_run(tmp_path)
    found = worst_errors(run, 3)
    assert [one["confidence"] for one in found] == pytest.approx(best.iloc[:3].tolist())
    assert [one["path"] for one in found] == table.loc[best.index[:3], "path"].tolist()
    assert len(worst_errors(run, 1000)) == len(wrong)


def test_pictures_of_films_stand_in_the_page_only_when_given(tmp_path: Path) -> None:
    make_run(tmp_path)
    worst = worst_errors(read_run(tmp_path), 1)[0]["path"]
    bare = write_report(tmp_path, tmp_path / "bare.html").read_text()
    assert "image/jpeg" not in bare
    picture = Picture(b"film", "A film.", mime="image/jpeg")
    full = write_report(tmp_path, tmp_path / "full.html", pictures={worst: picture}).read_text()
    assert full.count(picture.uri) == 1


@pytest.mark.parametrize("damaged", ["metrics.json", "card.json", "config.toml", "environment.json"])
def test_a_damaged_file_is_named(tmp_path: Path, damaged: str) -> None:
    make_run(tmp_path, figures=False)
    (tmp_path / damaged).write_text("{ not whole")
    with pytest.raises(DataError, match=re.escape(damaged)):
        read_run(tmp_path)


def test_no_folder_no_run_no_audit(tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataError):
            read_run(folder)
    make_run(tmp_path / "run")
    with pytest.raises(DataError, match="no audit"):
        read_run(tmp_path / "run", audit=tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(DataError, match="is no audit"):
        read_run(tmp_path / "run", audit=tmp_path / "audit.json")


def test_folds_stand_in_one_page(tmp_path: Path) -> None:
    make_run(tmp_path)
    parts = [make_run(tmp_path / f"fold_{number}") for number in (1, 2)]
    (tmp_path / "fold_3").mkdir()
    (tmp_path / "fold_3" / "config.toml").write_text(CONFIG)
    report = build_report(read_run(tmp_path))
    section = next(section for section in report.sections if section.key == "parts")
    assert section.title == "Folds"
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["fold 1", "fold 2"]
    assert text_of(parts[0]["auroc"]) in table.rows[0]
    assert any("fold 3 has no figures" in one.what for one in report.missing)


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    report = build_report(read_run(tmp_path))
    assert report.tiles[0].value == "none"
    assert any("has not been judged" in one.what for one in report.missing)
    assert "Not for diagnosis" in Page(render(report)).text


def test_the_report_room_loads_no_tensorflow() -> None:
    script = "import sys, covidcxr_tf.report.document; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
