"""Lung markers of a manifest's films, compared between classes: what `covidcxr biomarkers` computes and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path, row_place
from covidcxr_tf.errors import DataError, ImageError, ManifestError
from covidcxr_tf.evaluate.markers import marker_summary, marker_tests
from covidcxr_tf.files import plain, write_json, write_text
from covidcxr_tf.imaging.reading import read_image, read_mask
from covidcxr_tf.lungs.biomarkers import FRAME, MARKERS, PATCH, PATCHES, lung_markers
from covidcxr_tf.lungs.masks import MaskQuality, mask_quality
from covidcxr_tf.progress import Progress
from covidcxr_tf.report.biomarker_summary import marker_document
from covidcxr_tf.report.biomarkers import draw_biomarkers

if TYPE_CHECKING:
    from covidcxr_tf.lung_finder import LungFinder

Masks = Literal["auto", "manifest", "model"]
GAMMA = 0.5
FROM_MANIFEST = "manifest"
KEPT = ("path", "patient_id", "label", "source", "view")


@dataclass(frozen=True)
class Measured:
    """Markers of films.

    Attributes
    ----------
    table : DataFrame
        One row a film: path, patient_id, label, source and view where the manifest has them, lung_mask_from and
        heart_mask_from (``manifest``, the network's name, or empty), lung_quality, lung_verdict, the markers, and
        `undefined` (why a marker is missing).
    bad : list of ImageError
        Films and masks that could not be used.
    without_mask : int
        Films that were left out because the manifest has no lung mask for them.
    settings : dict
        What the numbers depend on.
    """

    table: pd.DataFrame
    bad: list[ImageError] = field(default_factory=list)
    without_mask: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


def needs_network(films: pd.DataFrame, masks: Masks) -> bool:
    """Return whether a lung network has to find a mask that the manifest does not name."""
    if masks == "auto":
        return "mask_path" not in films or bool((films["mask_path"] == "").any())
    return masks == "model"


def without_views(films: pd.DataFrame, views: tuple[str, ...]) -> pd.DataFrame:
    """Return the films of other views than these (Oh 2020, Table VIII: without supine films); the index stays.

    Raises
    ------
    ManifestError
        If the manifest has no such view, or no film is left.
    """
    where = films.attrs.get("manifest", "manifest")
    known = films["view"] if "view" in films else pd.Series("", index=films.index)
    for view in views:
        if not (known == view).any():
            there = ", ".join(sorted(set(known) - {""})) or "none"
            raise ManifestError(f"no film of the view '{view}'", where=where, remedy=f"views there: {there}")
    kept = films[~known.isin(views)]
    if kept.empty:
        raise ManifestError("no film is left", where=where, expected=f"films of other views than {', '.join(views)}")
    return kept


def measure_films(
    films: pd.DataFrame,
    finder: LungFinder | None = None,
    masks: Masks = "auto",
    *,
    seed: int = 0,
    skip_bad: int = 0,
) -> Measured:
    """Return the markers of every film.

    Parameters
    ----------
    films : DataFrame
        A loaded manifest.
    finder : LungFinder, optional
        Finds the masks that are to come from a network; one with a heart class finds hearts too.
    masks : "auto", "manifest" or "model"
        Lung and heart masks: the manifest's and else the network's; the manifest's only (films without a lung mask
        are left out); the network's only.
    seed : int
        Of the patches.
    skip_bad : int
        So many films that cannot be used are left out; one more is an error.

    Returns
    -------
    Measured

    Raises
    ------
    ImageError
        For an unreadable film or mask, or a mask of another size, beyond `skip_bad`.
    DataError
        If no film is left.
    """
    progress, rows, bad, without_mask = Progress(len(films), "measure"), [], [], 0
    for row in films.index:
        progress.advance()
        if masks == "manifest" and not ("mask_path" in films and films.at[row, "mask_path"]):
            without_mask += 1
            continue
        try:
            rows.append(_measure(films, row, finder, masks, seed))
        except ImageError as fault:
            bad.append(fault)
            if len(bad) > skip_bad:
                raise
    progress.close()
    if not rows:
        raise DataError("no film to measure", where=films.attrs.get("manifest"), expected="films with a lung mask")
    network = finder.identity() if finder is not None else None
    patches = {"frame": FRAME, "size": PATCH, "count": PATCHES, "seed": seed}
    settings = {"masks": masks, "network": network, "universal_gamma": GAMMA, "patches": patches}
    return Measured(pd.DataFrame(rows), bad, without_mask, settings)


def write_study(measured: Measured, out: str | Path) -> dict[str, Any]:
    """Write ``biomarkers.csv``, ``tests.csv``, ``by_source.csv``, ``biomarkers.json`` and ``figures/``.

    Parameters
    ----------
    measured : Measured
        From `measure_films`.
    out : str or path
        Folder, made if need be; files of these names are replaced.

    Returns
    -------
    dict
        What ``biomarkers.json`` holds: schema_version, settings, left_out, and what
        ``report.biomarker_summary.marker_document`` returns.
    """
    folder, table = Path(out), measured.table
    tests = marker_tests(table, list(MARKERS))
    by_source = marker_summary(table, list(MARKERS), ("label", "source"))
    left_out = {"unreadable": [str(fault) for fault in measured.bad], "without_mask": measured.without_mask}
    document: dict[str, Any] = {"schema_version": 1, "settings": measured.settings, "left_out": left_out}
    document = plain(document | marker_document(table, tests, by_source))
    for name, content in (("biomarkers", table), ("tests", tests), ("by_source", by_source)):
        write_text(folder / f"{name}.csv", content.to_csv(index=False))
    draw_biomarkers(table, tests, folder / "figures")
    write_json(folder / "biomarkers.json", document)
    return document


def _measure(films: pd.DataFrame, row: int, finder: LungFinder | None, masks: Masks, seed: int) -> dict[str, Any]:
    """Return the row of one film."""
    film = read_image(film_path(films, row))
    lung = None if masks == "model" else _mask_of(films, row, "mask_path", film)
    heart = None if masks == "model" else _mask_of(films, row, "heart_mask_path", film)
    origins = [FROM_MANIFEST if mask is not None else "" for mask in (lung, heart)]
    quality: MaskQuality | None = None
    if finder is not None and masks != "manifest" and (lung is None or (heart is None and finder.finds_heart)):
        found_by = finder.segment(film)
        if lung is None:
            lung, origins[0], quality = found_by.mask, finder.name, found_by.quality
        if heart is None and found_by.heart is not None:
            heart, origins[1] = found_by.heart, finder.name
    if lung is None:
        raise ImageError("no lung mask", where=row_place(films, row, "mask_path"), expected="a mask or a network")
    if quality is None:  # a mask that people drew
        quality = mask_quality(lung)
    found = lung_markers(film, lung, heart, gamma=GAMMA, seed=seed)
    return {
        **{name: films.at[row, name] for name in KEPT if name in films},
        "lung_mask_from": origins[0],
        "heart_mask_from": origins[1],
        "lung_quality": quality.score,
        "lung_verdict": quality.verdict,
        **{name: np.nan if value is None else value for name, value in found.values.items()},
        "undefined": "; ".join(f"{name}: {why}" for name, why in found.why.items()),
    }


def _mask_of(films: pd.DataFrame, row: int, column: str, film: np.ndarray) -> np.ndarray | None:
    """Return a mask that the manifest names, or None."""
    if column not in films or not films.at[row, column]:
        return None
    path = film_path(films, row, column)
    mask = read_mask(path)
    if mask.shape != film.shape:
        raise ImageError(f"mask is {mask.shape}, its film {film.shape}", where=path, expected="the same size")
    return mask
