"""Which films stand for Kusakunniran's five datasets, and the trainings of its scenarios (section 3, Tables 3 and 4).

D1 is COVID-19, D2 normal, D3 and D4 (always printed together) whatever else; D5 is COVID-19 of a source that nothing
is trained on. As in the paper a scenario trains and validates on a few films and tests on the rest; here a patient's
films stay together, and a manifest that has test films of its own keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from covidcxr_tf.errors import SplitError
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.samples import draw_patients, of_sources

CONFIG = "resnet101"
POSITIVE = "covid19"
#: Labels that stand for D3 (other normal) and D4 (other abnormal).
OTHER = ("other", "pneumonia", "bacterial", "viral", "tuberculosis")
DATASETS = {"d1": "COVID-19 films (D1)", "d2": "normal films (D2)", "other": "other films (D3 and D4)"}
#: Scenario -> dataset -> films to train and validate (Table 4), and the share of its films that this may be at most:
#: the paper's own, but for D2, of which it tests on 98 % (5,118 films).
POOLS: dict[int, dict[str, tuple[int, float]]] = {
    1: {"d1": (100, 0.7), "d2": (100, 0.7)},
    2: {"d1": (100, 0.7), "d2": (40, 0.7), "other": (60, 0.3)},
    4: {"d1": (100, 0.7), "d2": (100, 0.7), "other": (100, 0.5)},
}
#: Part of the pool that validates (section 3); at least one patient of each dataset.
VALIDATION_SHARE = 0.1
TWO = {"non_covid19": ("normal", *OTHER), POSITIVE: (POSITIVE,)}
THREE = {"normal": ("normal",), "other": OTHER, POSITIVE: (POSITIVE,)}
#: Smallest side of the size study in px: five halvings of it leave a pixel.
SMALLEST = 32


def study_films(bench: Bench) -> pd.DataFrame:
    """Return the films that all scenarios draw from, with ``source`` ("" where there is none), index 0..n-1."""
    films = of_sources(bench.manifest, bench.config(CONFIG).data.sources)
    if "source" in films:
        return films
    named = films.assign(source="")
    named.attrs = films.attrs
    return named


def second_source(films: pd.DataFrame) -> str:
    """Return the source that stands for D5: the one with fewest COVID-19 films of those named; "" of fewer than two."""
    counts = films.loc[films["label"].eq(POSITIVE) & films["source"].ne(""), "source"].value_counts()
    return min(counts.index, key=lambda name: (counts[name], name)) if len(counts) > 1 else ""


def dataset_of(labels: pd.Series, sources: pd.Series, second: str) -> pd.Series:
    """Return ``d1``, ``d2``, ``d5``, ``other`` or "" for each film, from its label in the manifest and its source."""
    found = pd.Series("", index=labels.index)
    found[labels.eq(POSITIVE)] = "d1"
    found[labels.eq("normal")] = "d2"
    found[labels.isin(OTHER)] = "other"
    if second:
        found[found.eq("d1") & sources.eq(second)] = "d5"
    return found


def scenario_films(bench: Bench, scenario: int) -> pd.DataFrame:
    """Return the films of scenario 1, 2 or 4, with ``split``; the manifest's order.

    Train and validation hold the scenario's pool. Test holds every other film of D1 to D5 of a patient outside the
    pool; where the manifest has test films, only those of D1 to D4 and all of D5.

    Raises
    ------
    SplitError
        If a dataset has too few patients.
    """
    films = study_films(bench)
    dataset = dataset_of(films["label"], films["source"], second_source(films))
    own_test = films["split"].eq("test") if "split" in films else pd.Series(False, index=films.index)
    unseen = films["patient_id"].isin(films.loc[dataset.eq("d5") | own_test, "patient_id"])
    split = pd.Series("", index=films.index)
    validating: set[str] = set()
    for stream, (name, (count, share)) in enumerate(POOLS[scenario].items()):
        own = dataset.eq(name)
        most = min(count, int(np.floor(share * own.sum())))
        patients = draw_patients(films[own & ~unseen], most, bench.seed, stream)
        if len(patients) < 2:
            raise SplitError(
                f"scenario {scenario}: {len(patients)} patient(s) of {DATASETS[name]} to train and validate",
                where=bench.manifest_path.name,
                expected="at least two, beside those that are tested on",
            )
        drawn = own & films["patient_id"].isin(patients)
        split[drawn] = "train"
        validating.update(_validating(films[drawn], patients))
    pool = set(films.loc[split.eq("train"), "patient_id"])
    split[split.eq("train") & films["patient_id"].isin(validating)] = "validation"
    rest = dataset.ne("") & ~films["patient_id"].isin(pool)
    split[rest & (own_test | dataset.eq("d5") if own_test.any() else rest)] = "test"
    chosen = films.assign(split=split)[split.ne("")].reset_index(drop=True)
    chosen.attrs = films.attrs
    return chosen


def train_scenario(bench: Bench, scenario: int, size: int | None = None, *, redraw: bool = True) -> Outcome:
    """Train scenario 1, 2 or 4.

    Parameters
    ----------
    bench : Bench
    scenario : int
    size : int, optional
        Rows and columns; by default those of the config and the settings.
    redraw : bool
        Draw train and validation films anew in each epoch, as the paper does; False: one split by patient.
    """
    classes = THREE if scenario == 4 else TWO
    changes = ("compat=paper", f"classes={_inline(classes)}", f"name=resnet101_scenario_{scenario}")
    largest = bench.config(CONFIG).image.size
    name = f"scenario_{scenario}" + ("" if redraw else "_one_split")
    fixed = [f"data.redraw_validation={json.dumps(redraw)}"]
    if size is not None and size != largest:
        name = f"{name}_{size}px"
        fixed.append(f"image.size={size}")
    films = bench.films(scenario_films(bench, scenario), f"scenario_{scenario}")
    return bench.train(CONFIG, name, changes, films=films, fixed=fixed)


def study_sizes(bench: Bench) -> dict[int, int]:
    """Return printed rows and columns (1500, 1000, 500) -> ours, in the same proportions."""
    largest = bench.config(CONFIG).image.size
    return {printed: max(SMALLEST, round(largest * printed / 1500)) for printed in (1500, 1000, 500)}


def missing(bench: Bench, datasets: Sequence[str] = ("d1", "d2")) -> str:
    """Return why a scenario cannot run, or nothing."""
    films = study_films(bench)
    present = set(dataset_of(films["label"], films["source"], second_source(films)))
    labels = {"d1": POSITIVE, "d2": "normal", "other": " or ".join(OTHER)}
    absent = [name for name in datasets if name not in present]
    if absent:
        wanted = "; ".join(f"{DATASETS[name]}: label {labels[name]}" for name in absent)
        return f"not run: no film of these; supply a manifest with {wanted}"
    return ""


def missing_second_source(bench: Bench) -> str:
    """Return why scenario 3 cannot run, or nothing."""
    if not second_source(study_films(bench)):
        return (
            "not run: the COVID-19 films are of one source; supply a second one in the column 'source', to be tested "
            "on and never trained on"
        )
    return missing(bench)


def _validating(films: pd.DataFrame, patients: Sequence[str]) -> list[str]:
    """Return the last patients of a draw whose films are a tenth of the pool, at least one and never all."""
    sizes = films.groupby("patient_id").size()
    chosen: list[str] = []
    for patient in reversed(patients[1:]):
        if chosen and sizes[[*chosen, patient]].sum() > VALIDATION_SHARE * len(films):
            break
        chosen.append(patient)
    return chosen


def _inline(classes: dict[str, tuple[str, ...]]) -> str:
    return "{ " + ", ".join(f"{name} = {json.dumps(labels)}" for name, labels in classes.items()) + " }"
