"""One film and one loaded model to one explanation, in the film's own pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.catalog import EXPLAINERS, nearest, resolve
from covidcxr_tf.classifiers import NO_LUNGS, FilmInput, PatchModel
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.explain.explanation import Explanation, Film, Mask, PatchFacts, Superpixels
from covidcxr_tf.explain.heat_share import heat_share
from covidcxr_tf.explain.placing import heat_on_film, positive_share, superpixels_on_film
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.region import lungs_found, mask_film
from covidcxr_tf.models import features
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
    _check(loaded, method, target)
    seen = loaded.film_input(film)
    said = _ask(loaded, seen, method)
    wanted = target or said.called
    hiding = _Hiding(samples, seed, features, report)
    found = _look(loaded, seen, said, method, loaded.classes.index(wanted), film.shape, hiding)
    lungs = _lungs(loaded, film, seen, method)
    heatmap = found.heatmap
    if method == ACTIVATION and lungs.region is not None and lungs.found:
        heatmap = positive_share(heatmap * lungs.region)
    return Explanation(
        heatmap=heatmap,
        target_class=wanted,
        method=method,
        seed=seed,
        **_around(loaded, seen, said, found, lungs),
    )


@dataclass(frozen=True)
class _Said:
    """What the model says of a film: its input, float32 in [0, 1], the probabilities, the class to look into."""

    image: npt.NDArray[np.float32]
    probabilities: list[float]
    called: str
    maps: PatchMaps | None
    ood_score: float | None = None


@dataclass(frozen=True)
class _Hiding:
    """How LIME hides super-pixels."""

    samples: int
    seed: int
    features: int
    report: Report | None


@dataclass(frozen=True)
class _Found:
    """Where a class was found, in the film's pixels."""

    heatmap: Film
    superpixels: Superpixels | None = None
    patches: PatchFacts | None = None


def _ask(loaded: LoadedModel, seen: FilmInput, method: str) -> _Said:
    image = seen.array.astype(np.float32) / np.float32(255)
    maps = _patch_maps(loaded, seen.array) if method == PATCHES else None
    scores = None
    if maps is None:
        (found,), scores = loaded.answer(image[None])
    else:
        found = maps.vote.probabilities
    values = [float(value) for value in found]
    # The class called; of findings, which are called in any number, the most probable one.
    called = loaded.classes[int(np.argmax(values))] if _independent(loaded) else loaded.decide(values)
    return _Said(image, values, called, maps, None if scores is None else float(scores[0]))


def _look(
    loaded: LoadedModel,
    seen: FilmInput,
    said: _Said,
    method: str,
    index: int,
    shape: tuple[int, ...],
    hiding: _Hiding,
) -> _Found:
    """Return where the class number `index` was found on a film of `shape`."""
    if method == LIME:
        superpixels = superpixels_on_film(_lime(loaded, said.image, index, hiding), seen.box, shape)
        return _Found(positive_share(superpixels.signed), superpixels)
    heat = _heat(loaded, method, said.image, index) if said.maps is None else said.maps.heat(index)
    patches = None if said.maps is None else _patch_facts(loaded, said.maps, heat)
    return _Found(heat_on_film(heat, seen.box, shape), patches=patches)


def _around(loaded: LoadedModel, seen: FilmInput, said: _Said, found: _Found, lungs: _Lungs) -> dict[str, Any]:
    """Return what an explanation holds beside the heat: probabilities, the call, lungs and model."""
    share, why = _heat_inside(found.heatmap, lungs)
    return {
        "heat_in_lungs": share,
        "heat_in_lungs_why": why,
        "superpixels": found.superpixels,
        "patches": found.patches,
        "probabilities": dict(zip(loaded.classes, said.probabilities)),
        "predicted": loaded.decide(said.probabilities),
        "lung_mask_quality": lungs.quality,
        "lung_region": lungs.region,
        "lung_box": seen.box,
        "lungs_found": seen.status != NO_LUNGS,
        "model": _identity(loaded),
        "called_from": _called_from(loaded),
        "lung_network": lungs.network,
        "ood_score": said.ood_score,
    }


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
        looked, network = finder.look(film), finder.name
        region, quality = looked.region, looked.quality.as_dict()
    if region is None:
        return _Lungs(None, False, None, why="the model uses no lung mask")
    inside = mask_film(np.ones_like(film), region).astype(np.uint8)
    return _Lungs(inside, lungs_found(region), quality, network)


@functools.lru_cache(maxsize=1)
def _lung_finder(path: Path) -> LungFinder:
    return LungFinder.load(path)


def _independent(loaded: LoadedModel) -> bool:
    return loaded.facts.get("task") == "multilabel"


def _check(loaded: LoadedModel, method: str, target: str | None) -> None:
    """Raise UsageError for an unknown method or class, and for a method of patches on whole films or the reverse."""
    check_method(method)
    if target is not None:
        check_target(loaded, target)
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


def heat_layer(loaded: LoadedModel) -> str | None:
    """Return the layer that heat maps are drawn from, or None where the model has no such layer."""
    return features.heat_layer(loaded.model, loaded.arch)


def _heat(loaded: LoadedModel, method: str, image: npt.NDArray[np.float32], index: int) -> npt.NDArray[np.float32]:
    explain = resolve("explainers", method)
    return explain(loaded.model, image, index, heat_layer(loaded), independent=_independent(loaded))


def _lime(loaded: LoadedModel, image: npt.NDArray[np.float32], index: int, hiding: _Hiding) -> LimeResult:
    channels = loaded.image.channels
    # Super-pixels of the bare film: equalised channels have borders that the equalisation drew.
    guide = channels.index("raw") if "raw" in channels else None
    explain = resolve("explainers", "lime")
    asked = (hiding.samples, hiding.seed, hiding.features)
    return explain(loaded.probabilities, image, index, *asked, guide=guide, report=hiding.report)


def _heat_inside(heatmap: Film, lungs: _Lungs) -> tuple[float | None, str]:
    if lungs.region is None:
        return None, lungs.why
    if not lungs.found:
        return None, "no lungs were found"
    share = heat_share(heatmap, lungs.region)
    return share, "" if share is not None else "there is no heat: nothing on the film speaks for the class"


def _identity(loaded: LoadedModel) -> dict[str, Any]:
    path = Path(loaded.path)
    sha256 = _digest(path, path.stat().st_mtime_ns) if path.is_file() else None
    return {"name": loaded.name, "sha256": sha256, "file": path.name}


@functools.lru_cache(maxsize=8)
def _digest(path: Path, _changed: int) -> str:
    """Return the file's SHA-256; many films are explained by one model, whose file is read once."""
    return model_digest(path)
