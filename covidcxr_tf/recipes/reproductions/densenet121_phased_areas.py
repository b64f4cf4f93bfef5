"""Areas of Fricks' paths on the same test films: intervals, tests of each two, figures, mean of their logits."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf.errors import DataError
from covidcxr_tf.evaluate.comparison import compare_tables
from covidcxr_tf.evaluate.delong import clustered_delong, delong, interval
from covidcxr_tf.evaluate.table import UNKNOWN_SOURCE, one_against_rest, read_predictions, sources
from covidcxr_tf.recipes.ensemble import ensemble
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.densenet121_phased_paths import PATHS, POSITIVE, Trained
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.reading_metrics import within_sources
from covidcxr_tf.report import figures
from covidcxr_tf.report.comparison import draw_p_values, write_comparison

#: The paper's pairs: six paths, each against each. Its Table 5 is Table 4 times this.
PAIRS = tuple(itertools.combinations(PATHS, 2))

Tables = dict[str, pd.DataFrame]


def title(path: str) -> str:
    """Return ``path (a)``, as the paper writes it."""
    return f"path ({path})"


def judged_tables(trained: Trained) -> Tables:
    """Return path -> its predictions table, of the test films (of the validation films where there are none)."""
    return {
        path: read_predictions(outcome.run.folder / f"predictions_{outcome.metrics['split']}.csv")
        for path, outcome in trained.outcomes.items()
    }


def best_path(trained: Trained) -> str:
    """Return the path with the largest area on the validation films; "" where none is defined.

    Chosen on the test films, the best of six would look better than it is.
    """
    areas = {path: one.metrics["validation"]["auroc"]["value"] for path, one in trained.outcomes.items()}
    known = {path: area for path, area in areas.items() if area is not None}
    return max(known, key=lambda path: known[path]) if known else ""


def area(table: pd.DataFrame, note: str = "") -> Measured:
    """Return the area of covid19 with DeLong's interval; the one over patients stands in the note."""
    scores, positive = one_against_rest(table, POSITIVE)
    if not 0 < positive.sum() < len(positive):
        return Measured(None, n=len(table), why=f"{positive.sum()} of {len(table)} test films are {POSITIVE}")
    films = interval(delong(scores[None], positive), 0)
    patients = interval(clustered_delong(scores[None], positive, table["patient_id"].to_numpy(object)), 0)
    parts = [note] if note else []
    if patients["ci95"]:
        parts.append("over patients {:.3f} to {:.3f}".format(*patients["ci95"]))
    elif films.get("exact"):
        parts.append("exact {:.3f} to {:.3f} by {}".format(*patients["exact"], patients["exact_by"]))
    return from_metric(films, n=len(table), note="; ".join(parts))


def pair_tests(tables: Tables, whys: Mapping[str, str], out: Path) -> dict[str, Measured]:
    """Return Tables 4 and 5, and write the comparison with its figures."""
    pairs: dict[tuple[str, str], Mapping[str, Any]] = {}
    if len(tables) > 1:
        document = _compare({title(path): table for path, table in tables.items()}, out / "comparison")
        letters = {title(path): path for path in tables}
        pairs = {(letters[pair["first"]], letters[pair["second"]]): pair for pair in document["pairs"]}
    found: dict[str, Measured] = {}
    for first, second in PAIRS:
        names = [f"table{number}.path_{first}_{second}.p" for number in (4, 5)]
        why = whys.get(first) or whys.get(second)
        rows = [Measured(None, why=why)] * 2 if why else _tested(pairs[first, second], len(tables[first]), len(pairs))
        found |= dict(zip(names, rows, strict=True))
    return found


def _tested(pair: Mapping[str, Any], n: int, run: int) -> list[Measured]:
    """Return a pair's cells in Tables 4 and 5: DeLong's p over films, and the same times the paper's 15 pairs.

    `run` is the number of pairs that were run: what Bonferroni's factor would be for them alone.
    """
    p, patients = pair["by_film"]["p"], pair["by_patient"]["p"]
    if p is None:
        return [Measured(None, n=n, why=f"not defined: {pair['by_film']['why']}")] * 2
    notes = [f"difference {pair['difference']:+.3f}", f"times {len(PAIRS)}, the paper's pairs"]
    if run != len(PAIRS):
        notes[1] += f"; times {run}, those run: {min(1.0, p * run):.3f}"
    if patients is not None:
        notes[0] += f"; over patients {patients:.3f}"
        notes[1] += f"; over patients {min(1.0, patients * len(PAIRS)):.3f}"
    values = (p, min(1.0, p * len(PAIRS)))
    return [Measured(value, n=n, note=note) for value, note in zip(values, notes, strict=True)]


