"""The three files of an explanation: picture, heat map, facts."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.explain.explanation import Explanation, Film
from covidcxr_tf.explain.film import ACTIVATION, explain_film
from covidcxr_tf.explain.overlay import picture
from covidcxr_tf.files import plain, write_bytes, write_json
from covidcxr_tf.imaging.reading import read_image

if TYPE_CHECKING:
    from covidcxr_tf.classifiers import LoadedModel

SCHEMA_VERSION = 1
NOTICE = "for research, not for diagnosis"


def explain_file(
    loaded: LoadedModel,
    path: str | Path,
    folder: str | Path,
    stem: str | None = None,
    *,
    frame: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Read a film, explain it, write the three files, and return the JSON document with their paths.

    Parameters
    ----------
    loaded : LoadedModel
    path : str or path
        The film.
    folder, stem
        As for `write_explanation`.
    frame : int, optional
        Which frame of a multi-frame film, from 0; the film is then called by both names.
    **options
        As for `explain_film`: method, target, seed, samples, features, report.

    Returns
    -------
    dict
        What the JSON file holds, and ``path`` of the film and ``files`` (suffix -> path) beside it.

    Raises
    ------
    ImageError
        If the film cannot be read.
    RunFailed
        If a file cannot be written.
    """
    film = read_image(path, frame=frame)
    explanation = explain_film(loaded, film, **options)
    name = Path(path).name if frame is None else f"{Path(path).name}, frame {frame}"
    try:
        written = write_explanation(explanation, film, name, folder, stem)
    except OSError as cause:
        raise RunFailed(f"cannot be written ({cause.strerror or cause})", where=folder) from cause
    files = {suffix: str(file) for suffix, file in written.items()}
    return {**plain(as_document(explanation, name)), "path": str(path), "files": files}


def as_document(explanation: Explanation, name: str) -> dict[str, Any]:
    """Return an explanation as what JSON holds: everything but the maps.

    Parameters
    ----------
    explanation : Explanation
    name : str
        What the film is called.

    Returns
    -------
    dict
        The fields of CONTRACT.md's explain JSON; for LIME also ``lime`` with every super-pixel's weight, for patch
        Grad-CAM ``patches``, for a mean activation ``class_specific`` (false: no class takes part) and, where the
        model has no lung network of its own, ``lung_network``. A null ``heat_in_lungs`` comes with
        ``heat_in_lungs_why``.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "film": name,
        "predicted": explanation.predicted,
        "probabilities": explanation.probabilities,
        "target_class": explanation.target_class,
        "method": explanation.method,
        "heat_in_lungs": explanation.heat_in_lungs,
        "model": explanation.model,
        "lung_mask_quality": explanation.lung_mask_quality,
        "lungs_found": explanation.lungs_found,
        "ood_score": explanation.ood_score,
        "warnings": explanation.warnings,
        "lung_box": list(explanation.lung_box),
        "seed": explanation.seed,
        "notice": NOTICE,
    }
    if explanation.called_from:
        document["called_from"] = explanation.called_from
    if explanation.heat_in_lungs_why:
        document["heat_in_lungs_why"] = explanation.heat_in_lungs_why
    if explanation.method == ACTIVATION:
        document["class_specific"] = False
    if explanation.lung_network:
        document["lung_network"] = explanation.lung_network
    if explanation.patches is not None:
        document["patches"] = dataclasses.asdict(explanation.patches)
    superpixels = explanation.superpixels
    if superpixels is not None:
        document["lime"] = {
            "samples": superpixels.samples,
            "fit": superpixels.fit,
            "shown": list(superpixels.top),
            "weights": superpixels.weights,
        }
    return document


def write_explanation(
    explanation: Explanation, film: Film, name: str, folder: str | Path, stem: str | None = None
) -> dict[str, Path]:
    """Write ``<stem>_<method>.png``, ``.npy`` and ``.json`` to `folder` and return their paths by these suffixes.

    Parameters
    ----------
    explanation : Explanation
    film : ndarray of float32, (H, W)
        In [0, 1].
    name : str
        The film's name, for the title.
    folder : str or path
        Made where it is missing.
    stem : str, optional
        Beginning of the files' names; omitted: `name` without its suffix.
    """
    base = Path(folder) / f"{stem or Path(name).stem}_{explanation.method}"
    heat = io.BytesIO()
    np.save(heat, explanation.heatmap, allow_pickle=False)
    contents = {"png": picture(explanation, film, name), "npy": heat.getvalue()}
    paths = {suffix: base.with_name(f"{base.name}.{suffix}") for suffix in (*contents, "json")}
    for suffix, content in contents.items():
        write_bytes(paths[suffix], content)
    write_json(paths["json"], as_document(explanation, name))
    return paths
