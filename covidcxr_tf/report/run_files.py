"""The files of a run folder, each read and checked by itself."""

from __future__ import annotations

import json
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from covidcxr_tf.errors import DataError
from covidcxr_tf.evaluate.table import read_predictions

#: Where the report looks for figures that the run itself does not hold: ``covidcxr evaluate --out RUN/evaluation``.
EVALUATION = "evaluation"
#: Member of a model file that holds its facts, and how large one may be.
FACTS, FACTS_LARGEST = "covidcxr.json", 4_000_000
SPLITS = ("test", "validation")
Document = Mapping[str, Any]
Content = TypeVar("Content")


def metrics_of(folder: Path) -> tuple[dict[str, Document], str, Document | None]:
    """Return figures by split, the file of the test figures, and what ``folds`` holds."""
    own = optional(folder / "metrics.json", read_json) or {}
    if "n" in own:
        found = {str(own.get("split") or (own.get("splits") or ["test"])[0]): own}
    else:
        found = {split: own[split] for split in SPLITS if isinstance(own.get(split), dict)}
    if isinstance(own.get("validation"), dict):
        found.setdefault("validation", own["validation"])
    origin = "metrics.json"
    other = optional(folder / EVALUATION / "metrics.json", read_json)
    if "test" not in found and other and "n" in other:
        found["test"], origin = other, f"{EVALUATION}/metrics.json"
    return found, origin, own.get("folds")


def predictions_of(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the predictions tables of a folder by split; of masks, overlap tables."""
    found = {}
    for split in SPLITS:
        if (folder / f"predictions_{split}.csv").is_file():
            found[split] = read_predictions(folder / f"predictions_{split}.csv")
        elif (folder / f"overlap_{split}.csv").is_file():
            found[split] = read_csv(folder / f"overlap_{split}.csv")
    if "test" not in found and (folder / EVALUATION / "predictions.csv").is_file():
        found["test"] = read_predictions(folder / EVALUATION / "predictions.csv")
    return found


def audit_of(folder: Path, given: str | Path | None) -> Document | None:
    """Return the audit that was named, or the run's own; None where it has none."""
    if given is None:
        path = folder / "audit" / "audit.json"
        if not path.is_file():
            return None
    else:
        path = Path(given)
        path = path / "audit.json" if path.is_dir() else path
        if not path.is_file():
            raise DataError("there is no audit", where=given, remedy="make one with `covidcxr audit`")
    found = read_json(path)
    if not isinstance(found.get("findings"), list) or not isinstance(found.get("verdicts"), dict):
        raise DataError("is no audit", where=path, expected="audit.json of `covidcxr audit`")
    return found


def lineage_of(model: Path) -> list[Document]:
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


def optional(path: Path, read: Callable[[Path], Content]) -> Content | None:
    """Return what a file holds, or None where there is no such file."""
    return read(path) if path.is_file() else None


def read_json(path: Path) -> Document:
    """Return a JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"cannot be read as JSON: {cause}", where=path) from cause
    if not isinstance(found, dict):
        raise DataError("holds no table", where=path, expected="a JSON object")
    return found


def read_toml(path: Path) -> Document:
    """Return a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"cannot be read as TOML: {cause}", where=path) from cause


def read_csv(path: Path) -> pd.DataFrame:
    """Return a CSV file, every cell as text."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as cause:
        raise DataError(f"not readable as CSV: {cause}", where=path) from cause


def read_history(path: Path) -> pd.DataFrame:
    """Return ``history.csv`` with its numbers."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as cause:
        raise DataError(f"not readable as CSV: {cause}", where=path) from cause
