"""Lungs of films, found by a network: probabilities, regions for classifiers, masks for people.

Two results of one network, for two uses. The *region* (threshold, opening, dilation, at the network's resolution)
decides what a classifier sees; it has an exact twin in the exported graph. The *mask* (film's resolution, two
largest components, holes filled) is what `segment` writes and what the quality verdict is about.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.errors import WeightsError
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lungs.masks import MaskQuality, clean_mask, mask_quality
from covidcxr_tf.lungs.region import lung_region
from covidcxr_tf.models.files import load_model, model_digest
from covidcxr_tf.models.shipped import find_shipped, shipped_models


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
    """

    mask: np.ndarray
    region: np.ndarray
    probabilities: np.ndarray
    quality: MaskQuality


class LungFinder:
    """A loaded lung network.

    Attributes
    ----------
    name, sha256, path
        Which network this is.
    image : ImageConfig
        How a film becomes the network's input.
    """

    def __init__(self, model: keras.Model, image: ImageConfig, name: str, sha256: str, path: Path) -> None:
        self.model = model
        self.image = image
        self.name = name
        self.sha256 = sha256
        self.path = path
        self._call = tf.function(lambda batch: tf.sigmoid(model(batch, training=False)), reduce_retracing=True)

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
        return cls(model, image, str(facts.get("name", path.stem)), model_digest(path), path)

    def probabilities(self, film: np.ndarray) -> np.ndarray:
        """Return the lung probability, float32 (size, size), for a film float32 (H, W) in [0, 1]."""
        pixels = model_input(film, self.image)
        batch = pixels[None].astype(np.float32) / np.float32(255)
        return self._call(batch).numpy()[0, :, :, 0]

    def region(self, film: np.ndarray) -> np.ndarray:
        """Return the region that a classifier crops to, uint8 (size, size)."""
        return lung_region(self.probabilities(film))

    def segment(self, film: np.ndarray) -> Segmentation:
        """Return mask, region and quality for a film float32 (H, W) in [0, 1]."""
        probabilities = self.probabilities(film)
        rows, columns = film.shape
        mask = clean_mask((resize(probabilities, (rows, columns)) > 0.5).astype(np.uint8))
        return Segmentation(mask, lung_region(probabilities), probabilities, mask_quality(mask))

    def identity(self) -> dict[str, Any]:
        """Return name and hash, as stored with a model that was trained on these regions."""
        return {"name": self.name, "sha256": self.sha256}


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
    if (folder / "level_1" / "model.keras").is_file():
        raise WeightsError(
            "two-level run",
            where=folder,
            expected="one model",
            remedy=f"name a level's folder: {folder / 'level_1'} or {folder / 'level_2'}",
        )
    raise WeightsError("no model.keras in this folder", where=folder, expected="a run folder or a .keras file")