def within_one_source(trained: Trained, tables: Tables, out: Path) -> dict[str, Measured]:
    """Return each path's area inside each source that has both kinds, and the best printed path less the control."""
    found: dict[str, Measured] = {}
    for path, outcome in trained.outcomes.items():
        found |= within_sources(outcome.metrics, title(path))
    for source, parts in _by_source(tables).items():
        name = re.sub(r"[^\w.-]+", "_", source)
        document = _compare({title(path): table for path, table in parts.items()}, out / f"comparison_within_{name}")
        for pair in document["pairs"]:
            if (pair["first"], pair["second"]) != (title("b"), title("f")):
                continue
            test = pair["by_patient"]
            note = "over patients" if test["p"] is None else f"over patients, p = {test['p']:.3f}"
            found[f"also path (b) less path (f): AUC within {source}"] = Measured(
                pair["difference"], tuple(test["ci95"]) if test["ci95"] else None, document["n"], note=note
            )
    return found


def mean_of_paths(trained: Trained, tables: Tables, bench: Bench) -> dict[str, Measured]:
    """Return the area of the mean of the paths' logits (section 4), and write it as a run ``runs/ensemble``."""
    row = "also ensemble of the paths run: AUROC of COVID-19"
    runs = [outcome.run.folder for outcome in trained.outcomes.values()]
    letters = ", ".join(trained.outcomes)
    if len(runs) < 2:
        return {row: Measured(None, why=f"needs two paths or more; run: {letters or 'none'}")}
    folder = bench.out / "runs" / "ensemble"
    shutil.rmtree(folder, ignore_errors=True)  # made of finished runs, in seconds: never gone on with
    try:
        outcome = ensemble(runs, folder, names=[title(path) for path in trained.outcomes], seed=bench.seed)
    except DataError as fault:
        return {row: Measured(None, why=str(fault))}
    table = read_predictions(folder / "predictions_test.csv")
    note = f"mean of logits of paths {letters}" + _against_best(table, trained, tables)
    return {row: area(table, note)} | _ensemble_within(outcome)


def _ensemble_within(outcome: Outcome) -> dict[str, Measured]:
    return {name: one for name, one in within_sources(outcome.metrics, "ensemble").items() if one.value is not None}


def _against_best(table: pd.DataFrame, trained: Trained, tables: Tables) -> str:
    """Return how the ensemble stands to the path that was best on the validation films, in words."""
    best = best_path(trained)
    if not best:
        return ""
    pair = compare_tables({"ensemble": table, title(best): tables[best]}, POSITIVE)["pairs"][0]
    p = pair["by_film"]["p"]
    tested = "no test defined" if p is None else f"DeLong's p {p:.3f}"
    return f"; {pair['difference']:+.3f} against {title(best)}, the best on validation films, {tested}"


def _by_source(tables: Tables) -> dict[str, Tables]:
    """Return source -> path -> its films of that source, where there are two paths and both kinds of films."""
    if len(tables) < 2:
        return {}
    first = next(iter(tables.values()))
    found = {}
    for source in sorted(set(sources(first)) - {UNKNOWN_SOURCE}):
        parts = {path: table[sources(table) == source].reset_index(drop=True) for path, table in tables.items()}
        positive = next(iter(parts.values()))["label"].eq(POSITIVE)
        if positive.any() and not positive.all():
            found[source] = parts
    return found


def _compare(named: Tables, folder: Path) -> dict[str, Any]:
    """Write a comparison and the p-values by film, which are the paper's, and return its document."""
    document = compare_tables(named, POSITIVE)
    write_comparison(named, document, folder)
    side = max(3.6, 1.4 + 0.62 * len(named))
    figure, panels = figures.new_figure(1, 2, width=side + 0.4, height=side)
    draw_p_values(document, panels[0], "p", "DeLong's p over films (Table 4)", "by_film")
    factor = document["comparisons"]
    draw_p_values(document, panels[1], "bonferroni", f"the same times {factor} (Bonferroni; Table 5)", "by_film")
    figures.save_figure(figure, folder / "figures" / "p_values_by_film.png")
    return document
