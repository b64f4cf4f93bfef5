"""The out-of-domain gate: how far a film lies from those that a network was trained on, by what the network sees.

Features are the channel means of the layer that heat maps come from. Their main directions over the training films are
whitened; a film's distance is the mean square of its whitened coordinates plus that of what the directions leave over,
against the same on training films. The score is the distance over the limit, so that 1 is the limit itself: the 99th
percentile over validation films. A score is no probability, and a film below 1 may still be no chest film.

Source: Lee 2018, "A simple unified framework for detecting out-of-distribution samples", with one Gaussian for all
classes, since classes and hospitals go together here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import UsageError, WeightsError

Floats = npt.NDArray[np.float64]

#: Directions that are kept at most; the limit's percentile; films that a gate is fitted on at least.
DIRECTIONS, PERCENTILE, LEAST_FILMS = 32, 99.0, 20


@dataclass(frozen=True)
class Gate:
    """A fitted gate.

    Attributes
    ----------
    mean : float32 [F]
        Of the features over training films.
    directions : float32 [K, F]
        Main directions, each divided by the spread along it.
    residual : float
        Mean square of what the directions leave over, a feature, over training films.
    limit : float
        Distance that the score 1 stands for.
    layer : str
        Whose channel means the features are.
    films : int
        Training films that it was fitted on.
    """

    mean: npt.NDArray[np.float32]
    directions: npt.NDArray[np.float32]
    residual: float
    limit: float
    layer: str
    films: int

    def score(self, features: npt.NDArray[np.floating]) -> Floats:
        """Return the score of features (N, F): float64 [N], 0 and more, 1 at the limit."""
        return _distance(np.asarray(features, np.float64), self.mean, self.directions, self.residual) / self.limit

    def as_facts(self) -> dict[str, Any]:
        """Return the gate ready for JSON; arrays as base64 of little-endian float32."""
        return {
            "kind": "gaussian of channel means",
            "layer": self.layer,
            "mean": _pack(self.mean),
            "directions": _pack(self.directions),
            "features": int(self.mean.size),
            "residual": self.residual,
            "limit": self.limit,
            "films": self.films,
            "percentile": PERCENTILE,
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], where: object = None) -> Gate:
        """Return the gate that `as_facts` wrote.

        Raises
        ------
        WeightsError
            If it is not whole.
        """
        try:
            mean = _unpack(facts["mean"])
            directions = _unpack(facts["directions"]).reshape(-1, int(facts["features"]))
            gate = cls(
                mean,
                directions,
                float(facts["residual"]),
                float(facts["limit"]),
                str(facts["layer"]),
                int(facts.get("films", 0)),
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise WeightsError(f"holds a gate that is not whole: {fault}", where=where) from None
        if gate.mean.size != gate.directions.shape[1] or not gate.limit > 0 or not gate.residual > 0:
            raise WeightsError("holds a gate whose parts do not fit", where=where)
        return gate


def fit_gate(training: npt.NDArray[np.floating], validation: npt.NDArray[np.floating], layer: str) -> Gate:
    """Return the gate of features of training films (N, F), its limit by those of validation films (M, F).

    Raises
    ------
    UsageError
        With fewer than 20 films on either side, or features that do not differ.
    """
    if min(len(training), len(validation)) < LEAST_FILMS:
        raise UsageError(
            f"{len(training)} training and {len(validation)} validation films", expected=f"at least {LEAST_FILMS} each"
        )
    features = np.asarray(training, np.float64)
    mean = features.mean(axis=0)
    _, spreads, directions = np.linalg.svd(features - mean, full_matrices=False)
    spreads = spreads / np.sqrt(len(features) - 1)
    kept = int(min(DIRECTIONS, len(features) // 4, (spreads > 1e-6 * max(spreads[0], 1e-30)).sum()))
    if not kept:
        raise UsageError(
            "the features of the training films do not differ", expected="a network that tells films apart"
        )
    whitening = directions[:kept] / spreads[:kept, None]
    left = features - mean - (features - mean) @ directions[:kept].T @ directions[:kept]
    # Where nothing is left over, float32's rounding would be measured against itself.
    residual = max(float((left**2).mean()), 1e-6 * float(features.var(axis=0).mean()))
    gate = Gate(mean.astype(np.float32), whitening.astype(np.float32), residual, 1.0, layer, len(features))
    limit = float(np.percentile(gate.score(validation), PERCENTILE))
    return Gate(gate.mean, gate.directions, residual, limit, layer, len(features))


def _distance(
    features: Floats, mean: npt.NDArray[np.float32], directions: npt.NDArray[np.float32], residual: float
) -> Floats:
    centred = features - mean.astype(np.float64)
    rows = directions.astype(np.float64)
    coordinates = centred @ rows.T
    # The directions are orthogonal: rows / |row|^2 turns whitened coordinates back into features.
    left = centred - coordinates @ (rows / (rows**2).sum(axis=1, keepdims=True))
    return (coordinates**2).mean(axis=1) + (left**2).mean(axis=1) / residual


def _pack(array: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")


def _unpack(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
