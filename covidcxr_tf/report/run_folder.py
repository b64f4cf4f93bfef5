"""A run folder as a report reads it: whatever files are there, each checked, nothing computed twice."""

from __future__ import annotations

import json
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import CovidcxrError, DataError, ManifestError
from covidcxr_tf.evaluate.subgroups import with_manifest
from covidcxr_tf.evaluate.table import read_predictions, sources
from covidcxr_tf.report.disguise import Disguise, Names

#: One of these makes a folder a run (or a shipped model).
MARKS = ("config.toml", "card.json", "metrics.json")
PARTS = ("fold", "phase", "level", "member")
#: Where the report looks for figures that the run itself does not hold: ``covidcxr evaluate --out RUN/evaluation``.
EVALUATION = "evaluation"
#: Member of a model file that holds its facts, and how large one may be.
FACTS, FACTS_LARGEST = "covidcxr.json", 4_000_000
SPLITS = ("test", "validation")
Document = Mapping[str, Any]
Content = TypeVar("Content")


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
    metrics, origin, folds = _metrics(place)
    run = RunFolder(
        folder=place,
        config=_optional(place / "config.toml", _toml),
        card=_optional(place / "card.json", _json),
        environment=_optional(place / "environment.json", _json),
        metrics=metrics,
        metrics_from=origin,
        predictions=_predictions(place),
        split=_optional(place / "split.csv", _csv),
        history=_optional(place / "history.csv", _history),
        lineage=_lineage(place / "model.keras"),
        audit=_audit(place, audit),
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


def _metrics(folder: Path) -> tuple[dict[str, Document], str, Document | None]:
    """Return figures by split, the file of the test figures, and what ``folds`` holds."""
    own = _optional(folder / "metrics.json", _json) or {}
    if "n" in own:
        found = {str(own.get("split") or (own.get("splits") or ["test"])[0]): own}
    else:
        found = {split: own[split] for split in SPLITS if isinstance(own.get(split), dict)}
    if isinstance(own.get("validation"), dict):
        found.setdefault("validation", own["validation"])
    origin = "metrics.json"
    other = _optional(folder / EVALUATION / "metrics.json", _json)
    if "test" not in found and other and "n" in other:
        found["test"], origin = other, f"{EVALUATION}/metrics.json"
    return found, origin, own.get("folds")


def _predictions(folder: Path) -> dict[str, pd.DataFrame]:
    found = {}
    for split in SPLITS:
        if (folder / f"predictions_{split}.csv").is_file():
            found[split] = read_predictions(folder / f"predictions_{split}.csv")
        elif (folder / f"overlap_{split}.csv").is_file():
            found[split] = _csv(folder / f"overlap_{split}.csv")
    if "test" not in found and (folder / EVALUATION / "predictions.csv").is_file():
        found["test"] = read_predictions(folder / EVALUATION / "predictions.csv")
    return found


def _audit(folder: Path, given: str | Path | None) -> Document | None:
    if given is None:
        path = folder / "audit" / "audit.json"
        if not path.is_file():
            return None
    else:
        path = Path(given)
        path = path / "audit.json" if path.is_dir() else path
        if not path.is_file():
            raise DataError("there is no audit", where=given, remedy="make one with `covidcxr audit`")
    found = _json(path)
    if not isinstance(found.get("findings"), list) or not isinstance(found.get("verdicts"), dict):
        raise DataError("is no audit", where=path, expected="audit.json of `covidcxr audit`")
    return found


def _lineage(model: Path) -> list[Document]:
    """Return the training records within a model file; nothing where there is none."""
    if not model.is_file():
        return []
    try:
        with zipfile.ZipFile(model) as archive:
            if FACTS not in archive.namelist() or archive.getinfo(FACTS).file_size > FACTS_LARGEST:
                return []
            records = json.loads(archive.read(FACTS)).get("history", [])
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as cause:
        raise DataError(f"the model file cannot be read: {cause}", where=model) from cause
    return [
        {
            **{key: record.get(key) for key in ("name", "config_digest", "split_digest")},
            "patients": len(record["patients"]),
        }
        for record in records
    ]


def _optional(path: Path, read: Callable[[Path], Content]) -> Content | None:
    return read(path) if path.is_file() else None


def _json(path: Path) -> Document:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"cannot be read as JSON: {cause}", where=path) from cause
    if not isinstance(found, dict):
        raise DataError("holds no table", where=path, expected="a JSON object")
    return found


def _toml(path: Path) -> Document:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"cannot be read as TOML: {cause}", where=path) from cause


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as cause:
        raise DataError(f"not readable as CSV: {cause}", where=path) from cause


def _history(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as cause:
        raise DataError(f"not readable as CSV: {cause}", where=path) from cause
