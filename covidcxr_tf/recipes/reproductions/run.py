"""Run what a paper did, and put the measured numbers beside the printed ones."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from covidcxr_tf import __version__
from covidcxr_tf.catalog import resolve
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import DataError
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.papers.facts import Paper, load_paper
from covidcxr_tf.recipes.datasets import is_synthetic
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import ALSO, Experiment, Measured
from covidcxr_tf.recipes.reproductions.readme import readme
from covidcxr_tf.recipes.reproductions.request import (
    DOCUMENT,
    Request,
    check_request,
    open_folder,
    read_document,
    synthetic_films,
)
from covidcxr_tf.recipes.reproductions.table import NOT_RUN, Row, as_table, build_rows, without_folders
from covidcxr_tf.report.reproduction import draw_reproduction
from covidcxr_tf.train.run_dir import PACKAGES, package_version

SCHEMA_VERSION = 1
NO_VALUE = "the experiment gave no value for it"
Results = dict[str, list[dict[str, Measured]]]


@dataclass(frozen=True)
class Reproduction:
    """A finished reproduction.

    Attributes
    ----------
    folder : Path
        Where ``reproduction.json``, ``table.csv``, ``README.md`` and ``figures/agreement.png`` lie.
    rows : tuple of Row
        One a printed result, and the ``also`` rows.
    document : dict
        Content of ``reproduction.json``.
    """

    folder: Path
    rows: tuple[Row, ...]
    document: dict[str, Any]


def reproduce(
    key: str,
    data: str | Path | None = None,
    root: str | Path | None = None,
    out: str | Path | None = None,
    smoke: bool = False,
    repeats: int = 1,
    seed: int = 0,
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    masks: str | Path | None = None,
    masks_root: str | Path | None = None,
) -> Reproduction:
    """Run a paper's experiments and write the table of printed and measured numbers.

    Parameters
    ----------
    key : str
        Of the paper (``catalog.PAPERS``).
    data, root : str or path, optional
        Manifest, and the folder its paths start from; without a manifest synthetic films are made.
    out : str or path, optional
        Folder; a reproduction of the same kind that was begun there goes on: runs that are finished are read again. By
        default ``runs/reproduce_KEY``, or the first such name with a number that is free or holds this one unfinished.
    smoke : bool
        Every config shrunk by its ``[smoke]`` table.
    repeats, seed : int
        Each experiment with the seeds seed .. seed + repeats - 1: another split where the manifest has none, other
        weights and another order.
    settings : sequence of str
        Overrides as ``train.epochs=3``, laid over every config.
    only : sequence of str
        Names of the experiments to run; empty: all.
    masks, masks_root : str or path, optional
        Manifest of films with drawn lung masks (and hearts), where it is another than `data`, and its root.

    Raises
    ------
    UsageError, ConfigError
        For an unknown key, experiment or setting, or a folder that holds something else.
    DataError
        For a manifest that cannot be used. Inside an experiment the same leads to rows "not run: why".
    """
    paper = load_paper(key)
    module = resolve("papers", key)
    experiments: tuple[Experiment, ...] = module.EXPERIMENTS
    check_experiments(paper, experiments)
    films, start, drawn, drawn_start = (str(place) if place else "" for place in (data, root, masks, masks_root))
    request = Request(key, films, start, smoke, repeats, seed, tuple(settings), tuple(only), drawn, drawn_start)
    check_request(request, [one.name for one in experiments])
    if data:
        load_manifest(data, root=root or None)  # a faulty one is told before any folder is made
    if masks:
        _drawn_films(request)
    folder = open_folder(out, key, request.identity())
    # Before the films are made: a folder with films alone would not be known as ours again.
    begun = {"schema_version": SCHEMA_VERSION, "key": key, **(read_document(folder) or {})}
    write_json(folder / DOCUMENT, {**begun, "identity": request.identity(), "finished": False})
    bench = _bench(request, module, folder)
    document = _document(paper, module, request, bench, experiments)
    results = _measure_all(experiments, request, bench)
    rows = build_rows(paper, experiments, results)
    document |= {"finished": True, "rows": [row.as_dict() for row in rows]}
    _write(folder, paper, document, rows)
    return Reproduction(folder, rows, document)


def check_experiments(paper: Paper, experiments: Sequence[Experiment]) -> None:
    """Raise where experiments and paper do not fit: a defect of the reproduction module, not of the user's.

    Raises
    ------
    ValueError
        For two experiments of one name, a number that two answer, or another author's number.
    UsageError
        For an id that the paper's facts do not have.
    """
    names = [experiment.name for experiment in experiments]
    answered = [fact for experiment in experiments for fact in experiment.facts]
    for what, entries in (("experiment", names), ("fact", answered)):
        twice = sorted({entry for entry in entries if entries.count(entry) > 1})
        if twice:
            raise ValueError(f"{paper.key}: {what} {twice[0]} stands there twice")
    for fact in answered:
        if paper.fact(fact).role == "cited":
            raise ValueError(f"{paper.key}: {fact} is another author's number and cannot be measured here")


def measure(experiment: Experiment, bench: Bench) -> dict[str, Measured]:
    """Return a `Measured` for each of the experiment's facts, and its ``also`` rows.

    Where films or weights do not allow it, each says why; anything else that goes wrong is raised.
    """
    found: dict[str, Measured] = {}
    try:
        why = experiment.missing(bench)
        if not why:
            found = experiment.run(bench)
    except DataError as fault:
        why = str(fault)
    stray = [name for name in found if name not in experiment.facts and not name.startswith(ALSO)]
    if stray:
        raise ValueError(f"{experiment.name} gave {stray[0]}, which is none of its facts")
    if why:
        print(f"  not run: {without_folders(why).removeprefix(NOT_RUN)}", file=sys.stderr)
    if found and not experiment.facts:
        return found
    return _nothing(experiment, why or NO_VALUE) | found


def _nothing(experiment: Experiment, why: str) -> dict[str, Measured]:
    """Return why there is no number, for each fact; an experiment without facts says it under its own title."""
    return dict.fromkeys(experiment.facts or (f"{ALSO}{experiment.title}",), Measured(None, why=why))


def _bench(request: Request, module: ModuleType, folder: Path) -> Bench:
    if request.data:
        path = Path(request.data)
    else:
        print(
            "no --data: SYNTHETIC films. The table shows that the experiments run, and nothing about patients.",
            file=sys.stderr,
        )
        path = synthetic_films(module, folder / "synthetic", request.seed, request.smoke)
    films = load_manifest(path, root=request.root or None)
    root = Path(str(films.attrs["root"]))
    drawn = _drawn_films(request) if request.masks else None
    return Bench(films, path, root, folder, request.smoke, request.seed, request.settings, is_synthetic(films), drawn)


def _drawn_films(request: Request) -> pd.DataFrame:
    required = ("path", "label", "patient_id", "mask_path")
    return load_manifest(request.masks, root=request.masks_root or None, require=required)


def _measure_all(experiments: Sequence[Experiment], request: Request, bench: Bench) -> Results:
    results: Results = {experiment.name: [] for experiment in experiments}
    wanted = [experiment for experiment in experiments if not request.only or experiment.name in request.only]
    unasked = f"not asked for (--only {' --only '.join(request.only)})"
    for experiment in experiments:
        if experiment not in wanted:
            results[experiment.name].append(_nothing(experiment, unasked))
    for repeat in range(request.repeats):
        own = replace(bench, out=bench.out / f"repeat_{repeat + 1}", seed=request.seed + repeat)
        for number, experiment in enumerate(wanted, start=1):
            place = f"{number}/{len(wanted)}" + (f", seed {own.seed}" if request.repeats > 1 else "")
            print(f"[{place}] {experiment.title}", file=sys.stderr, flush=True)
            results[experiment.name].append(measure(experiment, own))
    return results


def _document(
    paper: Paper, module: ModuleType, request: Request, bench: Bench, experiments: Sequence[Experiment]
) -> dict[str, Any]:
    digest = hashlib.sha256(bench.manifest_path.read_bytes()).hexdigest()
    return {
        "schema_version": SCHEMA_VERSION,
        "key": paper.key,
        "title": paper.title,
        "identity": request.identity(),
        "finished": False,
        "command": {
            "data": Path(request.data).name if request.data else None,
            "root": bool(request.root),
            "masks": Path(request.masks).name if request.masks else None,
            "masks_root": bool(request.masks_root),
            "smoke": request.smoke,
            "repeats": request.repeats,
            "seed": request.seed,
            "settings": [without_folders(setting) for setting in request.settings],
            "only": list(request.only),
        },
        "seeds": [request.seed + repeat for repeat in range(request.repeats)],
        "synthetic": bench.synthetic,
        "manifest": {
            "name": bench.manifest_path.name if request.data else "synthetic films",
            "sha256": digest,
            "films": len(bench.manifest),
            "patients": int(bench.manifest["patient_id"].nunique()),
        },
        "environment": {
            "covidcxr_tf": __version__,
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "packages": {package: package_version(package) for package in PACKAGES},
        },
        "caveats": [without_folders(line) for line in (*_caveats(request, bench), *module.CAVEATS)],
        "experiments": [{"name": one.name, "title": one.title, "facts": list(one.facts)} for one in experiments],
        "rows": [],
    }


def _caveats(request: Request, bench: Bench) -> list[str]:
    lines = []
    if bench.synthetic:
        lines.append("Synthetic films: the numbers show that the experiments run, and say nothing about patients.")
    if request.smoke:
        lines.append("Smoke run: sizes, epochs and networks are shrunk; no number can be held against the paper's.")
    if request.settings:
        lines.append(f"Settings laid over every config: {', '.join(request.settings)}.")
    if request.repeats > 1:
        lines.append(
            f"Measured values are means over {request.repeats} seeds; the interval is the smallest and the largest of "
            "them, no confidence interval. A seed changes the split (where the manifest has none), weights and order."
        )
    else:
        lines.append("One seed: another one gives other numbers (--repeats shows how far apart).")
    if request.only:
        lines.append(f"Only these experiments were asked for: {', '.join(request.only)}.")
    return lines


def _write(folder: Path, paper: Paper, document: Mapping[str, Any], rows: Sequence[Row]) -> None:
    table = as_table(rows)
    write_text(folder / "table.csv", table.to_csv(index=False, lineterminator="\n"))
    draw_reproduction(table, folder / "figures" / "agreement.png", f"{paper.key}: printed (◇) and measured (●)")
    write_text(folder / "README.md", readme(paper, document, rows))
    write_json(folder / DOCUMENT, document)
