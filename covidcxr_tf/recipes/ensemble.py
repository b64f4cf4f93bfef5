"""Several finished runs as one model: the mean of their logits.

The members' predictions tables are all that is needed: softmax takes a constant out of a film's logits, so logarithms
of probabilities serve; a finding's logit is log p - log(1 - p). The members are copied, so that the ensemble can be
predicted with wherever it lies. Source: Fricks 2021, discussion.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf import __version__
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.comparison import compare_tables
from covidcxr_tf.evaluate.multilabel import evaluate_findings
from covidcxr_tf.evaluate.table import probabilities, write_predictions
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.models.files import model_digest
from covidcxr_tf.predict import decide, mean_of_logits, predictions_table
from covidcxr_tf.recipes.classifier import cut_off
from covidcxr_tf.recipes.ensemble_members import Member, check_members, read_members
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.report.card import write_card
from covidcxr_tf.report.comparison import write_comparison
from covidcxr_tf.report.run_figures import draw_judgement
from covidcxr_tf.train.run_dir import PACKAGES, RunDir, check_free, package_version

#: What of a member's run folder is copied, where it is there.
COPIED = (
    "model.keras", "lung_model.keras", "config.toml", "environment.json", "split.csv", "metrics.json", "card.json",
    "predictions_validation.csv", "predictions_test.csv",
)  # fmt: skip
RULE = "mean of logits"


def ensemble(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    names: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> Outcome:
    """Write the run folder of an ensemble and return it.

    Parameters
    ----------
    runs : sequence of path
        Run folders of the same classes, judged on the same test films.
    out : str or path
        The new run folder. Its ``member_a/`` and so on are copies; ``ensemble.json`` names them;
        ``predictions_*.csv``, ``metrics.json``, figures and card are the ensemble's, ``comparison.json`` holds it
        against its members.
    names : sequence of str
        Of the members; by default their folders' names.
    resamples, seed : int
        Of the bootstrap over patients.

    Returns
    -------
    Outcome
        The cut-off between two classes is chosen on the validation films that every member has and none trained on.

    Raises
    ------
    UsageError
        Fewer than two runs, the same model twice, folds of one cross-validation, or a folder that is not free.
    WeightsError
        A folder without a model, or with one for another task or other classes than the first.
    ManifestError
        Members judged on different test films, or on other labels or patients of the same film.
    SplitError
        A member that was trained on a patient who is tested on.
    """
    check_free(out)
    members = read_members(runs, names)
    check_members(members)
    facts = _shared_facts(members, Path(out).name)
    tables = _mean_tables(members, str(facts["task"]))
    if facts["task"] == "classification" and len(facts["classes"]) == 2:
        no_films = {"threshold": None, "threshold_from": "none: no validation film is common and new to all members"}
        facts |= cut_off(tables["validation"], facts["positive"]) if "validation" in tables else no_films
    with _new_folder(Path(out)) as run:
        facts["members"] = _copy_members(members, run.folder)
        write_json(run.folder / "ensemble.json", facts)
        _write_environment(run.folder)
        write_text(run.folder / "split.csv", _joint_split(members).to_csv(index=False))
        metrics = _judge(run, facts, tables, resamples, seed)
        if facts["task"] == "classification":
            shown = {facts["name"]: tables["test"]} | {one.name: one.tables["test"].reset_index() for one in members}
            write_comparison(shown, compare_tables(shown, facts["positive"]), run.folder)
        write_card(run.folder, facts, metrics)
    return Outcome(run, metrics)


def _shared_facts(members: Sequence[Member], name: str) -> dict[str, Any]:
    """Return what is stored in ``ensemble.json``; what members have in common is theirs."""
    first = members[0].facts
    archs = dict.fromkeys(str(member.facts.get("arch")) for member in members)
    shared = {
        key: first.get(key)
        for key in ("compat", "class_labels", "split_digest", "synthetic")
        if all(member.facts.get(key) == first.get(key) for member in members)
    }
    return {
        "schema_version": 1,
        "name": name,
        "arch": f"ensemble of {len(members)}: {', '.join(archs)}",
        "task": first["task"],
        "classes": first["classes"],
        "positive": first.get("positive") or first["classes"][-1],
        "rule": RULE,
        "threshold": None,
        **shared,
    }


def _mean_tables(members: Sequence[Member], task: str) -> dict[str, pd.DataFrame]:
    """Return the ensemble's predictions tables, test and (where there are such films) validation."""
    first = members[0]
    films = {"test": list(first.tables["test"].index), "validation": _new_to_all(members)}
    tables = {}
    for part, paths in films.items():
        if paths:
            rows = [member.tables[part].loc[paths] for member in members]
            stacked = np.stack([probabilities(table, first.facts["classes"]) for table in rows])
            mean = mean_of_logits(stacked, task)
            tables[part] = predictions_table(rows[0].reset_index(), mean, first.facts["classes"], task)
    return tables


