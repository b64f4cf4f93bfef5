"""A model, a manifest and a split to the evidence of an audit."""

from __future__ import annotations

from typing import Any

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.study import draw_films
from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.data.manifest import load_manifest, map_classes
from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.evaluate.table import default_split
from covidcxr_tf.judging import judged_films
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.predict import class_labels, load_any

#: The lung network that shows where the lungs are for a model that uses none.
LUNG_NETWORK = "lung_unet"


def audit_evidence(
    model: str,
    manifest: str,
    split: str | None = None,
    root: str | None = None,
    *,
    most: int = 400,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Evidence, dict[str, Any]]:
    """Return what the checks share, and facts for the head of ``audit.json``.

    Parameters
    ----------
    model : str
        Run folder, ``.keras`` file or shipped name; one network.
    split : str, optional
        None: ``test`` where the manifest has splits, else every film.
    most : int
        Films that are judged; of more, a part is drawn, each label and source with its share.

    Raises
    ------
    ManifestError, SplitError
        For a manifest that cannot be used, or films of patients that the model was trained on.
    UsageError
        For a model of several networks, or of findings.
    """
    loaded = load_any(model)
    if not isinstance(loaded, LoadedModel) or loaded.task != "classification":
        raise UsageError(
            f"the model {loaded.name} is no single network that tells classes apart",
            expected="a classifier of classes",
            remedy="name the folder of one level, member or fold",
        )
    whole = map_classes(load_manifest(manifest, root=root), class_labels(loaded), complete=False)
    if split is None and "split" in whole:
        split = default_split(whole["split"], manifest)
    films = judged_films(loaded, manifest, split, root)
    drawn = draw_films(films, most, seed)
    evidence = Evidence(loaded, drawn, whole, _finder(loaded), resamples, seed)
    return evidence, {"split": split, "films_of_split": len(films)}


def _finder(loaded: LoadedModel) -> LungFinder | None:
    if loaded.lungs is not None:
        return None
    try:
        return LungFinder.load(LUNG_NETWORK)
    except WeightsError:
        return None
