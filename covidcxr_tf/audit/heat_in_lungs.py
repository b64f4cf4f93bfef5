"""Whether the model looks at the lungs."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.audit.evidence import Evidence, mean
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.classifiers import PatchModel
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.imaging.crop import region_at
from covidcxr_tf.progress import track

NAME = "heat_in_lungs"
#: Films that are looked at; each costs a backward pass.
FILMS = 60


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the mean share of Grad-CAM heat for the positive class inside the lungs, on films of that class.

    ``details`` holds the share of films whose hottest pixel lies in the lungs (pointing game), and what evenly spread
    heat would have: the lungs' share of the film.
    """
    rows = np.flatnonzero(evidence.is_positive & np.array([look.lungs is not None for look in evidence.looks]))
    if not len(rows):
        return limits.skip(NAME, f"there is no film of {evidence.positive} on which lungs were found")
    if len(rows) > FILMS:
        rows = np.sort(np.random.default_rng(evidence.seed).choice(rows, FILMS, replace=False))
    method = "patch-gradcam" if isinstance(evidence.loaded, PatchModel) else "gradcam"
    shares, points, areas, kept = [], [], [], []
    for row in track(rows, len(rows), "heat maps"):
        heat = explain_film(evidence.loaded, evidence.read(int(row)), method, evidence.positive, evidence.seed).heatmap
        lungs = evidence.looks[row].lungs
        if lungs is None or not heat.any():
            continue
        inside = region_at(lungs, heat.shape) > 0
        shares.append(float(heat[inside].sum(dtype=np.float64) / heat.sum(dtype=np.float64)))
        points.append(bool(inside.ravel()[int(heat.argmax())]))
        areas.append(float(inside.mean()))
        kept.append(row)
    if not kept:
        return limits.skip(NAME, f"on none of {len(rows)} films did anything speak for {evidence.positive}")
    patients = evidence.patients[kept]
    found = mean(np.array(shares), patients, evidence.resamples, evidence.seed)
    pointing = mean(np.array(points, float), patients, evidence.resamples, evidence.seed)
    sentence = (
        f"{100 * found['value']:.0f} % of what speaks for {evidence.positive} lies in the lungs, which make up "
        f"{100 * float(np.mean(areas)):.0f} % of the film; the strongest point lies there on "
        f"{100 * pointing['value']:.0f} % of films."
    )
    details = {
        "films": len(kept),
        "films_without_heat": len(rows) - len(kept),
        "method": method,
        "pointing_game": pointing,
        "evenly_spread": float(np.mean(areas)),
    }
    return limits.judge(NAME, "share of heat inside the lungs", found, sentence, details)
