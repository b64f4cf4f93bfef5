from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from covidcxr_tf.catalog import PAPERS
from covidcxr_tf.papers.facts import load_paper


def test_the_list_has_every_paper_with_its_number_of_facts(covidcxr: Callable) -> None:
    done = covidcxr("papers")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == list(PAPERS)
    for line in lines:
        paper = load_paper(line.split()[0])
        assert f"{len(paper.facts)} facts" in line
        assert paper.title in line


def test_the_list_as_json(covidcxr: Callable) -> None:
    rows = json.loads(covidcxr("papers", "--json").out)
    assert [row["key"] for row in rows] == list(PAPERS)
    assert [row["facts"] for row in rows] == [len(load_paper(key).facts) for key in PAPERS]
    assert rows[1]["doi"] == "10.1117/1.JMI.8.S1.014001"


@pytest.mark.parametrize("key", PAPERS)
def test_a_paper_shows_each_fact_and_each_note(key: str, covidcxr: Callable) -> None:
    done = covidcxr("papers", key)
    assert done.code == 0
    paper = load_paper(key)
    lines = done.out.splitlines()
    assert lines[0] == paper.title
    for fact in paper.facts:
        place = fact.locator.partition(", ")
        shown = [line for line in lines if line.endswith(f"  {fact.what}") and fact.printed in line]
        assert any(place[2] in line for line in shown), fact.id
        assert place[0] in lines, fact.id
    joined = " ".join(done.out.split())
    for note in paper.notes:
        assert " ".join(note.text.split()) in joined


def test_intervals_signs_units_and_films_stand_beside_the_number(covidcxr: Callable) -> None:
    lines = covidcxr("papers", "covid_cxnet").out.splitlines()
    (row,) = [line for line in lines if line.endswith("hierarchical three-class COVID-CXNet (lungs cut out): accuracy")]
    assert "87.21 % [86.03 to 89.12, range of ten runs] (n 1540)" in row
    assert row.startswith("  row 6, columns Accuracy Score and Confidence Intervals  ")
    assert any("≈ 7000000 parameters" in line for line in lines)
    (row,) = [line for line in lines if line.endswith("base model v2: area under the ROC curve")]
    assert row.startswith("  0.9984 (n 683)  ")


def test_a_paper_as_json_carries_everything(covidcxr: Callable) -> None:
    shown = json.loads(covidcxr("papers", "densenet121_phased", "--json").out)
    paper = load_paper("densenet121_phased")
    assert len(shown["facts"]) == len(paper.facts)
    assert len(shown["notes"]) == len(paper.notes)
    (fact,) = [one for one in shown["facts"] if one["id"] == "table3.path_b.auroc"]
    assert (fact["value"], fact["printed"], fact["ci95"], fact["n"]) == (0.857, "0.857", [0.794, 0.92], 218)


def test_an_unknown_paper_ends_with_2(covidcxr: Callable) -> None:
    done = covidcxr("papers", "vgg16")
    assert done.code == 2
    assert "'vgg16' is not among the papers" in done.err
    assert "vgg16_pcxr" in done.err
    assert done.out == ""


def test_the_command_needs_no_heavy_library() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom covidcxr_tf.cli.papers import command\n"
        "assert CliRunner().invoke(command, ['resnet101_1500']).exit_code == 0\n"
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'pandas', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
