"""Simple models that show what could be learned from something: logistic regression, patients never in both parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.audit.evidence import Floats

#: Parts of the cross-validation, and patients that each side of a question needs.
FOLDS, LEAST_PATIENTS = 5, 5
#: Components that wide features are reduced to: a probe of more would learn films by heart.
COMPONENTS = 64


def enough(answers: npt.NDArray[Any], patients: npt.NDArray[Any], least: int = LEAST_PATIENTS) -> bool:
    """Return whether there are two answers or more, each of at least `least` patients."""
    names = np.unique(answers)
    return len(names) > 1 and all(len(np.unique(patients[answers == name])) >= least for name in names)


def probe(films: int, features: int, seed: int) -> Any:
    """Return an unfitted probe: standardised, reduced, logistic regression balanced over its answers."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler()]
    most = min(COMPONENTS, films // 4)
    if features > most:
        steps.append(PCA(most, random_state=seed, whiten=True))
    return make_pipeline(*steps, LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))


def out_of_fold(
    features: Floats, answers: npt.NDArray[Any], patients: npt.NDArray[Any], seed: int = 0
) -> tuple[Floats, tuple[str, ...]]:
    """Return what probes that never saw a film's patient say of it.

    Returns
    -------
    probabilities : float64 (N, answers)
    names : tuple of str
        The answers in order.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = tuple(np.unique(answers))
    found = np.zeros((len(answers), len(names)))
    folds = min(FOLDS, *(len(np.unique(patients[answers == name])) for name in names))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(features, answers, patients):
        fitted = probe(len(train), features.shape[1], seed).fit(features[train], answers[train])
        places = [names.index(name) for name in fitted.classes_]
        found[np.ix_(test, places)] = fitted.predict_proba(features[test])
    return found, names
