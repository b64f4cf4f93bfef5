"""What the checks share: the films that are judged, the model's answers on them, and on changed copies of them.

A changed film is seen through the box and lung region of the film as it was: a check that hides the lungs asks what the
network reads elsewhere, not whether the lung network still finds what is no longer there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from covidcxr_tf.classifiers import NO_LUNGS, LoadedModel
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.evaluate.bootstrap import bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import RankedScores, areas
from covidcxr_tf.evaluate.table import UNKNOWN_SOURCE, sources
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.region import Box, lungs_found
from covidcxr_tf.progress import Progress

Film = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """Where the model looks on one film, and where its lungs are.

    Attributes
    ----------
    box : tuple of float or None
        What the model cuts out, as fractions of the film; None: the whole film.
    region : ndarray or None
        uint8 0/1, the lung region that the model itself found; None where it looks for none.
    lungs : ndarray or None
        uint8 0/1, the lungs by the model's network or the shipped one; None where none were found.
    """

    box: Box | None
    region: npt.NDArray[np.uint8] | None
    lungs: npt.NDArray[np.uint8] | None


Change = Callable[[Film, Look], Film]


@dataclass(frozen=True)
class Retrained:
    """What the model's own recipe gave, trained anew on changed films.

    Attributes
    ----------
    scores : ndarray
        float64 [N]: probability of the positive class of each judged film, changed as those trained on.
    epochs, films : int
        That it was trained for at most, and on.
    """

    scores: Floats
    epochs: int
    films: int


@dataclass
class Evidence:
    """Films, a model and its answers.

    Attributes
    ----------
    loaded : LoadedModel
        Of classes, not of findings.
    films : DataFrame
        The films that are judged, labels already the model's classes; index 0..n-1.
    manifest : DataFrame
        All films of the manifest, for the checks that need no network.
    finder : LungFinder or None
        Finds lungs where the model has no lung network of its own.
    resamples, seed : int
        Of the bootstrap over patients and of everything drawn.
    retrained : mapping
        Check -> scores of a network trained anew for it, where that was asked for.
    """

    loaded: LoadedModel
    films: pd.DataFrame
    manifest: pd.DataFrame
    finder: LungFinder | None = None
    resamples: int = 2000
    seed: int = 0
    retrained: Mapping[str, Retrained] = field(default_factory=dict)
    _answers: dict[str, Floats] = field(default_factory=dict)

    @property
    def positive(self) -> str:
        """Return the class that every AUC is about."""
        return self.loaded.positive

    @cached_property
    def is_positive(self) -> Bools:
        """Return which judged films are of the positive class, bool [N]."""
        return (self.films["label"] == self.positive).to_numpy(bool)

    @cached_property
    def patients(self) -> npt.NDArray[Any]:
        """Return the patient of each judged film [N]."""
        return self.films["patient_id"].to_numpy(str)

    @cached_property
    def sources(self) -> npt.NDArray[np.object_]:
        """Return the source of each judged film [N], ``unknown`` where it is not given."""
        return sources(self.films)

    @property
    def knows_sources(self) -> bool:
        """Return whether the films are known to be of more than one source."""
        return len(set(self.sources) - {UNKNOWN_SOURCE}) > 1

    def read(self, row: int) -> Film:
        """Return one judged film, float32 (H, W) in [0, 1]."""
        return read_image(film_path(self.films, row))

    @cached_property
    def looks(self) -> list[Look]:
        """Return where the model looks on each film; runs the lung network once a film."""
        return [self.look(self.read(row)) for row in self._rows("find lungs")]

    def _rows(self, label: str) -> Iterator[int]:
        progress = Progress(len(self.films), label)
        for row in range(len(self.films)):
            yield row
            progress.advance()
        progress.close()

    def look(self, film: Film) -> Look:
        """Return where the model looks on a film; runs the lung network."""
        seen = self.loaded.film_input(film)
        region = seen.region
        lungs = region if region is not None or self.finder is None else self.finder.region(film)
        whole = seen.status == NO_LUNGS or self.loaded.image.lungs in ("none", "mask_whole")
        found = lungs is not None and lungs_found(lungs)
        return Look(None if whole else seen.box, region, lungs if found else None)

    def prepared(self, film: Film, look: Look) -> npt.NDArray[np.uint8]:
        """Return a film, changed or not, as the network sees it: uint8 (size, size, channels)."""
        return model_input(
            film, self.loaded.image, box=look.box, region=look.region, reference_histogram=self.loaded.reference
        )

    def probabilities(self, name: str = "unchanged", change: Change | None = None) -> Floats:
        """Return float64 (N, classes) of all judged films after a change; answered once a `name`."""
        if name not in self._answers:
            self._answers[name] = self._through(self.loaded.probabilities, name, change)
        return self._answers[name]

    def scores(self, name: str = "unchanged", change: Change | None = None) -> Floats:
        """Return the probability of the positive class of all judged films [N]."""
        return self.probabilities(name, change)[:, self.loaded.classes.index(self.positive)]

    def called(self, probabilities: Floats) -> npt.NDArray[np.str_]:
        """Return the class that the model calls each film [N]."""
        return np.array([self.loaded.decide(one) for one in probabilities])

    @cached_property
    def features(self) -> Floats:
        """Return what the model's last layer is given, averaged over rows and columns: float64 (N, features)."""
        last = self.loaded.model.layers[-1].input
        pooled = keras.layers.GlobalAveragePooling2D()(last) if len(last.shape) == 4 else last
        network = keras.Model(self.loaded.model.inputs, pooled)
        call = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)
        return self._through(call, "features", None)

    def _through(self, call: Callable[[npt.NDArray[np.float32]], Any], label: str, change: Change | None) -> Floats:
        """Return what `call` gives for all judged films, batch by batch: (n, size, size, channels) in [0, 1]."""
        looks, parts = self.looks, []
        batch: list[npt.NDArray[np.uint8]] = []
        for row in self._rows(label):
            film = self.read(row)
            changed = film if change is None else np.clip(change(film, looks[row]), 0, 1).astype(np.float32)
            batch.append(self.prepared(changed, looks[row]))
            if len(batch) == self.loaded.films_at_once or row == len(self.films) - 1:
                parts.append(np.asarray(call(np.stack(batch).astype(np.float32) / np.float32(255)), np.float64))
                batch = []
        return np.concatenate(parts)

    def area(self, scores: Floats, chosen: Bools | None = None) -> dict[str, Any]:
        """Return the AUC of the positive class against the rest, with its interval over patients."""
        picked = np.ones(len(scores), bool) if chosen is None else chosen
        return area(scores[picked], self.is_positive[picked], self.patients[picked], self.resamples, self.seed)

    def share(self, hits: Bools) -> dict[str, Any]:
        """Return the share of judged films that are hits, with its interval over patients."""
        return mean(hits.astype(np.float64), self.patients, self.resamples, self.seed)


def area(
    scores: Floats, is_positive: Bools, patients: npt.NDArray[Any], resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return an AUC as ``metrics.json`` has it: ``value``, ``ci95`` by patient, ``why`` where undefined."""
    if is_positive.all() or not is_positive.any():
        missing = "positive" if not is_positive.any() else "other"
        return {"value": None, "ci95": None, "why": f"there is no {missing} film among {len(is_positive)}"}
    ranked = RankedScores.sort(scores, is_positive)
    samples = bootstrap(lambda weights: {"auc": ranked.areas(weights)[0]}, patients, resamples, seed)["auc"]
    return describe(areas(scores, is_positive)[0], samples, patient_numbers(patients)[1])


def mean(values: Floats, patients: npt.NDArray[Any], resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Return the mean of values, one a film, with its interval over patients."""
    if not len(values):
        return {"value": None, "ci95": None, "why": "there is no such film"}

    def statistics(weights: Floats) -> dict[str, Floats]:
        return {"mean": (weights * values[:, None]).sum(axis=0) / weights.sum(axis=0)}

    samples = bootstrap(statistics, patients, resamples, seed)["mean"]
    return describe(float(values.mean()), samples, patient_numbers(patients)[1])
