"""One film and one loaded model to one explanation, in the film's own pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.catalog import ARCHS, EXPLAINERS, nearest, resolve
from covidcxr_tf.errors import UsageError
from covidcxr_tf.lungs.region import Box, box_pixels, lungs_found, mask_film
from covidcxr_tf.models import cam_layer
from covidcxr_tf.models.files import model_digest

if TYPE_CHECKING:
    from covidcxr_tf.explain.lime import LimeResult, Report
    from covidcxr_tf.predict import LoadedModel

Film = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

NO_LUNGS = 2  # a film's status, as in predictions and in the SavedModel


@dataclass(frozen=True)
class Superpixels:
    """What LIME adds to a heat map, in the film's pixels.

    Attributes
    ----------
    segments : ndarray of int32, (H, W)
        Super-pixel numbers, -1 outside what the network saw.
    weights : ndarray of float64, (n,)
        Change of the target's probability when a super-pixel is shown and not hidden.
    top : tuple of int
        The super-pixels to show, largest absolute weight first.
    fit : float
        Weighted R^2 of the local linear model.
    samples : int
        Perturbed films.
    """

    segments: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]
    top: tuple[int, ...]
    fit: float
    samples: int

    @property
    def signed(self) -> Film:
        """Weight of each pixel's super-pixel, float32 (H, W); 0 outside."""
        return np.append(self.weights, 0.0).astype(np.float32)[self.segments]


@dataclass(frozen=True)
class Explanation:
    """Where on a film a model found its class.

    Attributes
    ----------
    heatmap : ndarray of float32, (H, W)
        Size of the film, in [0, 1], the largest value 1; 0 outside what the network saw. For LIME the weights that
        speak for the target; those against it are in `superpixels`.
    probabilities : dict of str to float
        Class -> probability, in the model's order.
    predicted : str
        The class that is called: by the model's cut-off where it has one, else the most probable one.
    called_from : dict
        ``class`` and ``probability`` of that cut-off; empty without one.
    target_class : str
        The class that the heat is about.
    method : str
        A name of ``covidcxr list explainers``.
    heat_in_lungs : float or None
        Share of the heat inside the lung region; None where `heat_in_lungs_why` says why.
    heat_in_lungs_why : str
        Empty, or why there is no share.
    lung_mask_quality : dict or None
        Verdict on the lung region.
    lung_region : ndarray of uint8, (H, W), or None
        0/1, where the model looked for lungs.
    lung_box : tuple of float
        Top, left, bottom, right of what the network saw, as fractions of the film.
    lungs_found : bool
        False where the model wants lungs and the whole film was used for want of them.
    model : dict
        ``name``, ``sha256`` and ``file`` (its name only) of the model.
    seed : int
    superpixels : Superpixels or None
        LIME only.
    """

    heatmap: Film
    probabilities: dict[str, float]
    predicted: str
    target_class: str
    method: str
    heat_in_lungs: float | None
    heat_in_lungs_why: str
    lung_mask_quality: dict[str, Any] | None
    lung_region: Mask | None
    lung_box: Box
    lungs_found: bool
    model: dict[str, Any]
    seed: int
    superpixels: Superpixels | None = None
    called_from: dict[str, Any] = field(default_factory=dict)


def explain_film(
    loaded: LoadedModel,
    film: Film,
    method: str = "gradcam",
    target: str | None = None,
    seed: int = 0,
    *,
    samples: int = 1000,
    features: int = 5,
    report: Report | None = None,
) -> Explanation:
    """Return where on `film` the model found a class.

    Parameters
    ----------
    loaded : LoadedModel
    film : ndarray of float32, (H, W)
        In [0, 1], bone bright.
    method : str
        A name of ``covidcxr list explainers``.
    target : str, optional
        The class to look into; omitted: the predicted one.
    seed : int
        Of LIME's random hiding; the other methods draw nothing.
    samples, features : int
        LIME only: perturbed films, super-pixels to show; the defaults are the paper's.
    report : callable, optional
        LIME only: called with the number of perturbed films just predicted.

    Returns
    -------
    Explanation

    Raises
    ------
    UsageError
        If there is no such method or class.
    RunFailed
        If the model gives a heat map that is not finite.
    """
    check_method(method)
    if target is not None:
        check_target(loaded, target)
    seen = loaded.film_input(film)
    image = seen.array.astype(np.float32) / np.float32(255)
    values = [float(value) for value in loaded.probabilities(image[None])[0]]
    predicted = loaded.decide(values)
    wanted = target or predicted
    index = loaded.classes.index(wanted)
    superpixels = None
    if method == "lime":
        found = _lime(loaded, image, index, samples, seed, features, report)
        superpixels = _superpixels_on_film(found, seen.box, film.shape)
        heatmap = _positive_share(superpixels.signed)
    else:
        heatmap = heat_on_film(_heat(loaded, method, image, index), seen.box, film.shape)
    region = None if seen.region is None else mask_film(np.ones_like(film), seen.region).astype(np.uint8)
    share, why = _heat_inside(heatmap, region, seen.region is not None and lungs_found(seen.region))
    return Explanation(
        heatmap=heatmap,
        probabilities=dict(zip(loaded.classes, values)),
        predicted=predicted,
        target_class=wanted,
        method=method,
        heat_in_lungs=share,
        heat_in_lungs_why=why,
        lung_mask_quality=seen.quality,
        lung_region=region,
        lung_box=seen.box,
        lungs_found=seen.status != NO_LUNGS,
        model=_identity(loaded),
        seed=seed,
        superpixels=superpixels,
        called_from=_called_from(loaded),
    )


