"""The films behind a report's worst errors: each beside the same film with its heat map, small enough for a page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from covidcxr_tf.classifiers import LoadedModel, PatchModel
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.errors import CovidcxrError
from covidcxr_tf.explain.film import PATCHES, explain_film
from covidcxr_tf.explain.overlay import heat_colours
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.predict import load_any
from covidcxr_tf.report.blocks import Picture
from covidcxr_tf.report.run_folder import RunFolder, manifest_of
from covidcxr_tf.report.sections_failures import worst_errors

#: Rows and columns of one of the two pictures at most; quality of the JPEG.
SIDE, QUALITY = 360, 85
Rgb = npt.NDArray[np.uint8]


def gallery_pictures(
    run: RunFolder, count: int, manifest: str | Path | None = None, root: str | Path | None = None
) -> tuple[dict[str, Picture], str]:
    """Return film's path -> picture of the worst errors, and why there are none, or none of some.

    Parameters
    ----------
    run : RunFolder
    count : int
        At most so many films.
    manifest, root : str or path, optional
        Where the films are, if not where the run's config says.

    Returns
    -------
    tuple of dict and str
        JPEG: the bare film on the left, with Grad-CAM for the class called on the right. Without the run's model, and
        for models of several networks, the bare film alone. The text is empty where every film has its heat map.
    """
    errors = worst_errors(run, count)
    if not errors:
        return {}, ""
    try:
        films = manifest_of(run, manifest, root)
    except CovidcxrError as fault:
        place = "" if run.names.anonymous else f" ({fault})"
        return (
            {},
            f"No films in this page: they are not where the run found them; name their manifest with --data.{place}",
        )
    loaded, why = _network(run)
    pictures: dict[str, Picture] = {}
    lost = 0
    for error in errors:
        try:
            pictures[error["path"]] = _picture(run, error, films, loaded)
        except (CovidcxrError, KeyError):
            lost += 1
    return pictures, " ".join(filter(None, (why, f"{lost} films could not be read." if lost else "")))


def _network(run: RunFolder) -> tuple[LoadedModel | None, str]:
    if run.task == "segmentation":
        return None, ""
    try:
        loaded = load_any(run.folder)
    except CovidcxrError:
        return None, "No heat maps: the run's model is not there."
    if not isinstance(loaded, LoadedModel):
        return None, "No heat maps: the model is several networks; see the pages of its parts."
    return loaded, ""


def _picture(run: RunFolder, error: dict[str, Any], films: pd.DataFrame, loaded: LoadedModel | None) -> Picture:
    rows = films.index[films["path"] == error["path"]]
    film = read_image(film_path(films, int(rows[0])))
    small = _shrunk(film)
    bare = np.repeat(to_uint8(small)[..., None], 3, axis=2)
    name = run.names.film(error["path"])
    if loaded is None:
        return Picture(_jpeg(bare), f"Film {name}.", mime="image/jpeg")
    method = PATCHES if isinstance(loaded, PatchModel) else "gradcam"
    found = explain_film(loaded, film, method, error["called"])
    heat = heat_colours()(_shrunk(found.heatmap))
    share = heat[..., 3:]
    mixed = np.rint(bare * (1 - share) + 255 * heat[..., :3] * share).astype(np.uint8)
    gap = np.full((bare.shape[0], 6, 3), 255, np.uint8)
    inside = "" if found.heat_in_lungs is None else f"{100 * found.heat_in_lungs:.0f} % of the heat lies in the lungs. "
    hot = bool(found.heatmap.max(initial=0.0) > 0)
    caption = f"{inside}Heat: {method} for {error['called']}."
    if not hot:
        caption = f"No heat: by {method} nothing on the film speaks for {error['called']}."
    alt = f"Film {name}, and the same film with the heat for {error['called']}. {inside}".strip()
    return Picture(_jpeg(np.concatenate([bare, gap, mixed], axis=1)), alt, caption, "image/jpeg")


def _shrunk(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rows, columns = plane.shape
    share = min(1.0, SIDE / max(rows, columns))
    return resize(plane.astype(np.float32), (max(1, round(rows * share)), max(1, round(columns * share))))


def _jpeg(picture: Rgb) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
