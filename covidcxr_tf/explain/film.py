"""One film and one loaded model to one explanation, in the film's own pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.catalog import ARCHS, EXPLAINERS, nearest, resolve
from covidcxr_tf.classifiers import NO_LUNGS, FilmInput, PatchModel
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.explain.explanation import Explanation, Film, Mask, PatchFacts, Superpixels
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.masks import mask_quality
from covidcxr_tf.lungs.region import Box, box_pixels, lungs_found, mask_film
from covidcxr_tf.models import cam_layer
from covidcxr_tf.models.files import model_digest
from covidcxr_tf.models.shipped import find_shipped

if TYPE_CHECKING:
    from covidcxr_tf.classifiers import LoadedModel
    from covidcxr_tf.explain.lime import LimeResult, Report
    from covidcxr_tf.explain.patch_gradcam import PatchMaps

__all__ = ["Explanation", "Film", "Superpixels", "check_method", "check_target", "explain_film", "heat_on_film"]

#: Methods that are about something else than one logit of a whole film.
LIME, PATCHES, ACTIVATION = "lime", "patch-gradcam", "activation"
#: The lung network that shows where the lungs are for a model that uses none.
LUNG_NETWORK = "lung_unet"


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
        The class to look into; omitted: the predicted one, of findings the most probable one.
    seed : int
        Of LIME's random hiding. Patch Grad-CAM takes the patches that vote, whose places hang on the model's own
        seed; the other methods draw nothing.
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
        If there is no such method or class, or the method is none for this model.
    RunFailed
        If the model gives a heat map that is not finite.
    """
    check_method(method)
    if target is not None:
        check_target(loaded, target)
    _check_fits(loaded, method)
    seen = loaded.film_input(film)
    image = seen.array.astype(np.float32) / np.float32(255)
    maps = _patch_maps(loaded, seen.array) if method == PATCHES else None
    found = loaded.probabilities(image[None])[0] if maps is None else maps.vote.probabilities
    values = [float(value) for value in found]
    # The class called; of findings, which are called in any number, the most probable one.
    wanted = target or (loaded.classes[int(np.argmax(values))] if _independent(loaded) else loaded.decide(values))
    index = loaded.classes.index(wanted)
    superpixels, patches = None, None
    if method == LIME:
        weights = _lime(loaded, image, index, samples, seed, features, report)
        superpixels = _superpixels_on_film(weights, seen.box, film.shape)
        heatmap = _positive_share(superpixels.signed)
    else:
        heat = _heat(loaded, method, image, index) if maps is None else maps.heat(index)
        heatmap = heat_on_film(heat, seen.box, film.shape)
        patches = None if maps is None else _patch_facts(loaded, maps, heat)
    lungs = _lungs(loaded, film, seen, method)
    share, why = _heat_inside(heatmap, lungs)
    if method == ACTIVATION and lungs.region is not None and lungs.found:
        heatmap = _positive_share(heatmap * lungs.region)
    return Explanation(
        heatmap=heatmap,
        probabilities=dict(zip(loaded.classes, values)),
        predicted=loaded.decide(values),
        target_class=wanted,
        method=method,
        heat_in_lungs=share,
        heat_in_lungs_why=why,
        lung_mask_quality=lungs.quality,
        lung_region=lungs.region,
        lung_box=seen.box,
        lungs_found=seen.status != NO_LUNGS,
        model=_identity(loaded),
        seed=seed,
        superpixels=superpixels,
        called_from=_called_from(loaded),
        patches=patches,
        lung_network=lungs.network,
    )


@dataclass(frozen=True)
class _Lungs:
    """Where a film's lungs are: the region in its pixels, None where nothing looked for them."""

    region: Mask | None
    found: bool
    quality: dict[str, Any] | None
    network: str = ""
    why: str = ""


def _lungs(loaded: LoadedModel, film: Film, seen: FilmInput, method: str) -> _Lungs:
    """Return the lungs that the model looked for; for ``activation`` else those that the shipped network finds."""
    region, quality, network = seen.region, seen.quality, ""
    if region is None and method == ACTIVATION:
        try:
            finder = _lung_finder(find_shipped(LUNG_NETWORK))
        except WeightsError:
            return _Lungs(None, False, None, why=f"the model uses no lung mask, and no {LUNG_NETWORK} is here")
        region, network = finder.region(film), finder.name
        quality = mask_quality(region).as_dict()
    if region is None:
        return _Lungs(None, False, None, why="the model uses no lung mask")
    inside = mask_film(np.ones_like(film), region).astype(np.uint8)
    return _Lungs(inside, lungs_found(region), quality, network)


@functools.lru_cache(maxsize=1)
def _lung_finder(path: Path) -> LungFinder:
    return LungFinder.load(path)


def _independent(loaded: LoadedModel) -> bool:
    return loaded.facts.get("task") == "multilabel"


def _check_fits(loaded: LoadedModel, method: str) -> None:
    """Raise UsageError where the method is for patches and the model for whole films, or the other way round."""
    if isinstance(loaded, PatchModel) == (method == PATCHES):
        return
    if method == PATCHES:
        raise UsageError(
            f"the model {loaded.name} sees whole films", expected="a model of patches", remedy="use --method gradcam"
        )
    raise UsageError(
        f"the model {loaded.name} sees patches, on which {method} says nothing of the film",
        expected=PATCHES,
        remedy=f"use --method {PATCHES}",
    )


def _patch_maps(loaded: LoadedModel, array: npt.NDArray[np.uint8]) -> PatchMaps:
    from covidcxr_tf.explain.patch_gradcam import patch_maps

    assert isinstance(loaded, PatchModel)
    return patch_maps(loaded.model, array, loaded.places(array), heat_layer(loaded))


def _patch_facts(loaded: LoadedModel, maps: PatchMaps, heat: npt.NDArray[np.float32]) -> PatchFacts:
    assert isinstance(loaded, PatchModel)
    votes = {name: int(number) for name, number in zip(loaded.classes, maps.vote.votes, strict=True)}
    largest = float(heat.max(initial=0.0))
    return PatchFacts(loaded.patch_size, loaded.votes, loaded.seed, maps.where.coverage, votes, largest)


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
    return explain(loaded.model, image, index, heat_layer(loaded), independent=_independent(loaded))


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


def _heat_inside(heatmap: Film, lungs: _Lungs) -> tuple[float | None, str]:
    if lungs.region is None:
        return None, lungs.why
    total = float(heatmap.sum(dtype=np.float64))
    if not lungs.found:
        return None, "no lungs were found"
    if total == 0:
        return None, "there is no heat: nothing on the film speaks for the class"
    return float((heatmap * lungs.region).sum(dtype=np.float64)) / total, ""


def _identity(loaded: LoadedModel) -> dict[str, Any]:
    path = Path(loaded.path)
    sha256 = _digest(path, path.stat().st_mtime_ns) if path.is_file() else None
    return {"name": loaded.name, "sha256": sha256, "file": path.name}


@functools.lru_cache(maxsize=8)
def _digest(path: Path, _changed: int) -> str:
    """Return the file's SHA-256; many films are explained by one model, whose file is read once."""
    return model_digest(path)
