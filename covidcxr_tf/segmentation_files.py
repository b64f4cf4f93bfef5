"""What `covidcxr segment` writes: masks, overlays, quality, and a manifest that carries the masks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path, load_manifest, write_manifest
from covidcxr_tf.data.paths import is_inside, real_path
from covidcxr_tf.data.schema import PATH_COLUMNS
from covidcxr_tf.errors import ImageError, UsageError
from covidcxr_tf.files import distinct_stems, plain, replacing, write_json
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import find_images, read_image
from covidcxr_tf.progress import Progress

if TYPE_CHECKING:
    from covidcxr_tf.lung_finder import LungFinder, Segmentation

#: Outlines on an overlay, blue-green-red: yellow lungs, a sky-blue heart; colour-blind readers tell them apart on grey.
OUTLINE, HEART_OUTLINE = (66, 228, 240), (233, 180, 86)
MASKS, HEARTS, OVERLAYS = "masks", "hearts", "overlays"
MANIFEST, DOCUMENT = "manifest.csv", "segmentation.json"


@dataclass(frozen=True)
class Segmented:
    """Result of `segment_films`.

    Attributes
    ----------
    document : dict
        What ``segmentation.json`` holds: schema_version, model, manifest, root (from the folder of the file), and
        films with film (from the root), mask_path, heart_mask_path (from a network that finds hearts), overlay (all
        from the folder), size and lung_mask_quality.
    manifest : Path
        The new manifest.
    root : Path
        Folder that its paths start from.
    bad : list of ImageError
        Films that could not be read.
    """

    document: dict[str, Any]
    manifest: Path
    root: Path
    bad: list[ImageError]


def is_manifest(name: str | Path) -> bool:
    """Return whether a name is a manifest's: CSV or Parquet by its suffix."""
    return Path(name).suffix.lower() in (".csv", ".parquet", ".pq")


def films_of(inputs: Sequence[str], root: str | None = None) -> pd.DataFrame:
    """Return absolute film paths (column ``file``) and any manifest columns for films, folders or one manifest.

    Raises
    ------
    UsageError
        If a manifest is mixed with other inputs, or nothing is found.
    """
    manifests = [name for name in inputs if is_manifest(name)]
    if manifests:
        if len(inputs) > 1:
            raise UsageError("a manifest stands alone", expected="one manifest, or films and folders")
        films = load_manifest(manifests[0], root=root, require=("path",))
        return films.assign(file=[str(film_path(films, row)) for row in films.index])
    found = find_images(inputs)
    if not found:
        raise UsageError(f"no film in {', '.join(inputs)}", expected="films, folders or a manifest")
    return pd.DataFrame({"file": [str(path.resolve()) for path in found]})


