"""Lungs of films, found by a network: probabilities, regions for classifiers, masks for people.

Two results of one network, for two uses. The *region* (threshold, opening, dilation, at the network's resolution)
decides what a classifier sees; it has an exact twin in the exported graph. The *mask* (film's resolution, two
largest components, holes filled) is what `segment` writes and what the quality verdict is about.

A network may also find the heart and tell left from right (`covidcxr_tf.lungs.anatomy.CLASSES`). Its lungs are then
left or right lung without the heart, in probability the sum of the two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lungs.anatomy import CLASSES, HEART, LEFT_LUNG, RIGHT_LUNG
from covidcxr_tf.lungs.masks import SECOND_LUNG_SHARE, MaskQuality, clean_mask, mask_quality
from covidcxr_tf.lungs.posture import Posture, judged, posture
from covidcxr_tf.lungs.region import lung_region
from covidcxr_tf.models.files import load_model, model_digest
from covidcxr_tf.models.shipped import find_shipped, newest_version, shipped_models

NEIGHBOURS = np.ones((3, 3), int)  # pixels that touch at a corner belong together


@dataclass(frozen=True)
class Segmentation:
    """What the lung network says of one film.

    Attributes
    ----------
    mask : ndarray
        uint8 0/1, size of the film, cleaned.
    region : ndarray
        uint8 0/1, size of the network's input: what classifiers crop to.
    probabilities : ndarray
        float32, size of the network's input.
    quality : MaskQuality
        Verdict on the mask.
    anatomy : ndarray or None
        uint8, size of the film: the number in `covidcxr_tf.lungs.anatomy.CLASSES` of each pixel, cleaned. None from a
        network that finds lungs alone.
    """

    mask: np.ndarray
    region: np.ndarray
    probabilities: np.ndarray
    quality: MaskQuality
    anatomy: np.ndarray | None = None

    @property
    def heart(self) -> np.ndarray | None:
        """Return the heart's mask, uint8 0/1 in the size of the film; None from a network that finds lungs alone."""
        return None if self.anatomy is None else (self.anatomy == HEART).astype(np.uint8)


class Look(NamedTuple):
    """What a classifier needs to know of a film's lungs.

    Attributes
    ----------
    region : uint8 (size, size), 0 or 1
    quality : MaskQuality
        Of the region.
    probabilities : float32 (size, size), [0, 1]
        What the region was made of.
    """

    region: np.ndarray
    quality: MaskQuality
    probabilities: np.ndarray


class LungFinder:
    """A loaded lung network.

    Attributes
    ----------
    name, sha256, path
        Which network this is.
    image : ImageConfig
        How a film becomes the network's input.
    classes : tuple of str
        What its channels are; empty: one channel, lungs.
    """

    def __init__(
        self,
        model: keras.Model,
        image: ImageConfig,
        name: str,
        sha256: str,
        path: Path,
        classes: Sequence[str] = (),
    ) -> None:
        channels = model.output_shape[-1]
        if channels > 1 and tuple(classes) != CLASSES:
            raise WeightsError(
                f"has {channels} channels, named {', '.join(classes) or 'nothing'}",
                where=path,
                expected=f"one, for lungs, or {', '.join(CLASSES)}",
            )
        self.model = model
        self.image = image
        self.name = name
        self.sha256 = sha256
        self.path = path
        self.classes = CLASSES if channels > 1 else ()
        shares = tf.nn.softmax if channels > 1 else tf.sigmoid
        self._call = tf.function(lambda batch: shares(model(batch, training=False)), reduce_retracing=True)

    @classmethod
    def load(cls, name: str | Path = "lung_unet") -> LungFinder:
        """Return the network of a shipped name, a run folder or a ``.keras`` file.

        Raises
        ------
        WeightsError
            If it is not there, not readable, or no lung network.
        """
        path = model_file(name)
        model, facts = load_model(path)
        if facts.get("task") != "segmentation":
            raise WeightsError(
                f"is a model for {facts.get('task', 'an unknown task')}", where=path, expected="a lung network"
            )
        image = ImageConfig.model_validate(facts["image"])
        name = str(facts.get("name", path.stem))
        return cls(model, image, name, model_digest(path), path, facts.get("classes") or ())

    @property
    def finds_heart(self) -> bool:
        """Return whether the network also finds the heart and tells left from right."""
        return bool(self.classes)

    def probabilities(self, film: np.ndarray) -> np.ndarray:
        """Return the lung probability, float32 (size, size), for a film float32 (H, W) in [0, 1]."""
        return self._lung_shares(self._shares(model_input(film, self.image)))

    def region(self, film: np.ndarray) -> np.ndarray:
        """Return the region that a classifier crops to, uint8 (size, size)."""
        return lung_region(self.probabilities(film))

    def look(self, film: np.ndarray) -> Look:
        """Return the region that a classifier crops to, and how likely it is to be right."""
        levels = model_input(film, self.image)
        probabilities = self._lung_shares(self._shares(levels))
        region = lung_region(probabilities)
        return Look(region, mask_quality(region, probabilities, self._posture(region, levels)), probabilities)

    def segment(self, film: np.ndarray) -> Segmentation:
        """Return mask, region, quality and, where the network knows it, anatomy for a film float32 (H, W) in [0, 1]."""
        levels = model_input(film, self.image)
        shares = self._shares(levels)
        probabilities = self._lung_shares(shares)
        region = lung_region(probabilities)
        if self.finds_heart:
            anatomy = _clean_anatomy(_enlarged(shares, film.shape))
            mask = (anatomy >= LEFT_LUNG).astype(np.uint8)
        else:
            anatomy = None
            mask = clean_mask((resize(probabilities, (film.shape[0], film.shape[1])) > 0.5).astype(np.uint8))
        quality = mask_quality(mask, probabilities, self._posture(region, levels))
        return Segmentation(mask, region, probabilities, quality, anatomy)

    def anatomy(self, film: np.ndarray) -> np.ndarray:
        """Return the number in `covidcxr_tf.lungs.anatomy.CLASSES` of each pixel of a film float32 (H, W) in [0, 1].

        Returns
        -------
        ndarray
            uint8 (H, W), cleaned: the heart is its largest part, the lungs are the two largest of theirs, holes filled.

        Raises
        ------
        UsageError
            If the network finds lungs alone.
        """
        found = self.segment(film).anatomy
        if found is None:
            raise UsageError(f"the network {self.name} finds lungs alone", expected=f"one for {', '.join(CLASSES)}")
        return found

    def _shares(self, levels: np.ndarray) -> np.ndarray:
        """Return the probability of each channel, float32 (size, size, channels)."""
        return self._call(levels[None].astype(np.float32) / np.float32(255)).numpy()[0]

    def _posture(self, region: np.ndarray, levels: np.ndarray) -> Posture | None:
        """Return None without a lung pixel, or for a network whose films the measures were not made for."""
        return posture(region, levels[..., 0]) if judged(self.image) and region.any() else None

    def _lung_shares(self, shares: np.ndarray) -> np.ndarray:
        return shares[..., LEFT_LUNG] + shares[..., RIGHT_LUNG] if self.finds_heart else shares[..., 0]

    def identity(self) -> dict[str, Any]:
        """Return name and hash, as stored with a model that was trained on these regions."""
        return {"name": self.name, "sha256": self.sha256}


