"""The trainings behind Fricks' six paths: which films each phase takes, and which phase each one starts from.

One split by patient holds for all phases and paths, so that no phase is tested on a patient that an earlier one was
trained on; every model file carries whom it was trained on, and a training that would break this is refused.

Differs from paper: its phase 2 with NIH films trains on phase 1's test films, after phase 1 was judged on them. Here
phase 2 takes the training patients of the one split, whose films phase 1 has seen under other targets: nothing
new is seen, and the test patients stay unseen to the end.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import pandas as pd

from covidcxr_tf.errors import DataError
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.conditions import conditions

CONFIG = "densenet121"
POSITIVE = "covid19"
#: One sigmoid for two classes, as the text has it.
PAPER = ("compat=paper",)
#: Path -> what comes before phase 3: 14 findings, then pneumonia in films of the RSNA or the NIH (figure 1).
PATHS: dict[str, tuple[str, ...]] = {
    "a": ("findings", "rsna"),
    "b": ("findings", "nih"),
    "c": ("findings",),
    "d": ("rsna",),
    "e": ("nih",),
    "f": (),
}
SOURCES = {"findings": ("nih-cxr14", "nih14"), "nih": ("nih-cxr14", "nih14"), "rsna": ("rsna",)}


@dataclass(frozen=True)
class Trained:
    """The paths that ran, and why the others did not."""

    outcomes: dict[str, Outcome]
    whys: dict[str, str]


def stage_films(bench: Bench, stage: str) -> pd.DataFrame:
    """Return the films of ``findings`` (phase 1), ``nih`` or ``rsna`` (phase 2), or ``covid`` (phase 3), split.

    Phase 3 takes every film; the config's classes decide which labels count. Of phantoms, which are of neither set,
    all take part in all phases.
    """
    films = bench.split_films()
    chosen = films
    if stage in SOURCES and not bench.synthetic:
        chosen = chosen[_column(chosen, "source").isin(SOURCES[stage])]
    if stage == "findings":
        chosen = chosen[_column(chosen, "findings").ne("")]
    chosen.attrs = films.attrs
    return chosen


def missing_stage(bench: Bench, stage: str) -> str:
    """Return why a phase before the last cannot run, or nothing."""
    films = (
        bench.manifest if bench.synthetic else bench.manifest[_column(bench.manifest, "source").isin(SOURCES[stage])]
    )
    name = {"rsna": "the RSNA challenge (source rsna)"}.get(stage, "NIH ChestX-ray14 (source nih-cxr14 or nih14)")
    supply = f"`covidcxr data import {SOURCES[stage][0]}` writes a manifest of them"
    if films.empty:
        return f"not run: no film of {name}; {supply}"
    if stage == "findings":
        unknown = _column(films, "findings").eq("").all()
        return f"not run: no film of {name} has findings; {supply}" if unknown else ""
    for kind, labels in bench.config(CONFIG).phases["phase_2"]["classes"].items():
        if not films["label"].isin(labels).any():
            return f"not run: no film of {name} has a label of the class {kind}; {supply}"
    return _unknown_patients(bench, films) if stage == "rsna" else ""


def missing_path(bench: Bench, path: str) -> str:
    """Return why a path cannot run, or nothing."""
    if not bench.manifest["label"].eq(POSITIVE).any():
        return f"not run: no film is {POSITIVE}; supply a manifest with that label"
    if bench.manifest["label"].eq(POSITIVE).all():
        return f"not run: every film is {POSITIVE}; supply films of other labels too"
    return next((why for stage in PATHS[path] if (why := missing_stage(bench, stage))), "")


def phase_1(bench: Bench) -> Outcome:
    """Train 14 findings, once for paths a, b and c (section 2.1)."""
    return _train(bench, "phase_1", "phase_1", stage_films(bench, "findings"), "nih_findings")


def phase_2(bench: Bench, path: str) -> Outcome:
    """Train pneumonia on a path's phase 2 films, from phase 1 or from the first weights (section 2.2)."""
    *before, stage = PATHS[path]
    start = phase_1(bench) if before else None
    return _train(bench, "phase_2", f"path_{path}_phase_2", stage_films(bench, stage), f"{stage}_pneumonia", start)


def phase_3(bench: Bench, path: str) -> Outcome:
    """Train covid19 against the rest, from the path's last phase or from the first weights (section 2.3)."""
    stages = PATHS[path]
    start = None if not stages else phase_1(bench) if stages == ("findings",) else phase_2(bench, path)
    return _train(bench, "phase_3", f"path_{path}", stage_films(bench, "covid"), "covid19", start)


def all_paths(bench: Bench) -> Trained:
    """Train phase 3 of every path that the films allow; a path that they do not allow stops no other."""
    trained = Trained({}, {})
    for path in PATHS:
        why = missing_path(bench, path)
        if not why:
            try:
                trained.outcomes[path] = phase_3(bench, path)
                continue
            except DataError as fault:
                why = str(fault)
        trained.whys[path] = why
    return trained


def trained_on(bench: Bench, outcome: Outcome) -> str:
    """Return what a run was trained on and what the first phase of its path starts from, in words."""
    return conditions(bench, outcome, bench.config(CONFIG).model.init)


def prevalence(outcome: Outcome, name: str) -> str:
    """Return the share of a class among the training films, in words."""
    split = pd.read_csv(outcome.run.folder / "split.csv", dtype=str, keep_default_na=False)
    train = split.loc[split["split"] == "train", "label"]
    return f"{(train == name).sum()} of them {name} ({100 * (train == name).mean():.1f} %)"


def _train(
    bench: Bench, phase: str, name: str, films: pd.DataFrame, table: str, start: Outcome | None = None
) -> Outcome:
    # Fixed, over the user's settings: their model.init is for the first phase of a path, not for a hand-over.
    fixed = [f'run_phases=["{phase}"]']
    if start is not None:
        fixed.append(f"model.init={json.dumps(os.path.abspath(start.run.model))}")
    changes = (*PAPER, f"name={CONFIG}_{name}")
    return bench.train(CONFIG, name, changes, films=bench.films(films, table), fixed=fixed)


def _unknown_patients(bench: Bench, rsna: pd.DataFrame) -> str:
    """Return why RSNA films cannot stand beside NIH films: they are NIH films, of patients that must be known."""
    if bench.synthetic or _column(rsna, "nih_image").ne("").all():
        return ""
    nih = bench.manifest[_column(bench.manifest, "source").isin(SOURCES["nih"])]
    if nih.empty or nih["patient_id"].isin(rsna["patient_id"]).any():
        return ""
    return (
        "not run: the RSNA films are NIH films, but share no patient_id with those here, so that a test patient could "
        "be trained on; import them with pneumonia-challenge-dataset-mappings_2018.json in the folder"
    )


def _column(films: pd.DataFrame, name: str) -> pd.Series:
    """Return a column as text; empty where the manifest does not have it."""
    return films[name].fillna("").astype(str) if name in films else pd.Series("", index=films.index)