def segment_films(
    films: pd.DataFrame, finder: LungFinder, out: str | Path, *, skip_bad: int = 0, frame: int | None = None
) -> Segmented:
    """Write ``masks/``, ``overlays/``, ``segmentation.json`` and ``manifest.csv`` below `out`.

    A network that finds the heart too also gives ``hearts/`` and the manifest's ``heart_mask_path``; its lungs leave
    the heart out.

    Parameters
    ----------
    films : DataFrame
        From `films_of`.
    finder : LungFinder
        The network.
    out : path
        Folder; files of the same name are replaced.
    skip_bad : int
        So many unreadable films are left out; one more is an error, raised before the manifest is written.
    frame : int, optional
        Which frame of multi-frame films, from 0.

    Raises
    ------
    UsageError
        If a file that came in would be replaced; nothing has been written then.
    ImageError
        For an unreadable film beyond `skip_bad`.
    """
    folder = Path(out).resolve()
    _refuse_to_replace(films, folder)
    for name in (MASKS, HEARTS, OVERLAYS) if finder.finds_heart else (MASKS, OVERLAYS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    stems = distinct_stems(films["file"].tolist())
    progress = Progress(len(films), "segment")
    rows, kept, bad = [], [], []
    for index, file, stem in zip(films.index, films["file"], stems, strict=True):
        progress.advance()
        try:
            film = read_image(file, frame=frame)
        except ImageError as fault:
            bad.append(fault)
            if len(bad) > skip_bad:
                raise
            continue
        rows.append(_write_one(film, finder.segment(film), folder, stem, file))
        kept.append(index)
    progress.close()
    root = Path(os.path.commonpath([folder, *(str(Path(row["file"]).parent) for row in rows)]))
    document = plain(
        {
            "schema_version": 1,
            "model": finder.identity(),
            "manifest": MANIFEST,
            "root": os.path.relpath(root, folder),
            "films": [_public(row, root) for row in rows],
        }
    )
    write_json(folder / DOCUMENT, document)
    manifest = write_manifest(_rebased(films.loc[kept], rows, folder, root), folder / MANIFEST)
    return Segmented(document, manifest, root, bad)


def _rebased(films: pd.DataFrame, rows: list[dict[str, Any]], folder: Path, root: Path) -> pd.DataFrame:
    """Return the rows of the new manifest: those that came, with paths from `root`, the masks and their verdicts.

    Masks of hearts are the network's where it finds them, else those that came.
    """
    table = films.drop(columns=["file"])
    if any("heart_mask_path" in row for row in rows):
        table["heart_mask_path"] = [os.path.relpath(folder / row["heart_mask_path"], root) for row in rows]
    elif "heart_mask_path" in films:
        table["heart_mask_path"] = [_heart_mask(films, row, root) for row in films.index]
    return table.assign(
        path=[os.path.relpath(row["file"], root) for row in rows],
        mask_path=[os.path.relpath(folder / row["mask_path"], root) for row in rows],
        lung_quality=[row["lung_mask_quality"]["score"] for row in rows],
        lung_verdict=[row["lung_mask_quality"]["verdict"] for row in rows],
    )


def _heart_mask(films: pd.DataFrame, row: int, root: Path) -> str:
    """Return the path of a heart's mask from `root`; empty where there is none or it lies elsewhere."""
    if not films.loc[row, "heart_mask_path"]:
        return ""
    path = film_path(films, row, "heart_mask_path")
    return os.path.relpath(path, root) if is_inside(str(path), str(root)) else ""


def _refuse_to_replace(films: pd.DataFrame, folder: Path) -> None:
    """Raise UsageError where a file that `segment_films` writes to `folder` would take the place of one that came."""
    manifest, came = folder / MANIFEST, films.attrs.get("manifest")
    if came is not None and manifest.exists() and manifest.samefile(came):
        raise UsageError("the new manifest would replace this one", where=came, remedy="name another --out")
    if manifest.exists() and not (folder / DOCUMENT).exists():
        raise UsageError("a manifest that `segment` did not write", where=manifest, remedy="name another --out")
    written = [os.path.realpath(folder / name) for name in (MASKS, HEARTS, OVERLAYS)]
    known: dict[str, str] = {}
    for path in _files_that_came(films):
        # Renaming a file into place replaces a link, not what it leads to: both may not lie there.
        place = real_path(os.path.dirname(path), known)
        if any(is_inside(there, own) for there in (place, os.path.realpath(path)) for own in written):
            raise UsageError(
                "a film or mask that came lies where masks and overlays are written",
                where=path,
                remedy="name another --out",
            )


def _files_that_came(films: pd.DataFrame) -> Iterator[str]:
    """Give the absolute paths of films and masks, links not followed where the manifest names them."""
    yield from films["file"]
    for column in PATH_COLUMNS:
        for cell in films.get(column, ()):
            if cell:
                yield os.path.join(films.attrs["root"], cell)


def outlined(film: np.ndarray, mask: np.ndarray, heart: np.ndarray | None = None) -> np.ndarray:
    """Return the film as uint8 (H, W, 3), blue-green-red, with the outlines of lungs and heart drawn on it."""
    picture = cv2.cvtColor(to_uint8(film), cv2.COLOR_GRAY2BGR)
    width = max(1, round(max(film.shape) / 400))
    for inside, colour in ((heart, HEART_OUTLINE), (mask, OUTLINE)):
        if inside is not None:
            contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(picture, contours, -1, colour, width)
    return picture


def _write_one(film: np.ndarray, found: Segmentation, folder: Path, stem: str, file: str) -> dict[str, Any]:
    pictures = {f"{MASKS}/{stem}.png": found.mask * np.uint8(255)}
    if found.heart is not None:
        pictures[f"{HEARTS}/{stem}.png"] = found.heart * np.uint8(255)
    pictures[f"{OVERLAYS}/{stem}.png"] = outlined(film, found.mask, found.heart)
    for name, picture in pictures.items():
        with replacing(folder / name) as aside:
            aside.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return {
        "file": file,
        "mask_path": f"{MASKS}/{stem}.png",
        **({} if found.heart is None else {"heart_mask_path": f"{HEARTS}/{stem}.png"}),
        "overlay": f"{OVERLAYS}/{stem}.png",
        "size": list(film.shape),
        "lung_mask_quality": found.quality.as_dict(),
    }


def _public(row: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return a row with the film's path from the root instead of its place on this machine."""
    film = Path(os.path.relpath(row["file"], root)).as_posix()
    return {"film": film, **{key: value for key, value in row.items() if key != "file"}}
