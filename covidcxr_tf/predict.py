"""A model and films to one predictions table, and which model a name or a run folder means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.classifiers import (
    NO_LUNGS,
    OK,
    UNREADABLE,
    FilmInput,
    LoadedModel,
    PatchModel,
    findings_called,
    to_probabilities,
)
from covidcxr_tf.combined import ENSEMBLE, EnsembleModel, HierarchicalModel, combine_levels, mean_of_logits
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.errors import ImageError, WeightsError
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.models.shipped import find_shipped, shipped_models
from covidcxr_tf.progress import Progress

__all__ = [
    "NO_LUNGS",
    "OK",
    "UNREADABLE",
    "Classifier",
    "EnsembleModel",
    "FilmInput",
    "HierarchicalModel",
    "LoadedModel",
    "PatchModel",
    "class_labels",
    "combine_levels",
    "decide",
    "describe",
    "holds_several",
    "load_any",
    "load_model_for_films",
    "mean_of_logits",
    "predict_manifest",
    "predictions_table",
    "read_card",
    "to_probabilities",
]

#: Shipped classifiers, in the order in which they are looked for when no model is named.
DEFAULTS = ("covid_classifier", "covid_cxnet")
#: What predicts films.
Classifier = LoadedModel | HierarchicalModel | EnsembleModel


def holds_several(path: str | Path) -> bool:
    """Return whether a run folder holds several models as one: an ensemble, or the two levels of a hierarchical one."""
    return _holds_levels(Path(path)) or (Path(path) / ENSEMBLE).is_file()


def _holds_levels(folder: Path) -> bool:
    return (folder / "level_1" / "model.keras").is_file()


def load_model_for_films(path: str | Path | None = None) -> LoadedModel:
    """Return the named classifier, or the shipped one.

    Raises
    ------
    WeightsError
        If there is none; the message says where shipped models are looked for. An ensemble is not one model.
    """
    if path is not None:
        if (Path(path) / ENSEMBLE).is_file():
            raise WeightsError(
                "an ensemble", where=path, expected="one model", remedy="name the folder of one of its members"
            )
        return LoadedModel.load(path)
    shipped = shipped_models()
    chosen = next((name for name in DEFAULTS if name in shipped), None)
    if chosen is None:
        raise WeightsError(
            f"no shipped classifier ({' or '.join(DEFAULTS)}) is here",
            remedy="name a run folder with --model, or set COVIDCXR_MODELS to the folder of shipped models",
        )
    return LoadedModel.load(find_shipped(chosen))


def load_any(path: str | Path | None = None) -> Classifier:
    """Return a classifier; a hierarchical one or an ensemble where the run folder holds two levels or members."""
    is_name = isinstance(path, str) and path in shipped_models()
    if path is not None and not is_name:
        folder = Path(path)
        if _holds_levels(folder):
            return HierarchicalModel(LoadedModel.load(folder / "level_1"), LoadedModel.load(folder / "level_2"), folder)
        if (folder / ENSEMBLE).is_file():
            return EnsembleModel.load(folder)
    return load_model_for_films(path)


def predict_manifest(
    loaded: Classifier, manifest: pd.DataFrame, *, batch_size: int = 16, skip_bad: int = 0
) -> tuple[pd.DataFrame, list[ImageError]]:
    """Return a predictions table for the films of a manifest, and the films that could not be read.

    Parameters
    ----------
    loaded : LoadedModel, HierarchicalModel or EnsembleModel
        A `PatchModel` adds the column ``patch_coverage``; a model of findings hands ``findings`` on.
    manifest : DataFrame
    batch_size : int
        Films held at a time at most; a model of large films is given fewer, one of patches a single one.
    skip_bad : int
        Unreadable films that are left out.

    Raises
    ------
    ImageError
        For an unreadable film beyond `skip_bad`.
    """
    progress = Progress(len(manifest), "predict")
    kept: list[int] = []
    parts: list[np.ndarray] = []
    columns: dict[str, list[np.ndarray]] = {}
    bad: list[ImageError] = []
    step = min(batch_size, loaded.films_at_once)
    for start in range(0, len(manifest), step):
        films = []
        for row in range(start, min(start + step, len(manifest))):
            progress.advance()
            try:
                films.append(read_image(film_path(manifest, row)))
                kept.append(row)
            except ImageError as fault:
                bad.append(fault)
                if len(bad) > skip_bad:
                    raise
        if films:
            probabilities, more = loaded.predict_with_columns(films)
            parts.append(probabilities)
            for name, values in more.items():
                columns.setdefault(name, []).append(values)
    progress.close()
    probabilities = np.concatenate(parts) if parts else np.zeros((0, len(loaded.classes)))
    table = predictions_table(manifest.iloc[kept], probabilities, loaded.classes, loaded.task)
    table = table.assign(**{name: np.concatenate(values) for name, values in columns.items()})
    if loaded.task == "multilabel":
        return table, bad
    return decide(table, loaded.classes, loaded.positive, getattr(loaded, "threshold", None)), bad


def predictions_table(
    rows: pd.DataFrame, probabilities: np.ndarray, classes: Iterable[str], task: str = "classification"
) -> pd.DataFrame:
    """Return the table of CONTRACT: path, patient_id, label, predicted, split, source, prob_<class>...

    ``predicted`` is the most probable class; with `task` ``"multilabel"`` the findings from a probability of 0.5 on,
    joined by ``|``, or ``No Finding``, and the films' own ``findings`` are handed on.
    """
    names = list(classes)
    table = pd.DataFrame({"path": rows["path"].to_numpy()})
    for column in ("patient_id", "label"):
        table[column] = rows[column].to_numpy() if column in rows else ""
    if task == "multilabel":
        table["predicted"] = [findings_called(values, names) for values in probabilities]
    else:
        table["predicted"] = [names[k] for k in probabilities.argmax(axis=1)]
    for column in ("split", "source", "original_label"):
        if column in rows or column != "original_label":
            table[column] = rows[column].to_numpy() if column in rows else ""
    if task == "multilabel" and "findings" in rows:
        table["findings"] = rows["findings"].to_numpy()
    for number, name in enumerate(names):
        table[f"prob_{name}"] = probabilities[:, number]
    return table


def decide(table: pd.DataFrame, classes: Sequence[str], positive: str, threshold: float | None) -> pd.DataFrame:
    """Return the table with ``predicted`` by the cut-off on `positive`; unchanged without one.

    A cut-off is for two classes: at or above it the film is called positive.
    """
    if threshold is None or len(classes) != 2:
        return table
    other = next(name for name in classes if name != positive)
    above = table[f"prob_{positive}"].to_numpy(np.float64) >= threshold
    return table.assign(predicted=np.where(above, positive, other))


def class_labels(loaded: Classifier) -> dict[str, list[str]]:
    """Return class -> the manifest labels that it takes in, as the model was trained."""
    if isinstance(loaded, HierarchicalModel):
        first, second = class_labels(loaded.first), class_labels(loaded.second)
        return {loaded.classes[0]: first[loaded.classes[0]], **second}
    return loaded.facts.get("class_labels") or {name: [name] for name in loaded.classes}


def describe(loaded: Classifier) -> str:
    """Return name, version folder and hash of a model in one line; of an ensemble, of each member."""
    parts = [loaded.name]
    if isinstance(loaded, EnsembleModel):
        return f"{loaded.name}, ensemble of {'; '.join(describe(member) for member in loaded.members)}"
    if isinstance(loaded, LoadedModel):
        version = loaded.path.parent.name
        parts.append(f"version {version}" if version.isdigit() else str(loaded.path))
        parts.append(f"sha256 {loaded.digest[:12]}")
    return ", ".join(parts)


def read_card(loaded: LoadedModel) -> dict[str, Any] | None:
    """Return ``card.json`` from beside the model, or None."""
    card = loaded.path.parent / "card.json"
    return json.loads(card.read_text()) if card.is_file() else None
