"""A model and films to probabilities: the same path for pixels as in training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.errors import ImageError, WeightsError
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lung_finder import LungFinder, model_file
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.region import lung_box
from covidcxr_tf.models.files import load_model, model_digest
from covidcxr_tf.models.shipped import find_shipped, shipped_models, shipped_versions
from covidcxr_tf.progress import Progress

#: Shipped classifiers, in the order in which they are looked for when no model is named.
DEFAULTS = ("covid_classifier", "covid_cxnet")
#: Status of a film, as in the SavedModel's output.
OK, UNREADABLE, NO_LUNGS = 0, 1, 2


@dataclass(frozen=True)
class FilmInput:
    """One film as a network sees it.

    Attributes
    ----------
    array : ndarray
        uint8 (size, size, channels); the network's input is this / 255.
    box : tuple of float
        Top, left, bottom, right of what was cut out, as fractions of the film.
    region : ndarray or None
        uint8 0/1, the lung region at the lung network's resolution.
    status : int
        0, or 2 where no lungs were found and the whole film is used.
    quality : dict or None
        Verdict on the lung region.
    """

    array: np.ndarray
    box: tuple[float, float, float, float]
    region: np.ndarray | None
    status: int
    quality: dict[str, Any] | None


class LoadedModel:
    """A classifier with all that is needed to feed it films.

    Attributes
    ----------
    model : keras.Model
        Gives float32 logits.
    classes : tuple of str
        In the order of the probabilities.
    positive : str
        The class that cut-offs are about.
    image : ImageConfig
        How a film becomes the input.
    facts : dict
        What was stored with the model.
    threshold : float or None
        Cut-off on the probability of `positive`, chosen on validation films; two classes only.
    name, arch, path
        Which model this is.
    lungs : LungFinder or None
        The lung network it was trained with.
    """

    def __init__(self, model: keras.Model, facts: dict[str, Any], path: Path, lungs: LungFinder | None) -> None:
        self.model = model
        self.facts = facts
        self.path = path
        self.lungs = lungs
        self.classes = tuple(facts["classes"])
        self.positive = str(facts.get("positive") or self.classes[-1])
        self.image = ImageConfig.model_validate(facts["image"])
        self.name = str(facts.get("name", path.stem))
        self.arch = str(facts.get("arch", ""))
        self.threshold: float | None = facts.get("threshold")
        reference = facts.get("reference_histogram")
        self.reference = None if reference is None else np.asarray(reference, dtype=np.int64)
        self._call = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)

    @classmethod
    def load(cls, path: str | Path) -> LoadedModel:
        """Return the classifier in a run folder, a ``.keras`` file or under a shipped name.

        Raises
        ------
        WeightsError
            If it is not there, not readable, no classifier, or its lung network is missing or another one.
        """
        file = model_file(path)
        model, facts = load_model(file)
        if facts.get("task") not in ("classification", "multilabel"):
            raise WeightsError(
                f"is a model for {facts.get('task', 'an unknown task')}", where=file, expected="a classifier"
            )
        return cls(model, facts, file, _lungs_of(facts, file))

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return model_digest(self.path)

    def film_input(self, film: np.ndarray) -> FilmInput:
        """Return the film (float32 (H, W), [0, 1]) as this network sees it."""
        region, box, quality = None, None, None
        if self.lungs is not None:
            region = self.lungs.region(film)
            box = lung_box(region, self.image.lung_margin)
            quality = mask_quality(region).as_dict()
        array = model_input(film, self.image, box=box, region=region, reference_histogram=self.reference)
        status = NO_LUNGS if self.lungs is not None and box is None else OK
        return FilmInput(array, box or (0.0, 0.0, 1.0, 1.0), region, status, quality)

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Return float64 (N, classes) for a batch float32 (N, size, size, channels) in [0, 1]."""
        logits = self._call(batch.astype(np.float32)).numpy().astype(np.float64)
        return to_probabilities(logits, str(self.facts.get("task")))

    def decide(self, probabilities: np.ndarray | Sequence[float]) -> str:
        """Return the class of one film's probabilities (classes,), by the cut-off where there is one."""
        if self.threshold is None or len(self.classes) != 2:
            return self.classes[int(np.argmax(probabilities))]
        place = self.classes.index(self.positive)
        return self.classes[place if probabilities[place] >= self.threshold else 1 - place]

    def predict(self, films: Sequence[np.ndarray]) -> np.ndarray:
        """Return float64 (N, classes) for films float32 (H, W) in [0, 1]."""
        arrays = np.stack([self.film_input(film).array for film in films])
        return self.probabilities(arrays.astype(np.float32) / np.float32(255))


class HierarchicalModel:
    """Two classifiers in a row: the first sorts out its first class, the second divides the rest.

    Source: Haghanifar 2020, section 5.3 ("hierarchical approach"), Table 5. Probabilities multiply along the tree,
    so they sum to 1: the paper only takes the class at the end of the path, which is the same wherever both
    levels are sure.
    """

    def __init__(self, first: LoadedModel, second: LoadedModel, path: Path) -> None:
        self.first, self.second, self.path = first, second, path
        self.classes = (first.classes[0], *second.classes)
        self.positive = second.positive
        self.name = path.name
        self.image = first.image

    def predict(self, films: Sequence[np.ndarray]) -> np.ndarray:
        """Return float64 (N, classes) for films float32 (H, W) in [0, 1]."""
        return combine_levels(self.first.predict(films), self.second.predict(films))


