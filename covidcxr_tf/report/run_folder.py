"""A run folder as a report reads it: whatever files are there, each checked, nothing computed twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import CovidcxrError, DataError, ManifestError
from covidcxr_tf.evaluate.subgroups import with_manifest
from covidcxr_tf.evaluate.table import sources
from covidcxr_tf.report.disguise import Disguise, Names
from covidcxr_tf.report.run_files import (
    EVALUATION,
    SPLITS,
    Document,
    audit_of,
    lineage_of,
    metrics_of,
    optional,
    predictions_of,
    read_csv,
    read_history,
    read_json,
    read_toml,
)

#: One of these makes a folder a run (or a shipped model).
MARKS = ("config.toml", "card.json", "metrics.json")
PARTS = ("fold", "phase", "level", "member")


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds.

    Attributes
    ----------
    folder : Path
    config, card, environment, audit : mapping or None
        None where there is no such file.
    metrics : mapping
        Split -> its figures, for ``test`` and ``validation`` as far as there are any.
    metrics_from : str
        File that the test figures come from.
    predictions : dict of DataFrame
        Split -> predictions table (of masks: overlap table).
    split, history : DataFrame or None
    lineage : list of mapping
        What the weights were trained on, the run itself last: name, digests, number of patients.
    parts : list of RunFolder
        Folds, phases, levels, members.
    names : Names
        How films and sources may be called.
    """

    folder: Path
    config: Document | None
    card: Document | None
    environment: Document | None
    metrics: Mapping[str, Document]
    metrics_from: str
    predictions: Mapping[str, pd.DataFrame]
    split: pd.DataFrame | None
    history: pd.DataFrame | None
    lineage: list[Document]
    audit: Document | None = None
    folds: Document | None = None
    parts: list[RunFolder] = field(default_factory=list)
    names: Names = field(default_factory=Names)

    @property
    def task(self) -> str:
        """``classification``, ``hierarchical``, ``multilabel`` or ``segmentation``."""
        model = (self.card or {}).get("model", {})
        return str(model.get("task") or (self.config or {}).get("task") or "classification")

    @property
    def title(self) -> str:
        """The model's name."""
        given = (self.card or {}).get("model", {}).get("name") or (self.config or {}).get("name")
        return str(given or ("a run" if self.names.anonymous else self.folder.resolve().name))

    @property
    def judged(self) -> tuple[str, Document] | None:
        """The split whose figures come first, and these: test where there are test films."""
        return next(((split, self.metrics[split]) for split in SPLITS if split in self.metrics), None)

    @property
    def table(self) -> pd.DataFrame | None:
        """The predictions that `judged` is about."""
        return None if self.judged is None else self.predictions.get(self.judged[0])

    @property
    def synthetic(self) -> bool:
        """Whether the films are drawn by a program."""
        return bool((self.card or {}).get("facts", {}).get("synthetic"))


def read_run(
    folder: str | Path, *, audit: str | Path | None = None, anonymous: bool = False, parts: bool = True
) -> RunFolder:
    """Return what a run folder, or the folder of a shipped model, holds.

    Parameters
    ----------
    folder : str or path
    audit : str or path, optional
        ``audit.json`` or its folder; by default ``audit/audit.json`` of the run, where it is.
    anonymous : bool
        Films and sources get other names.
    parts : bool
        Whether to read the folders inside.

    Raises
    ------
    DataError
        If there is no such folder, it is no run, or a file in it is damaged; an audit that was named but is not there.
    """
    place = Path(folder)
    if not place.is_dir():
        raise DataError("there is no such folder", where=folder, expected="a run folder")
    if not any((place / mark).is_file() for mark in MARKS):
        raise DataError("is no run folder", where=folder, expected=f"a folder with {' or '.join(MARKS)}")
    metrics, origin, folds = metrics_of(place)
    run = RunFolder(
        folder=place,
        config=optional(place / "config.toml", read_toml),
        card=optional(place / "card.json", read_json),
        environment=optional(place / "environment.json", read_json),
        metrics=metrics,
        metrics_from=origin,
        predictions=predictions_of(place),
        split=optional(place / "split.csv", read_csv),
        history=optional(place / "history.csv", read_history),
        lineage=lineage_of(place / "model.keras"),
        audit=audit_of(place, audit),
        folds=folds,
        names=Names(),
    )
    names = _disguise(run) if anonymous else Names()
    inside = [_renamed(read_run(part, parts=False), names) for part in part_folders(place)] if parts else []
    return _renamed(run, names, inside)


def part_folders(folder: Path) -> list[Path]:
    """Return the folders of folds, phases, levels and members, in their order."""
    found = [
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name.partition("_")[0] in PARTS and (path / "config.toml").is_file()
    ]
    return sorted(found, key=lambda path: (path.name.partition("_")[0], len(path.name), path.name))


def manifest_of(run: RunFolder, manifest: str | Path | None = None, root: str | Path | None = None) -> pd.DataFrame:
    """Return the films' manifest, by default the one that the config names.

    Raises
    ------
    ManifestError
        If it is not there or cannot be used.
    """
    data = (run.config or {}).get("data", {})
    path = manifest or data.get("manifest")
    if not path or not Path(path).is_file():
        raise ManifestError("the run's manifest is not there", where=path or "config.toml, data.manifest")
    return load_manifest(path, root=root or data.get("root") or None)


def with_people(run: RunFolder, table: pd.DataFrame) -> pd.DataFrame:
    """Return a predictions table with age, sex and view of the manifest; as it is where there is no manifest."""
    try:
        return with_manifest(table, manifest_of(run), ("sex", "age", "view"))
    except CovidcxrError:
        return table


def _renamed(run: RunFolder, names: Names, parts: list[RunFolder] | None = None) -> RunFolder:
    """Return the run with its sources called as `names` says."""
    tables = {split: _with_sources(table, names) for split, table in run.predictions.items()}
    return RunFolder(
        **{
            **{name: getattr(run, name) for name in run.__dataclass_fields__},
            "metrics": {split: _with_source_keys(found, names) for split, found in run.metrics.items()},
            "predictions": tables,
            "split": None if run.split is None else _with_sources(run.split, names),
            "names": names,
            "parts": parts or [],
        }
    )


def _with_sources(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    if not names.anonymous or "source" not in table:
        return table
    return table.assign(source=[names.source(name) for name in sources(table)])


def _with_source_keys(metrics: Document, names: Names) -> Document:
    if not names.anonymous:
        return metrics
    changed = dict(metrics)
    for key in ("by_source", "within_source"):
        if key in metrics:
            changed[key] = {names.source(name): value for name, value in metrics[key].items()}
    changed.pop("subgroups", None)  # made anew of the renamed table
    return changed


def _disguise(run: RunFolder) -> Disguise:
    known: set[str] = set()
    for table in (*run.predictions.values(), run.split):
        known |= set(sources(table)) if table is not None and "source" in table else set()
    for metrics in run.metrics.values():
        known |= set(metrics.get("by_source", {})) | set(metrics.get("within_source", {}))
    known |= {str(name) for name in (run.config or {}).get("data", {}).get("sources", [])}
    for finding in (run.audit or {}).get("findings", []):
        known |= set((finding.get("details") or {}).get("sources", {}) or {})
    files = [run.folder / f"predictions_{split}.csv" for split in SPLITS]
    files += [run.folder / "split.csv", run.folder / EVALUATION / "predictions.csv", run.folder / "metrics.json"]
    key = next((path.read_bytes() for path in files if path.is_file()), b"nothing to name")
    return Disguise(key, known)