def _enlarged(shares: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    size = (shape[0], shape[1])
    return np.stack([resize(shares[..., channel], size) for channel in range(shares.shape[-1])], axis=-1)


def _clean_anatomy(shares: np.ndarray) -> np.ndarray:
    """Return the class numbers uint8 (H, W) of probabilities (H, W, 4), as people draw them: without specks and holes.

    Lungs are cleaned together and then shared out. A connected part is one lung: a patch that the network takes for the
    other side is given to it, unless that patch is large enough to be the other lung, touching. Two parts are kept: the
    heart cuts no more than 2 % off a drawn lung.
    """
    called = shares.argmax(axis=-1)
    heart = _largest_part(called == HEART)
    lungs = (clean_mask((called >= LEFT_LUNG).astype(np.uint8)) > 0) & ~heart
    found = np.where(lungs, np.where(shares[..., LEFT_LUNG] >= shares[..., RIGHT_LUNG], LEFT_LUNG, RIGHT_LUNG), 0)
    labels, count = ndimage.label(lungs, structure=NEIGHBOURS)
    for part in range(1, count + 1):
        sides = np.bincount(found[labels == part], minlength=len(CLASSES))[LEFT_LUNG:]
        if sides.min() < SECOND_LUNG_SHARE * sides.max():
            found[labels == part] = LEFT_LUNG + sides.argmax()
    found[heart] = HEART
    return found.astype(np.uint8)


def _largest_part(inside: np.ndarray) -> np.ndarray:
    """Return the largest connected part (8 neighbours) of a mask, its holes filled, bool (H, W)."""
    labels, count = ndimage.label(ndimage.binary_fill_holes(inside), structure=NEIGHBOURS)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else np.zeros(inside.shape, bool)


def model_file(name: str | Path) -> Path:
    """Return the ``.keras`` file behind a shipped name, a run folder or a path.

    Text of one word (no separator, no suffix) that is a shipped model's name is that model, whatever lies in the
    working folder; ``./NAME`` or a `Path` is a path first.

    Raises
    ------
    WeightsError
        If nothing is there, or the folder holds the two levels of a hierarchical run.
    """
    path = Path(name)
    # Of the text: a Path has lost the "./" that says that a folder is meant.
    bare = "/" not in str(name) and os.sep not in str(name) and path.suffix == ""
    if bare and isinstance(name, str) and name in shipped_models():
        return find_shipped(name)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return path
    if bare:
        return find_shipped(str(name))
    raise WeightsError("no such file", where=path, expected="a run folder, a .keras file or a shipped model's name")


def _in_folder(folder: Path) -> Path:
    if (folder / "model.keras").is_file():
        return folder / "model.keras"
    version = newest_version(folder)  # saved_models/NAME
    if version is not None:
        return version
    if (folder / "level_1" / "model.keras").is_file():
        raise WeightsError(
            "two-level run",
            where=folder,
            expected="one model",
            remedy=f"name a level's folder: {folder / 'level_1'} or {folder / 'level_2'}",
        )
    if (folder / "fold_1" / "model.keras").is_file():
        raise WeightsError(
            "a run of folds, which has one model a fold",
            where=folder,
            expected="one model",
            remedy=f"name a fold's folder, as {folder / 'fold_1'}",
        )
    raise WeightsError("no model.keras in this folder", where=folder, expected="a run folder or a .keras file")