def combine_levels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return P(class) from P(first class | film), P(rest | film) and P(class | rest), (N, 1 + second classes)."""
    return np.concatenate([first[:, :1], first[:, 1:].sum(axis=1, keepdims=True) * second], axis=1)


def to_probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return softmax over classes; sigmoid for findings; and for one logit (1 - p, p)."""
    if task == "multilabel":
        return 1 / (1 + np.exp(-logits))
    if logits.shape[1] == 1:
        positive = 1 / (1 + np.exp(-logits))
        return np.concatenate([1 - positive, positive], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def load_model_for_films(path: str | Path | None = None) -> LoadedModel:
    """Return the named classifier, or the shipped one.

    Raises
    ------
    WeightsError
        If there is none; the message says where shipped models are looked for.
    """
    if path is not None:
        return LoadedModel.load(path)
    shipped = shipped_models()
    chosen = next((name for name in DEFAULTS if name in shipped), None)
    if chosen is None:
        raise WeightsError(
            f"no shipped classifier ({' or '.join(DEFAULTS)}) is here",
            remedy="name a run folder with --model, or set COVIDCXR_MODELS to the folder of shipped models",
        )
    return LoadedModel.load(find_shipped(chosen))


def load_any(path: str | Path | None = None) -> LoadedModel | HierarchicalModel:
    """Return a classifier, or a hierarchical one where the run folder holds two levels."""
    is_name = isinstance(path, str) and path in shipped_models()
    if path is not None and not is_name and (Path(path) / "level_1" / "model.keras").is_file():
        folder = Path(path)
        return HierarchicalModel(LoadedModel.load(folder / "level_1"), LoadedModel.load(folder / "level_2"), folder)
    return load_model_for_films(path)


def predict_manifest(
    loaded: LoadedModel | HierarchicalModel, manifest: pd.DataFrame, *, batch_size: int = 16, skip_bad: int = 0
) -> tuple[pd.DataFrame, list[ImageError]]:
    """Return a predictions table for the films of a manifest, and the films that could not be read.

    Raises
    ------
    ImageError
        For an unreadable film beyond `skip_bad`.
    """
    progress = Progress(len(manifest), "predict")
    kept: list[int] = []
    parts: list[np.ndarray] = []
    bad: list[ImageError] = []
    for start in range(0, len(manifest), batch_size):
        films = []
        for row in range(start, min(start + batch_size, len(manifest))):
            progress.advance()
            try:
                films.append(read_image(film_path(manifest, row)))
                kept.append(row)
            except ImageError as fault:
                bad.append(fault)
                if len(bad) > skip_bad:
                    raise
        if films:
            parts.append(loaded.predict(films))
    progress.close()
    probabilities = np.concatenate(parts) if parts else np.zeros((0, len(loaded.classes)))
    table = predictions_table(manifest.iloc[kept], probabilities, loaded.classes)
    return decide(table, loaded.classes, loaded.positive, getattr(loaded, "threshold", None)), bad


def predictions_table(rows: pd.DataFrame, probabilities: np.ndarray, classes: Iterable[str]) -> pd.DataFrame:
    """Return the table of CONTRACT: path, patient_id, label, predicted, split, source, prob_<class>..."""
    names = list(classes)
    table = pd.DataFrame({"path": rows["path"].to_numpy()})
    for column in ("patient_id", "label"):
        table[column] = rows[column].to_numpy() if column in rows else ""
    table["predicted"] = [names[k] for k in probabilities.argmax(axis=1)]
    for column in ("split", "source", "original_label"):
        if column in rows or column != "original_label":
            table[column] = rows[column].to_numpy() if column in rows else ""
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


def _lungs_of(facts: dict[str, Any], file: Path) -> LungFinder | None:
    """Return the lung network a classifier was trained with; another one would move every crop."""
    wanted = facts.get("lung_model")
    if not wanted or ImageConfig.model_validate(facts["image"]).lungs == "none":
        return None
    beside = file.parent / "lung_model.keras"
    for candidate in (beside, *shipped_versions(wanted["name"])):
        if candidate.is_file() and model_digest(candidate) == wanted["sha256"]:
            return LungFinder.load(candidate)
    raise WeightsError(
        f"was trained with the lung network {wanted['name']}, sha256 {wanted['sha256'][:12]}, which is not here",
        where=file,
        expected="the same lung network",
        remedy=f"put it beside the model as {beside.name}",
    )


def class_labels(loaded: LoadedModel | HierarchicalModel) -> dict[str, list[str]]:
    """Return class -> the manifest labels that it takes in, as the model was trained."""
    if isinstance(loaded, HierarchicalModel):
        first, second = class_labels(loaded.first), class_labels(loaded.second)
        return {loaded.classes[0]: first[loaded.classes[0]], **second}
    return loaded.facts.get("class_labels") or {name: [name] for name in loaded.classes}


def describe(loaded: LoadedModel | HierarchicalModel) -> str:
    """Return name, version folder and hash of a model in one line."""
    parts = [loaded.name]
    if isinstance(loaded, LoadedModel):
        version = loaded.path.parent.name
        parts.append(f"version {version}" if version.isdigit() else str(loaded.path))
        parts.append(f"sha256 {loaded.digest[:12]}")
    return ", ".join(parts)


def read_card(loaded: LoadedModel) -> dict[str, Any] | None:
    """Return ``card.json`` from beside the model, or None."""
    card = loaded.path.parent / "card.json"
    return json.loads(card.read_text()) if card.is_file() else None
