"""What explaining one film gives, in the film's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.lungs.region import Box

Film = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


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
class PatchFacts:
    """The patches behind a probabilistic Grad-CAM.

    Attributes
    ----------
    size, count, seed : int
        Rows and columns in pixels of the prepared film, how many, and the seed of their places: those that vote.
    coverage : float
        Share of the lung pixels that at least one patch covers, [0, 1]; elsewhere there is no heat.
    votes : dict of str to int
        Class -> patches that declare it.
    largest : float
        Largest heat before the map is scaled to 1: 1 means that every patch there was sure of the class.
    """

    size: int
    count: int
    seed: int
    coverage: float
    votes: dict[str, int]
    largest: float


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
        The class that is called: by the model's cut-off where it has one, else the most probable one. Of a model of
        findings: those called, joined by ``|``, or ``No Finding``.
    called_from : dict
        ``class`` and ``probability`` of that cut-off; empty without one.
    target_class : str
        The class that the heat is about; the method ``activation`` shows the same for every class.
    method : str
        A name of ``covidcxr list explainers``.
    heat_in_lungs : float or None
        Share of the heat inside the lung region; None where `heat_in_lungs_why` says why. Of ``activation`` it is the
        share before the heat outside the lungs was taken away.
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
    patches : PatchFacts or None
        Patch Grad-CAM only.
    lung_network : str
        Name of the lung network that `lung_region` comes from, where it is not the model's own; else empty.
    ood_score : float or None
        How far the film lies from the training films: above 1 it is out of domain. None where the model has no gate.
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
    patches: PatchFacts | None = None
    lung_network: str = ""
    ood_score: float | None = None

    @property
    def warnings(self) -> list[str]:
        """Return what a reader has to know before the probabilities, in sentences; empty where nothing is wrong."""
        found = []
        if not self.lungs_found:
            found.append("no lungs were found: the whole film was used")
        elif (self.lung_mask_quality or {}).get("verdict") == "poor":
            reasons = "; ".join((self.lung_mask_quality or {}).get("reasons", ()))
            found.append("the lungs that were found are doubtful" + (f": {reasons}" if reasons else ""))
        if self.ood_score is not None and self.ood_score > 1:
            found.append(f"unlike the training films (score {self.ood_score:.2f}, limit 1): perhaps no chest film")
        return found
