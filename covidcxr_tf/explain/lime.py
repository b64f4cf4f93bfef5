"""LIME: super-pixels that speak for and against a class, through the `lime` package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from lime.lime_image import LimeImageExplainer
from skimage.segmentation import slic

Image = npt.NDArray[np.float32]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating]]
Report = Callable[[int], None]

SUPERPIXELS = 64
"""Super-pixels asked for: about 8 across and down, a lung is then some twenty; 1000 samples fit 64 weights well."""

SEGMENTED_SIDE = 160
"""Super-pixels (40 pixels wide at 320) are found on a copy of this side: a quarter of the time, borders 1 pixel off."""


@dataclass(frozen=True)
class LimeResult:
    """What LIME found for one class.

    Attributes
    ----------
    heat : ndarray of float32, (S, S)
        Each pixel holds the weight of its super-pixel: the change of the class's probability when it is shown and not
        hidden, positive for the class and negative against it.
    segments : ndarray of int32, (S, S)
        Super-pixel numbers 0 .. n-1.
    weights : ndarray of float64, (n,)
        Weight of each super-pixel.
    intercept : float
        The local linear model's probability with everything hidden.
    fit : float
        Weighted R^2 of the local linear model on its own samples; near 0 the weights mean little.
    samples : int
        Perturbed films, the film itself included.
    features : int
        How many super-pixels are to be shown.
    """

    heat: npt.NDArray[np.float32]
    segments: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]
    intercept: float
    fit: float
    samples: int
    features: int

    @property
    def top(self) -> tuple[int, ...]:
        """The `features` super-pixels of the largest absolute weight, largest first; those of weight 0 are left out."""
        order = np.argsort(-np.abs(self.weights), kind="stable")[: self.features]
        return tuple(int(index) for index in order if self.weights[index] != 0)


def lime(
    predict: Predict,
    image: Image,
    class_index: int,
    samples: int = 1000,
    seed: int = 0,
    features: int = 5,
    *,
    guide: int | None = None,
    superpixels: int = SUPERPIXELS,
    batch_size: int = 25,
    report: Report | None = None,
) -> LimeResult:
    """Return the weights of an image's super-pixels for one class.

    Super-pixels are hidden at random (each with probability 1/2) by their own mean colour, and a ridge regression,
    weighted by closeness to the film, is fitted to the class's probability.

    Parameters
    ----------
    predict : callable
        (N, S, S, C) float32 in [0, 1] -> probabilities (N, classes). The array it gets is written anew for each batch.
    image : ndarray of float32, (S, S, C)
        The network's input in [0, 1].
    class_index : int
        Column of `predict`.
    samples : int
        Perturbed films, at least 2; the default is the paper's.
    seed : int
        Of the random hiding; the same seed gives the same weights.
    features : int
        Super-pixels to show; the default is the paper's. All weights are kept.
    guide : int, optional
        Channel in which super-pixels are found; omitted: the mean of the channels.
    superpixels : int
        How many are asked for; SLIC gives about as many.
    batch_size : int
        Films in one call of `predict`. The default divides 1000, so that no smaller last batch is traced anew.
    report : callable, optional
        Called with the number of films just predicted.

    Returns
    -------
    LimeResult

    Raises
    ------
    ValueError
        If `samples` or `features` is too small.

    Source: Ribeiro 2016, "Why should I trust you?"; samples and features: Haghanifar 2020, section 4.
    Differs from paper: SLIC on one channel and not quickshift on colour, as our channels are copies of one grey film.
    """
    if samples < 2 or features < 1:
        raise ValueError(f"samples={samples} must be at least 2 and features={features} at least 1")
    segments = find_superpixels(image.mean(axis=2) if guide is None else image[..., guide], superpixels)
    explainer = _BatchExplainer(image, segments, seed, report)
    explanation = explainer.explain_instance(
        np.zeros((*segments.shape, 3), dtype=np.float32),  # not used: see _BatchExplainer
        predict,
        labels=(class_index,),
        top_labels=None,
        hide_color=0,
        num_samples=samples,
        batch_size=batch_size,
        segmentation_fn=lambda _: segments,
        random_seed=seed,
    )
    weights = np.zeros(segments.max() + 1)
    for index, weight in explanation.local_exp[class_index]:
        weights[index] = weight
    return LimeResult(
        heat=weights.astype(np.float32)[segments],
        segments=segments,
        weights=weights,
        intercept=float(explanation.intercept[class_index]),
        fit=float(explanation.score),
        samples=samples,
        features=features,
    )


def find_superpixels(plane: npt.NDArray[np.floating], superpixels: int = SUPERPIXELS) -> npt.NDArray[np.int32]:
    """Return super-pixel numbers 0 .. n-1 of a grey plane (S, S) in [0, 1], int32 (S, S), by SLIC on a reduced copy."""
    rows, columns = plane.shape
    share = min(1.0, SEGMENTED_SIDE / max(rows, columns))
    size = (max(1, round(columns * share)), max(1, round(rows * share)))
    reduced = cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    # compactness: grey levels lie in [0, 1], so the default of 10 would give squares whatever the film shows
    found = slic(reduced, n_segments=superpixels, compactness=0.1, channel_axis=None, start_label=0)
    numbers = np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int32)
    return cv2.resize(numbers.astype(np.float32), (columns, rows), interpolation=cv2.INTER_NEAREST).astype(np.int32)


def hidden_copy(image: Image, segments: npt.NDArray[np.int32]) -> Image:
    """Return `image` with every super-pixel in its own mean colour, float32 (S, S, C)."""
    flat = segments.ravel()
    counts = np.bincount(flat)
    sums = [np.bincount(flat, weights=image[..., channel].ravel()) for channel in range(image.shape[2])]
    means = np.stack([total / counts for total in sums], axis=1)
    return means.astype(np.float32)[segments]


class _BatchExplainer(LimeImageExplainer):
    """LIME's own explainer, but for the making of the perturbed films.

    The library copies the film once a sample and searches the whole label image once a hidden super-pixel: at 224x224
    that is as long as a small network's predictions, and it prints a bar that cannot be turned off. Here a batch is
    made in one buffer, with one look-up and one masked copy a sample (0.1 ms at 320x320x3), from as many channels as
    the network has. The random draws are the library's own, in its order, so that its results stand (a test compares).
    """

    def __init__(self, film: Image, segments: npt.NDArray[np.int32], seed: int, report: Report | None) -> None:
        # "none": with as many features as super-pixels every other way of choosing ends with all of them, later.
        super().__init__(feature_selection="none", random_state=np.random.RandomState(seed))
        self.film = np.ascontiguousarray(film, dtype=np.float32)
        self.hidden = hidden_copy(self.film, segments)
        self.report = report

    def data_labels(
        self,
        image: Any,
        fudged_image: Any,
        segments: npt.NDArray[np.int32],
        classifier_fn: Predict,
        num_samples: int,
        batch_size: int = 25,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return which super-pixels each sample shows (N, n) and the probabilities (N, classes)."""
        count = int(segments.max()) + 1
        shown = self.random_state.randint(0, 2, num_samples * count).reshape(num_samples, count)
        shown[0] = 1
        places = segments.astype(np.intp)
        buffer = np.empty((min(batch_size, num_samples), *self.film.shape), dtype=np.float32)
        probabilities = []
        for start in range(0, num_samples, batch_size):
            rows = shown[start : start + batch_size].astype(np.uint8)
            films = self._fill(buffer[: len(rows)], rows, places)
            probabilities.append(np.array(classifier_fn(films), dtype=np.float64))
            if self.report is not None:
                self.report(len(rows))
        return shown, np.concatenate(probabilities)

    def _fill(
        self, films: npt.NDArray[np.float32], rows: npt.NDArray[np.uint8], places: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float32]:
        """Make `films` (N, S, S, C) what `rows` (N, n) show, in place: fresh memory costs more than the copying."""
        for film, row in zip(films, rows):
            film[:] = self.hidden
            cv2.copyTo(self.film, np.take(row, places, mode="clip"), film)
        return films
