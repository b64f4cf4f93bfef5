"""From a film to the three objects that are filed in its study, and to files that only the user can read."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.dicom.capture import heat_map_object
from covidcxr_tf.dicom.report import report_object
from covidcxr_tf.dicom.segmentation import segmentation_object
from covidcxr_tf.dicom.source import Author, building, source_film
from covidcxr_tf.errors import ImageError, RunFailed, WeightsError
from covidcxr_tf.explain.files import as_document, write_explanation
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.files import plain
from covidcxr_tf.imaging.opening import Source, source_name
from covidcxr_tf.imaging.reading import read_image, read_mask
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.anatomy import LEFT_LUNG, RIGHT_LUNG
from covidcxr_tf.models.shipped import find_shipped

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from covidcxr_tf.classifiers import LoadedModel
    from covidcxr_tf.explain.explanation import Explanation, Film
    from covidcxr_tf.lung_finder import Segmentation

SEGMENTATION, HEAT_MAP, REPORT = "segmentation", "heatmap", "report"
LUNG_NETWORK = "lung_unet"


class Explainer:
    """A model, and the lung network whose masks go with its results.

    Attributes
    ----------
    loaded : LoadedModel
    lungs : LungFinder or None
        The model's own, else the shipped one; None where there is neither: results then have no segmentation.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.lungs = loaded.lungs or _shipped_lungs()
        self._author = Author.of(loaded)
        self._lung_author = None if self.lungs is None else Author.of(self.lungs)

    def explain(
        self, source: Source, name: str | None = None, **options: Any
    ) -> tuple[Explanation, dict[str, Dataset]]:
        """Return the explanation of a DICOM film and its objects (`SEGMENTATION`, `HEAT_MAP`, `REPORT`).

        Parameters
        ----------
        source, name
            As for `covidcxr_tf.imaging.reading.read_image`.
        **options
            As for `covidcxr_tf.explain.film.explain_film`.

        Raises
        ------
        ImageError
            If the film cannot be read or no results can be filed in its study.
        """
        header = source_film(source, name)
        film = read_image(source, name=name)
        explanation = explain_film(self.loaded, film, **options)
        return explanation, self.objects(header, film, explanation, source_name(source, name))

    def objects(self, header: Dataset, film: Film, explanation: Explanation, where: str) -> dict[str, Dataset]:
        """Return the objects of an explanation; errors name the film as `where`."""
        made: dict[str, Dataset] = {}
        found = None if self.lungs is None else self.lungs.segment(film)
        with building(where):
            if found is not None and self._lung_author is not None:
                made[SEGMENTATION] = segmentation_object(header, _masks(found), self._lung_author)
            made[HEAT_MAP] = heat_map_object(header, explanation, film, self._author)
            made[REPORT] = report_object(header, explanation, self._author, list(made.values()))
        return made


def _shipped_lungs() -> LungFinder | None:
    try:
        return LungFinder.load(find_shipped(LUNG_NETWORK))
    except WeightsError:
        return None


def _masks(found: Segmentation) -> dict[str, npt.NDArray[np.uint8]]:
    if found.anatomy is None or found.heart is None:
        return {"lungs": found.mask}
    sides = {"left lung": LEFT_LUNG, "right lung": RIGHT_LUNG}
    return {**{name: (found.anatomy == side).astype(np.uint8) for name, side in sides.items()}, "heart": found.heart}


def explain_dicom_file(
    explainer: Explainer, path: Path, folder: Path, stem: str, dicom_folder: Path, **options: Any
) -> dict[str, Any]:
    """Do what `explain_file` does, write the film's objects to `dicom_folder` too, and name them in ``dicom``.

    Raises
    ------
    ImageError
        If the film is not DICOM or cannot be read; nothing is written then.
    RunFailed
        If a file cannot be written.
    """
    header = source_film(path)
    film = read_image(path)
    explanation = explain_film(explainer.loaded, film, **options)
    objects = explainer.objects(header, film, explanation, str(path))
    try:
        files = write_explanation(explanation, film, path.name, folder, stem)
        written = write_objects(objects, dicom_folder, stem)
    except OSError as cause:
        raise RunFailed(f"cannot be written ({cause.strerror or cause})", where=cause.filename or folder) from cause
    return {
        **plain(as_document(explanation, path.name)),
        "path": str(path),
        "files": {suffix: str(file) for suffix, file in files.items()},
        "dicom": {kind: str(file) for kind, file in written.items()},
    }


def check_sources(films: Iterable[str], *, skip_bad: int = 0) -> dict[str, ImageError]:
    """Return the films that no results can be filed with, before anything is computed, and why.

    Raises
    ------
    ImageError
        If there are more than `skip_bad`: for a film that is not DICOM, no chest film, or lacks the UIDs that results
        refer to.
    """
    bad: dict[str, ImageError] = {}
    for path in films:
        try:
            source_film(path)
        except ImageError as fault:
            bad[path] = fault
            if len(bad) > skip_bad:
                raise
    return bad


def write_segmentations(films: Mapping[Path, Mapping[str, Path]], finder: LungFinder, folder: Path) -> list[Path]:
    """Write a Segmentation for each film from its mask files and return the paths.

    Parameters
    ----------
    films : dict
        Film -> (``lungs`` or ``heart`` -> mask file).
    finder : LungFinder
        The network that found them.
    folder : Path
        Made for the user alone where it is missing.
    """
    author = Author.of(finder)
    written: list[Path] = []
    for path, files in films.items():
        header = source_film(path)
        with building(str(path)):
            made = segmentation_object(header, {kind: read_mask(file) for kind, file in files.items()}, author)
        stem = next(iter(files.values())).stem
        written += write_objects({SEGMENTATION: made}, folder, stem).values()
    return written


def write_objects(objects: Mapping[str, Dataset], folder: Path, stem: str) -> dict[str, Path]:
    """Write objects as ``<stem>_<kind>.dcm``, readable by the user alone, and return their paths."""
    return {kind: write_private(folder / f"{stem}_{kind}.dcm", encoded(made)) for kind, made in objects.items()}


def encoded(made: Dataset) -> bytes:
    """Return an object as the bytes of a DICOM file."""
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_private(path: Path, content: bytes) -> Path:
    """Write a file that only the user can read, in one step; its folder is made so too where it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=".", dir=path.parent)  # mkstemp's files are the user's alone
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(aside, path)
    finally:
        Path(aside).unlink(missing_ok=True)
    return path
