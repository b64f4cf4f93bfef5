from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from covidcxr_tf.data.schema import FINDINGS
from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.multilabel import evaluate_findings, finding_against_rest, presence
from covidcxr_tf.evaluate.table import holds_findings, read_predictions, write_predictions
from covidcxr_tf.files import plain

NAMES = ("Edema", "Mass", "Hernia")


def table(count: int = 80, seed: int = 0, names: tuple[str, ...] = NAMES) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    present = generator.random((count, len(names))) < 0.3
    present[:, -1] = False  # nobody has the last one
    chances = 1 / (1 + np.exp(-(1.5 * present + generator.normal(size=present.shape))))
    words = ["|".join(np.array(names)[row]) or "No Finding" for row in present]
    return pd.DataFrame(
        {
            "path": [f"{k}.png" for k in range(count)],
            "patient_id": [f"p{k // 2}" for k in range(count)],
            "label": "other",
            "predicted": "No Finding",
            "split": "test",
            "source": np.where(np.arange(count) < count // 2, "nih", "rsna"),
            "findings": words,
            **{f"prob_{name}": chances[:, k] for k, name in enumerate(names)},
        }
    )


def test_each_finding_is_ranked_against_its_absence() -> None:
    films = table()
    found = evaluate_findings(films, resamples=100)
    for name in NAMES[:2]:
        truth = films["findings"].str.contains(name)
        metric = found["per_class"][name]
        assert metric["auroc"]["value"] == pytest.approx(roc_auc_score(truth, films[f"prob_{name}"]))
        assert metric["auprc"]["value"] == pytest.approx(average_precision_score(truth, films[f"prob_{name}"]))
        low, high = metric["auroc"]["ci95"]
        assert low < metric["auroc"]["value"] < high
        assert (metric["support"], metric["rest"]) == (truth.sum(), 80 - truth.sum())
    assert (found["n"], found["patients"], found["unknown"], found["task"]) == (80, 40, 0, "multilabel")
    assert found["splits"] == ["test"]
    json.dumps(plain(found), allow_nan=False)


def test_an_absent_finding_is_null_says_why_and_leaves_the_mean() -> None:
    found = evaluate_findings(table(), resamples=20)
    assert found["per_class"]["Hernia"]["auroc"] == {"value": None, "ci95": None, "why": "no film has Hernia"}
    others = [found["per_class"][name]["auroc"]["value"] for name in NAMES[:2]]
    assert found["auroc"]["value"] == pytest.approx(np.mean(others))
    assert (found["auroc"]["over"], found["auroc"]["left_out"]) == (["Edema", "Mass"], ["Hernia"])
    everywhere = table().assign(findings="Edema|Hernia")
    none = evaluate_findings(everywhere, resamples=20)
    assert none["per_class"]["Edema"]["auroc"]["why"] == "every film has Edema"
    assert none["auroc"]["value"] is None and "absent in others" in none["auroc"]["why"]


def test_unknown_is_not_none() -> None:
    films = table()
    unknown = films.assign(findings=films["findings"].where(films.index >= 10, ""))
    found = evaluate_findings(unknown, resamples=20)
    assert (found["n"], found["unknown"]) == (70, 10)
    assert found["per_class"] == evaluate_findings(films.iloc[10:], resamples=20)["per_class"]
    free = films.assign(findings=films["findings"].where(films.index >= 10, "No Finding"))
    assert evaluate_findings(free, resamples=20)["n"] == 80


def test_findings_that_are_no_output_do_not_disturb() -> None:
    films = table()
    more = films.assign(findings=films["findings"].str.replace("No Finding", "Fibrosis"))
    assert evaluate_findings(more, resamples=20)["per_class"] == evaluate_findings(films, resamples=20)["per_class"]
    np.testing.assert_array_equal(
        presence(pd.DataFrame({"findings": ["Mass|Edema", "No Finding", "Fibrosis"]}), ("Edema", "Mass")),
        [[True, True], [False, False], [False, False]],
    )


def test_sources_are_judged_one_by_one() -> None:
    films = table()
    found = evaluate_findings(films, resamples=20)["by_source"]
    alone = evaluate_findings(films[films["source"] == "nih"], resamples=20)
    assert set(found) == {"nih", "rsna"}
    assert found["nih"]["auroc"] == alone["auroc"] and found["nih"]["n"] == 40


def test_intervals_are_over_patients() -> None:
    films = table()
    twice = pd.concat([films, films.assign(path="b" + films["path"])])
    once, doubled = (evaluate_findings(part, resamples=200)["auroc"] for part in (films, twice))
    assert doubled["ci95"] == pytest.approx(once["ci95"])  # copies of films are no new patients
    one = evaluate_findings(films.assign(patient_id="p"), resamples=20)
    assert one["auroc"]["ci95"] is None and "at least two" in one["auroc"]["why"]


def test_a_table_is_of_findings_by_its_names_and_labels(tmp_path: Path) -> None:
    films = table()
    assert holds_findings(films) and not holds_findings(films.rename(columns={"prob_Mass": "prob_flu"}))
    # classes that happen to be named as findings: their labels are these classes
    classes = films.assign(label="Edema", prob_Edema=0.2, prob_Mass=0.3, prob_Hernia=0.5)
    assert not holds_findings(classes)
    with pytest.raises(ManifestError, match="of a model of classes"):
        evaluate_findings(classes.assign(predicted="Mass"))
    with pytest.raises(ManifestError, match="of a model of findings"):
        evaluate_table(films)
    read = read_predictions(write_predictions(films, tmp_path / "p.csv"))
    assert evaluate_findings(read, resamples=20) == evaluate_findings(films, resamples=20)
    # films that are only predicted have no findings and no patients, and are written all the same
    bare = films.drop(columns="findings").assign(patient_id="", label="")
    write_predictions(bare, tmp_path / "bare.csv")
    with pytest.raises(ManifestError, match="column findings is missing"):
        read_predictions(tmp_path / "bare.csv")
    # a film's label says nothing of its findings: it may be missing
    assert evaluate_findings(films.drop(columns="label"), resamples=20) == evaluate_findings(films, resamples=20)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("findings", "Edema|Flu", "row 2, column findings.*'Edema\\|Flu' holds a name that is no finding"),
        ("findings", "Edema|", "no finding"),
        ("findings", "", "no film has known findings"),
        ("patient_id", "", "row 2, column patient_id: empty cell"),
        ("prob_Edema", 1.2, "column prob_Edema: '1.2' is no probability"),
        ("path", "same.png", "stands there twice"),
    ],
)
def test_faulty_tables_are_refused(column: str, value: str | float, message: str) -> None:
    films = table()
    films[column] = value
    with pytest.raises(ManifestError, match=message):
        evaluate_findings(films)


def test_one_finding_against_the_rest() -> None:
    films = table().assign(findings=table()["findings"].where(table().index > 0, ""))
    known, scores, present = finding_against_rest(films, "Edema")
    assert len(known) == len(scores) == len(present) == 79
    assert present.sum() == known["findings"].str.contains("Edema").sum()
    with pytest.raises(UsageError, match="'Flu' is no finding"):
        finding_against_rest(films, "Flu")
    with pytest.raises(ManifestError, match="column findings is missing"):
        finding_against_rest(films.drop(columns="findings"), "Edema")


def test_all_fourteen_are_held() -> None:
    found = evaluate_findings(table(300, names=FINDINGS), resamples=10)
    assert tuple(found["classes"]) == FINDINGS and len(found["auroc"]["over"]) == 13
