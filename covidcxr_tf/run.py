"""The Python API: load a run, predict, explain, segment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import UsageError
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.predict import Classifier, HierarchicalModel, LoadedModel, class_labels, load_any
from covidcxr_tf.segmentation_files import films_of

Film = np.ndarray | str | Path


class Run:
    """A trained classifier, or several that predict as one: an ensemble, or the two levels of a hierarchical run.

    Attributes
    ----------
    classes : tuple of str
        In the order of the probabilities.
    config : dict
        What was stored with the model: architecture, image config, split and config digests. Of a hierarchical run,
        what was stored with its first level.
    """

    def __init__(self, loaded: Classifier) -> None:
        self._loaded = loaded
        self.classes = loaded.classes
        self.config = loaded.first.facts if isinstance(loaded, HierarchicalModel) else loaded.facts

    @property
    def model(self) -> Any:
        """The plain ``keras.Model``; its input is float32 (N, size, size, channels) in [0, 1]: films, or patches.

        Raises
        ------
        UsageError
            If the run is made of several models.
        """
        return self._one("model").model

    def predict(self, images: Film | Sequence[Film]) -> np.ndarray:
        """Return probabilities float64 (N, classes) of films: paths, or float32 (H, W) in [0, 1]."""
        films = [images] if isinstance(images, (np.ndarray, str, Path)) else images
        return self._loaded.predict([_film(image) for image in films])

    def explain(self, image: Film, method: str = "gradcam", target: str | None = None, seed: int = 0) -> Any:
        """Return an `Explanation`: heat map float32 (H, W) in [0, 1], probabilities, share of heat in the lungs.

        Raises
        ------
        UsageError
            If there is no such method or class, the method is none for this model, or the run is made of several.
        """
        from covidcxr_tf.explain.film import explain_film

        return explain_film(self._one("explain"), _film(image), method=method, target=target, seed=seed)

    def _one(self, what: str) -> LoadedModel:
        if isinstance(self._loaded, LoadedModel):
            return self._loaded
        folder = self._loaded.path if self._loaded.path.is_dir() else self._loaded.path.parent
        raise UsageError(
            f"'{what}' is of one model, and this run is made of several",
            where=folder,
            remedy="load the folder of one of them",
        )


def load(path: str | Path | None = None) -> Run:
    """Return the run in a run folder or ``.keras`` file, or the shipped classifier.

    A folder with an ensemble or with two levels is a run that predicts, and has no single model.

    Raises
    ------
    WeightsError
        If it is not there or not readable.
    """
    return Run(load_any(path))


def segment(film: Film, model: str | Path = "lung_unet") -> np.ndarray:
    """Return the lung mask, uint8 0/1 (H, W), of a film: a path, or float32 (H, W) in [0, 1]."""
    return LungFinder.load(model).segment(_film(film)).mask


def films_to_predict(loaded: Classifier, inputs: Sequence[str], *, root: str | None = None) -> pd.DataFrame:
    """Return the manifest of films, folders or a manifest, with the model's classes as labels; index 0..n-1."""
    if len(inputs) == 1 and Path(inputs[0]).suffix.lower() in (".csv", ".parquet", ".pq"):
        return _known_labels(load_manifest(inputs[0], root=root, require=("path",)), loaded)
    files = films_of(inputs, root)["file"]
    common = os.path.commonpath([os.path.dirname(file) for file in files])
    manifest = pd.DataFrame({"path": [os.path.relpath(file, common) for file in files]})
    manifest.attrs.update(root=common, manifest="the films named")
    return manifest


def _known_labels(films: pd.DataFrame, loaded: Classifier) -> pd.DataFrame:
    """Return the films with the model's class as label, empty where it has none; nothing is left out."""
    if "label" not in films:
        return films
    class_of = {label: name for name, labels in class_labels(loaded).items() for label in labels}
    known = films.assign(original_label=films["label"], label=films["label"].map(class_of).fillna(""))
    known.attrs = films.attrs
    return known


def _film(image: Film) -> np.ndarray:
    from covidcxr_tf.imaging.reading import read_image

    if isinstance(image, np.ndarray):
        if image.ndim != 2 or image.dtype != np.float32 or image.min() < 0 or image.max() > 1:
            raise UsageError(
                f"an array of shape {image.shape} and dtype {image.dtype}",
                expected="a film float32 (H, W) in [0, 1], or a path",
            )
        return image
    return read_image(image)
