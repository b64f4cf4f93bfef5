"""What a table says of one class beyond ranking it: cut-offs, predictive values, calibration line, net benefit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.evaluate.bootstrap import LEVEL, Floats
from covidcxr_tf.evaluate.calibration import brier_parts, calibration_line, reliability
from covidcxr_tf.evaluate.decision import decision_curve
from covidcxr_tf.evaluate.predictive_values import predictive_values
from covidcxr_tf.evaluate.proportions import clustered_share, share_metric
from covidcxr_tf.evaluate.thresholds import FIXED


def operating_point(
    scores: Floats,
    is_positive: npt.NDArray[np.bool_],
    patient_ids: npt.NDArray[Any],
    cut: float,
    prevalence: float | None = None,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return what a cut-off does on these films.

    Parameters
    ----------
    scores : float64 [films]
    is_positive : bool [films]
    patient_ids : object [films]
    cut : float
        Films with at least this are called positive.
    prevalence : float, optional
        Where the test is to be used; without it there are no predictive values.
    level : float

    Returns
    -------
    dict
        ``threshold``, ``called`` (films), ``sensitivity``, ``specificity`` (``proportions.share_metric``), and with a
        prevalence ``ppv`` and ``npv`` (``predictive_values``).
    """
    called = scores >= cut
    right = clustered_share(called[is_positive], patient_ids[is_positive])
    cleared = clustered_share(~called[~is_positive], patient_ids[~is_positive])
    found: dict[str, Any] = {
        "threshold": float(cut),
        "called": int(called.sum()),
        "sensitivity": share_metric(right, level, "no film with the class"),
        "specificity": share_metric(cleared, level, "no film without the class"),
    }
    return found if prevalence is None else found | predictive_values(right, cleared, prevalence, level)


def class_facts(
    scores: Floats,
    is_positive: npt.NDArray[np.bool_],
    patient_ids: npt.NDArray[Any],
    threshold: float | None = None,
    prevalence: float | None = None,
    cuts: Iterable[float] = FIXED,
) -> dict[str, Any]:
    """Return the parts of ``metrics.json`` on one class against the rest that need no bootstrap.

    Parameters
    ----------
    scores, is_positive, patient_ids
        As in `operating_point`.
    threshold : float, optional
        The cut-off in use; it comes first.
    prevalence : float, optional
    cuts : iterable of float
        Further cut-offs, fixed beforehand.

    Returns
    -------
    dict
        ``calibration``: ``slope``, ``intercept``, ``intercept_with_slope``, ``moved``, ``brier_parts``.
        ``operating_points``: a list of `operating_point`. ``decision``: ``better`` (ranges of the probability to act
        from in which the model beats acting on all and on none), ``prevalence``, ``stated``; null ``better`` with
        ``why`` where undefined.
    """
    points = [*([] if threshold is None else [threshold]), *(cut for cut in cuts if cut != threshold)]
    curve = decision_curve(scores, is_positive, patient_ids, prevalence)
    decision: dict[str, Any] = {"better": None, "why": "films of one side only"}
    if curve is not None:
        decision = {"better": curve.better(), "prevalence": curve.prevalence, "stated": curve.stated}
    parts = brier_parts(reliability(scores, is_positive), scores, is_positive)
    return {
        "calibration": calibration_line(scores, is_positive, patient_ids) | {"brier_parts": parts.as_dict()},
        "operating_points": [operating_point(scores, is_positive, patient_ids, cut, prevalence) for cut in points],
        "decision": decision,
    }
