"""Checklists: the right items, answered only by what the run knows."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.report.blocks import Checklist
from covidcxr_tf.report.checklist import CLAIM_TITLE, PERSON, TRIPOD_TITLE, answers, checklist_section
from covidcxr_tf.report.checklist_items import CLAIM, TRIPOD, Item
from covidcxr_tf.report.run_folder import RunFolder, read_run

BEGUN = 'name = "x"\nrecipe = "covid_cxnet"\narch = "base"\ntask = "classification"\nseed = 1\n[train]\nepochs = 2\n'


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    (tmp_path / "config.toml").write_text(BEGUN)
    return read_run(tmp_path)


def test_numbers_of_the_items() -> None:
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    assert len(TRIPOD) == 52 and len({item.number for item in TRIPOD}) == 52
    assert {int(item.number.rstrip("abcdefg")) for item in TRIPOD} == set(range(1, 28))


@pytest.mark.parametrize("items", [CLAIM, TRIPOD])
def test_each_item_asks_for_something(items: tuple[Item, ...]) -> None:
    assert all(item.asks and item.part for item in items)


def test_counts_add_up_and_a_run_that_has_only_begun_answers_little(begun: RunFolder) -> None:
    section = checklist_section(begun)
    lists = {block.caption: block for block in section.blocks if isinstance(block, Checklist)}
    assert set(lists) == {CLAIM_TITLE, TRIPOD_TITLE}
    for checklist in lists.values():
        states = [checklist.count(state) for state in ("filled", "partly", "person")]
        assert sum(states) == len(checklist.rows)
        for row in checklist.rows:
            assert (row.answer == PERSON) == (row.state == "person")
    known = answers(begun)
    assert "training" in known and "choice" in known
    assert not {"performance", "internal", "flow", "software", "robust", "failures"} & set(known)


def test_what_only_people_know_is_never_answered() -> None:
    people = {"2", "4", "5", "6", "8", "12", "13", "15", "16", "17", "18", "34", "44"}
    assert {item.number for item in CLAIM if not item.key} >= people
    assert all(not item.key for item in TRIPOD if item.number in {"18a", "18b", "18d", "19", "6b", "6c", "8b", "8c"})


def test_a_test_on_other_hospitals_is_told_from_one_on_the_same(tmp_path: Path) -> None:
    films = pd.DataFrame({"path": ["a", "b", "c", "d"], "patient_id": ["1", "2", "3", "4"]})
    films["label"], films["predicted"] = ["normal", "covid19"] * 2, "covid19"
    films = films.assign(source=["here", "here", "there", "there"], split=["train", "train", "test", "test"])
    films.to_csv(tmp_path / "split.csv", index=False)
    table = films.assign(prob_normal=0.4, prob_covid19=0.6)[films["split"] == "test"]
    table.to_csv(tmp_path / "predictions_test.csv", index=False)
    metrics = evaluate_table(table, resamples=5) | {"split": "test"}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    known = answers(read_run(tmp_path))
    assert "there" in known["external"].words and "internal" not in known
    films.assign(source="here").to_csv(tmp_path / "split.csv", index=False)
    table.assign(source="here").to_csv(tmp_path / "predictions_test.csv", index=False)
    known = answers(read_run(tmp_path))
    assert "here" in known["internal"].words and "external" not in known