def _new_to_all(members: Sequence[Member]) -> list[str]:
    """Return the validation films that every member has and no member trained on."""
    if any("validation" not in member.tables for member in members):
        return []
    table = members[0].tables["validation"]
    patients = table["patient_id"].unique()
    trained = {patient for member in members for patient in member.trained_on(patients)}
    common = set.intersection(*(set(member.tables["validation"].index) for member in members))
    fresh = [film in common and patient not in trained for film, patient in table["patient_id"].items()]
    return list(table.index[fresh])


def _copy_members(members: Sequence[Member], folder: Path) -> list[dict[str, Any]]:
    copied = []
    for letter, member in zip(string.ascii_lowercase, members, strict=False):
        target = folder / f"member_{letter}"
        target.mkdir()
        for name in COPIED:
            if (member.folder / name).is_file():
                shutil.copyfile(member.folder / name, target / name)
        copied.append(
            {
                "folder": target.name,
                "name": member.name,
                "arch": member.facts.get("arch"),
                "sha256": model_digest(target / "model.keras"),
            }
        )
    return copied


def _joint_split(members: Sequence[Member]) -> pd.DataFrame:
    """Return one row a film of any member's ``split.csv``, in the order in which they first stand there.

    A film is ``train`` where any member trained on it, else ``test`` where any was tested on it, else ``validation``. A
    film is told by path and patient: manifests of different folders may use one path for two films.
    """
    films = pd.concat([member.split for member in members], ignore_index=True)
    rank = films["split"].map({"train": 0, "test": 1, "validation": 2})
    ranked = films.iloc[rank.argsort(kind="stable")].drop_duplicates(["path", "patient_id"])
    first = films.drop_duplicates(["path", "patient_id"])[["path", "patient_id"]]
    return first.merge(ranked, on=["path", "patient_id"], how="left", validate="one_to_one")


def _judge(
    run: RunDir, facts: Mapping[str, Any], tables: dict[str, pd.DataFrame], resamples: int, seed: int
) -> dict[str, Any]:
    """Write predictions, metrics and figures, and return the metrics; `tables` get their calls."""
    metrics: dict[str, dict[str, Any]] = {}
    for part, table in tables.items():
        if facts["task"] == "multilabel":
            metrics[part] = evaluate_findings(table, resamples, seed)
        else:
            cut, origin = facts["threshold"], facts.get("threshold_from")
            tables[part] = table = decide(table, facts["classes"], facts["positive"], cut)
            metrics[part] = evaluate_table(table, facts["positive"], cut, resamples, seed, threshold_from=origin)
        write_predictions(table, run.folder / f"predictions_{part}.csv")
    members = [
        {"name": one["name"], "folder": one["folder"], "auroc": _auroc(run.folder / one["folder"] / "metrics.json")}
        for one in facts["members"]
    ]
    final = {**metrics["test"], "split": "test", "validation": metrics.get("validation"), "members": members}
    write_json(run.folder / "metrics.json", final)
    draw_judgement(tables, metrics, run.figures)
    return final


def _auroc(path: Path) -> dict[str, Any] | None:
    """Return the area that a member's own judgement found, or None where it has none."""
    if not path.is_file():
        return None
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")).get("auroc")
    return found


def _write_environment(folder: Path) -> None:
    packages = {package: package_version(package) for package in PACKAGES}
    write_json(folder / "environment.json", {"schema_version": 1, "covidcxr_tf": __version__, "packages": packages})


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[RunDir]:
    """Give a new run folder, which goes again if what is done with it fails."""
    run = RunDir(folder)
    run.figures.mkdir(parents=True, exist_ok=True)
    try:
        yield run
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
