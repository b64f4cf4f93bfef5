"""How far one gets without looking at the film: by age, sex, view, size and file type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.audit.probes import FOLDS, enough
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.imaging.reading import image_size

NAME = "metadata_only"


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the AUC of boosted trees on what is known of a film but for its pixels, patients never in both parts.

    Age, sex and view where the manifest has them; rows, columns, their ratio, bytes and suffix of the file. The source
    is left out: `label_source` is about it. ``details`` holds the model's own AUC on the same films.
    """
    answers = evidence.is_positive
    if not enough(answers, evidence.patients):
        return limits.skip(NAME, "it needs five patients with and five without the disease")
    table = _known(evidence)
    found = evidence.area(_out_of_fold(table.to_numpy(np.float64), answers, evidence.patients, evidence.seed))
    own = evidence.area(evidence.scores())
    sentence = (
        f"Without a look at the film, {', '.join(_kinds(table))} alone rank {100 * (found['value'] or 0):.0f} % of "
        f"pairs rightly; the model ranks {100 * (own['value'] or 0):.0f} %."
    )
    details = {"columns": list(table.columns), "model": own}
    return limits.judge(NAME, f"AUC of {evidence.positive} from metadata", found, sentence, details)


def _known(evidence: Evidence) -> pd.DataFrame:
    films = evidence.films
    paths = [film_path(films, row) for row in range(len(films))]
    sizes = np.array([image_size(path) for path in paths], np.float64)
    table = pd.DataFrame({"rows": sizes[:, 0], "columns": sizes[:, 1], "ratio": sizes[:, 1] / sizes[:, 0]})
    table["bytes"] = [path.stat().st_size for path in paths]
    for name in ("original_width", "original_height", "age"):
        if name in films:
            table[name] = pd.to_numeric(films[name], errors="coerce").to_numpy(np.float64)
    words = {"suffix": [path.suffix.lower() for path in paths]}
    words |= {name: films[name].astype(str).to_list() for name in ("sex", "view") if name in films}
    return table.join(pd.get_dummies(pd.DataFrame(words), dtype=float))


def _kinds(table: pd.DataFrame) -> list[str]:
    named = {"age": "age", "sex": "sex", "view": "view"}
    there = [word for word, kind in named.items() if any(str(column).split("_")[0] == kind for column in table)]
    return [*there, "size and type of the file"]


def _out_of_fold(
    features: npt.NDArray[np.float64], answers: npt.NDArray[np.bool_], patients: npt.NDArray[np.str_], seed: int
) -> npt.NDArray[np.float64]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold
    from threadpoolctl import threadpool_limits

    folds = min(FOLDS, *(len(np.unique(patients[answers == side])) for side in (True, False)))
    scores = np.zeros(len(answers))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    # A few hundred rows: threads that wait for each other cost a hundred times what they save on a busy machine.
    with threadpool_limits(1):
        for train, test in splitter.split(features, answers, patients):
            trees = HistGradientBoostingClassifier(
                max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=5, random_state=seed
            )
            scores[test] = trees.fit(features[train], answers[train]).predict_proba(features[test])[:, 1]
    return scores