def _called_from(loaded: LoadedModel) -> dict[str, Any]:
    if loaded.threshold is None or len(loaded.classes) != 2:
        return {}
    return {"class": loaded.positive, "probability": loaded.threshold}


def check_method(method: str) -> None:
    """Raise UsageError unless `method` is an explainer."""
    if method not in EXPLAINERS:
        raise UsageError(
            f"'{method}' is no explainer",
            expected=", ".join(EXPLAINERS),
            remedy=nearest(method, list(EXPLAINERS)) or None,
        )


def check_target(loaded: LoadedModel, target: str) -> None:
    """Raise UsageError unless `target` is a class of the model."""
    if target not in loaded.classes:
        raise UsageError(
            f"'{target}' is no class of the model {loaded.name}",
            expected=", ".join(loaded.classes),
            remedy=nearest(target, loaded.classes) or None,
        )


def heat_on_film(heat: npt.NDArray[np.floating], box: Box, shape: tuple[int, ...]) -> Film:
    """Return a map of the network's input put back where it came from, float32 (H, W), the largest value 1 or all 0.

    Parameters
    ----------
    heat : ndarray of float, (S, S)
        Not negative.
    box : tuple of float
        Top, left, bottom, right of what the network saw, as fractions of the film.
    shape : tuple of int
        (H, W) of the film.
    """
    rows, columns = _pixels(box, shape)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    placed = np.zeros(shape, dtype=np.float32)
    # Reducing with INTER_AREA keeps thin saliency from falling between two pixels; it enlarges as INTER_LINEAR does.
    way = cv2.INTER_AREA if size[0] < heat.shape[1] and size[1] < heat.shape[0] else cv2.INTER_LINEAR
    placed[rows, columns] = cv2.resize(heat.astype(np.float32), size, interpolation=way)
    return _positive_share(placed)


def heat_layer(loaded: LoadedModel) -> str | None:
    """Return the layer that the architecture's file names for heat maps, or None where the model has no such layer."""
    name = cam_layer(loaded.arch) if loaded.arch in ARCHS else None
    return name if any(layer.name == name for layer in loaded.model.layers) else None


def _heat(loaded: LoadedModel, method: str, image: npt.NDArray[np.float32], index: int) -> npt.NDArray[np.float32]:
    explain = resolve("explainers", method)
    independent = loaded.facts.get("task") == "multilabel"
    return explain(loaded.model, image, index, heat_layer(loaded), independent=independent)


def _lime(
    loaded: LoadedModel,
    image: npt.NDArray[np.float32],
    index: int,
    samples: int,
    seed: int,
    features: int,
    report: Report | None,
) -> LimeResult:
    channels = loaded.image.channels
    # Super-pixels of the bare film: equalised channels have borders that the equalisation drew.
    guide = channels.index("raw") if "raw" in channels else None
    explain = resolve("explainers", "lime")
    return explain(loaded.probabilities, image, index, samples, seed, features, guide=guide, report=report)


def _superpixels_on_film(found: LimeResult, box: Box, shape: tuple[int, ...]) -> Superpixels:
    rows, columns = _pixels(box, shape)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    segments = np.full(shape, -1, dtype=np.int32)
    numbers = cv2.resize(found.segments.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    segments[rows, columns] = numbers.astype(np.int32)
    return Superpixels(segments, found.weights, found.top, found.fit, found.samples)


def _pixels(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, left, bottom, right = box_pixels(box, shape)
    return slice(top, bottom), slice(left, right)


def _positive_share(heat: Film) -> Film:
    peak = float(heat.max(initial=0.0))
    return np.clip(heat / peak, 0.0, 1.0) if peak > 0 else np.zeros_like(heat)


def _heat_inside(heatmap: Film, region: Mask | None, found: bool) -> tuple[float | None, str]:
    if region is None:
        return None, "the model uses no lung mask"
    total = float(heatmap.sum(dtype=np.float64))
    if not found:
        return None, "no lungs were found"
    if total == 0:
        return None, "there is no heat: nothing on the film speaks for the class"
    return float((heatmap * region).sum(dtype=np.float64)) / total, ""


def _identity(loaded: LoadedModel) -> dict[str, Any]:
    path = Path(loaded.path)
    sha256 = _digest(path, path.stat().st_mtime_ns) if path.is_file() else None
    return {"name": loaded.name, "sha256": sha256, "file": path.name}


@functools.lru_cache(maxsize=8)
def _digest(path: Path, _changed: int) -> str:
    """Return the file's SHA-256; many films are explained by one model, whose file is read once."""
    return model_digest(path)
