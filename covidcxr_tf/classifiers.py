"""Trained classifiers with all that is needed to feed them films: the same path for pixels as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.schema import NO_FINDING
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.gate import Gate
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lung_finder import LungFinder, model_file
from covidcxr_tf.lungs.region import box_around
from covidcxr_tf.models.features import sides, with_channel_means
from covidcxr_tf.models.files import load_model, model_digest
from covidcxr_tf.models.shipped import shipped_versions
from covidcxr_tf.voting import Places, Vote, places, vote

#: Status of a film, as in the SavedModel's output.
OK, UNREADABLE, NO_LUNGS = 0, 1, 2
WHOLE_FILM = (0.0, 0.0, 1.0, 1.0)
#: A finding is called from this probability on.
FINDING_FROM = 0.5
#: Pixels of prepared films in one forward pass: sixteen films of 512 px, one of 1500 px; mirror images count too.
PIXELS_AT_ONCE = 16 * 512**2


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
    task : str
        ``classification`` or ``multilabel``.
    threshold : float or None
        Cut-off on the probability of `positive`, chosen on validation films; two classes only.
    temperature : float
        Logits are divided by it; fitted on validation films, 1 where it was not.
    name, arch, path
        Which model this is.
    lungs : LungFinder or None
        The lung network it was trained with.
    gate : Gate or None
        How far a film may lie from those it was trained on, where that was fitted.
    films_at_once : int
        Films that `predict` should be given together; bounds the memory.
    """

    def __init__(self, model: keras.Model, facts: dict[str, Any], path: Path, lungs: LungFinder | None) -> None:
        self.model = model
        self.facts = facts
        self.path = path
        self.lungs = lungs
        self.task = str(facts.get("task"))
        self.classes = tuple(facts["classes"])
        self.positive = str(facts.get("positive") or self.classes[-1])
        self.image = ImageConfig.model_validate(facts["image"])
        self.name = str(facts.get("name", path.stem))
        self.arch = str(facts.get("arch", ""))
        self.threshold: float | None = facts.get("threshold")
        self.temperature = float(facts.get("temperature") or 1.0)
        self.films_at_once = max(1, PIXELS_AT_ONCE // (sides(model) * self.image.size**2))
        reference = facts.get("reference_histogram")
        self.reference = None if reference is None else np.asarray(reference, dtype=np.int64)
        self.gate = Gate.from_facts(facts["gate"], path) if facts.get("gate") else None
        network = model if self.gate is None else with_channel_means(model, self.gate.layer)
        self._call = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)

    @classmethod
    def load(cls, path: str | Path) -> LoadedModel:
        """Return the classifier in a run folder, a ``.keras`` file or under a shipped name.

        One whose facts hold patches is a `PatchModel`.

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
        kind = PatchModel if sees_patches(facts) else LoadedModel
        return kind(model, facts, file, _lungs_of(facts, file))

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return model_digest(self.path)

    def film_input(self, film: np.ndarray) -> FilmInput:
        """Return the film (float32 (H, W), [0, 1]) as this network sees it.

        With ``lungs = "mask_whole"`` the box is the whole film, and what lies outside the lungs is black.
        """
        region, box, quality = None, None, None
        if self.lungs is not None:
            seen = self.lungs.look(film)
            region = seen.region
            box = box_around(region, seen.probabilities, self.image.lung_edges, self.image.lung_margin)
            quality = seen.quality.as_dict()
        status = NO_LUNGS if self.lungs is not None and box is None else OK
        if self.image.lungs == "mask_whole":
            box = None
        array = model_input(film, self.image, box=box, region=region, reference_histogram=self.reference)
        return FilmInput(array, box or WHOLE_FILM, region, status, quality)

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Return float64 (N, classes) for a batch float32 (N, size, size, channels) in [0, 1]."""
        return self.answer(batch)[0]

    def answer(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return `probabilities`, and the gate's score of each, float64 (N,): above 1 is out of domain; None without.

        One forward pass gives both.
        """
        found = self._call(batch.astype(np.float32))
        logits, means = (found, None) if self.gate is None else found
        probabilities = to_probabilities(np.asarray(logits, np.float64) / self.temperature, self.task)
        return probabilities, None if self.gate is None else self.gate.score(np.asarray(means))

    def decide(self, probabilities: np.ndarray | Sequence[float]) -> str:
        """Return the class of one film's probabilities (classes,), by the cut-off where there is one.

        Of a model of findings: those from a probability of 0.5 on, joined by ``|``, or ``No Finding``.
        """
        if self.task == "multilabel":
            return findings_called(probabilities, self.classes)
        if self.threshold is None or len(self.classes) != 2:
            return self.classes[int(np.argmax(probabilities))]
        place = self.classes.index(self.positive)
        return self.classes[place if probabilities[place] >= self.threshold else 1 - place]

    def predict(self, films: Sequence[np.ndarray]) -> np.ndarray:
        """Return float64 (N, classes) for films float32 (H, W) in [0, 1]."""
        return self.predict_with_columns(films)[0]

    def predict_with_columns(self, films: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return `predict`, and what else a predictions table says of each film: column -> values (N,)."""
        arrays = np.stack([self.film_input(film).array for film in films])
        probabilities, scores = self.answer(arrays.astype(np.float32) / np.float32(255))
        return probabilities, {} if scores is None else {"ood_score": scores}


class PatchModel(LoadedModel):
    """A classifier of patches, of which each film has many: they vote.

    Attributes
    ----------
    ...
        Those of `LoadedModel`.
    patch_size : int
        Rows and columns of a patch, in pixels of the prepared film.
    votes : int
        Patches a film, K.
    seed : int
        Of their places. The same for every film, so that a film's result hangs on no other film.

    Source: Oh 2020, section II.B.
    """

    def __init__(self, model: keras.Model, facts: dict[str, Any], path: Path, lungs: LungFinder | None) -> None:
        super().__init__(model, facts, path, lungs)
        patches = facts["patches"]
        self.patch_size, self.votes = int(patches["size"]), int(patches.get("votes", 100))
        self.seed = int(patches.get("seed", 0))
        self.films_at_once = 1
        if self.task == "multilabel":
            raise WeightsError(
                "is a model of findings on patches", where=path, expected="classes: a patch votes for one"
            )
        if self.patch_size > self.image.size:
            raise WeightsError(
                f"has patches of {self.patch_size} px", where=path, expected=f"at most image.size, {self.image.size}"
            )

    def places(self, array: np.ndarray) -> Places:
        """Return where the patches of a prepared film, uint8 (S, S, C), lie; its lungs are what is not black."""
        return places(array, self.patch_size, self.votes, self.seed)

    def vote(self, array: np.ndarray) -> Vote:
        """Return what the patches of a prepared film, uint8 (S, S, C), say."""
        return vote(array, self.places(array), self.patch_probabilities)

    def patch_probabilities(self, patches: np.ndarray) -> np.ndarray:
        """Return float64 (N, classes) for patches float32 (N, size, size, channels) in [0, 1]."""
        return super().answer(patches)[0]

    def answer(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return `probabilities` of whole prepared films, and None: a film's patches have no one distance."""
        return self.probabilities(batch), None

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Return float64 (N, classes) for whole prepared films float32 (N, S, S, channels) in [0, 1]: their votes."""
        levels = np.rint(batch * 255).astype(np.uint8)
        return np.stack([self.vote(array).probabilities for array in levels])

    def predict_with_columns(self, films: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return `predict`, and ``patch_coverage``: the share of each film's lung pixels that its patches cover."""
        found = [self.vote(self.film_input(film).array) for film in films]
        columns = {"patch_coverage": np.array([one.coverage for one in found])}
        return np.stack([one.probabilities for one in found]), columns


def sees_patches(facts: dict[str, Any]) -> bool:
    """Return whether a model's facts say that it sees patches of films."""
    return bool((facts.get("patches") or {}).get("size"))


def to_probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return softmax over classes; sigmoid for findings; and for one logit (1 - p, p)."""
    if task == "multilabel":
        return 1 / (1 + np.exp(-logits))
    if logits.shape[1] == 1:
        positive = 1 / (1 + np.exp(-logits))
        return np.concatenate([1 - positive, positive], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def findings_called(probabilities: np.ndarray | Sequence[float], findings: Sequence[str]) -> str:
    """Return the findings from a probability of 0.5 on, joined by ``|``, or ``No Finding``."""
    called = [name for name, value in zip(findings, probabilities, strict=True) if value >= FINDING_FROM]
    return "|".join(called) or NO_FINDING


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
