"""What `covidcxr segment` writes: masks, overlays, quality, and a manifest that carries the masks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path, load_manifest, write_manifest
from covidcxr_tf.errors import ImageError, UsageError
from covidcxr_tf.files import replacing, write_json
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import find_images, read_image
from covidcxr_tf.lung_finder import LungFinder, Segmentation
from covidcxr_tf.progress import Progress

#: Outline of the lungs on an overlay, blue-green-red: a yellow that colour-blind readers see on grey.
OUTLINE = (66, 228, 240)


@dataclass(frozen=True)
class Segmented:
    """Result of `segment_films`.

    Attributes
    ----------
    rows : list of dict
        One a film: path, mask_path, overlay, quality.
    manifest : Path
        The new manifest.
    root : Path
        Folder that its paths start from.
    bad : list of ImageError
        Films that could not be read.
    """

    rows: list[dict[str, Any]]
    manifest: Path
    root: Path
    bad: list[ImageError]


def films_of(inputs: Sequence[str], root: str | None = None) -> pd.DataFrame:
    """Return absolute film paths (column ``file``) and any manifest columns for films, folders or one manifest.

    Raises
    ------
    UsageError
        If a manifest is mixed with other inputs, or nothing is found.
    """
    manifests = [name for name in inputs if Path(name).suffix.lower() in (".csv", ".parquet", ".pq")]
    if manifests:
        if len(inputs) > 1:
            raise UsageError("a manifest stands alone", expected="one manifest, or films and folders")
        films = load_manifest(manifests[0], root=root, require=("path",))
        return films.assign(file=[str(film_path(films, row)) for row in films.index])
    found = find_images(inputs)
    if not found:
        raise UsageError(f"no film in {', '.join(inputs)}", expected="films, folders or a manifest")
    return pd.DataFrame({"file": [str(path.resolve()) for path in found]})


def segment_films(films: pd.DataFrame, finder: LungFinder, out: str | Path, *, skip_bad: int = 0) -> Segmented:
    """Write ``masks/``, ``overlays/``, ``segmentation.json`` and ``manifest.csv`` below `out`.

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

    Raises
    ------
    ImageError
        For an unreadable film beyond `skip_bad`.
    """
    folder = Path(out).resolve()
    for name in ("masks", "overlays"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    stems = unique_stems(films["file"])
    progress = Progress(len(films), "segment")
    rows, kept, bad = [], [], []
    for index, file, stem in zip(films.index, films["file"], stems, strict=True):
        progress.advance()
        try:
            film = read_image(file)
        except ImageError as fault:
            bad.append(fault)
            if len(bad) > skip_bad:
                raise
            continue
        rows.append(_write_one(film, finder.segment(film), folder, stem, file))
        kept.append(index)
    progress.close()
    root = Path(os.path.commonpath([folder, *(str(Path(row["file"]).parent) for row in rows)]))
    table = films.loc[kept].drop(columns=["file"])
    table = table.assign(
        path=[os.path.relpath(row["file"], root) for row in rows],
        mask_path=[os.path.relpath(folder / row["mask_path"], root) for row in rows],
        lung_quality=[row["lung_mask_quality"]["score"] for row in rows],
        lung_verdict=[row["lung_mask_quality"]["verdict"] for row in rows],
    )
    document = {"schema_version": 1, "model": finder.identity(), "films": [_public(row) for row in rows]}
    write_json(folder / "segmentation.json", document)
    return Segmented(rows, write_manifest(table, folder / "manifest.csv"), root, bad)


def unique_stems(files: Iterable[str]) -> list[str]:
    """Return a file name without suffix for each film; films of the same name in several folders get a number."""
    seen: dict[str, int] = {}
    stems = []
    for file in files:
        stem = Path(file).stem
        seen[stem] = seen.get(stem, 0) + 1
        stems.append(stem if seen[stem] == 1 else f"{stem}_{seen[stem]}")
    return stems


def outlined(film: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the film as uint8 (H, W, 3), blue-green-red, with the outline of the mask drawn on it."""
    picture = cv2.cvtColor(to_uint8(film), cv2.COLOR_GRAY2BGR)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.drawContours(picture, contours, -1, OUTLINE, max(1, round(max(film.shape) / 400)))


def _write_one(film: np.ndarray, found: Segmentation, folder: Path, stem: str, file: str) -> dict[str, Any]:
    mask_path, overlay = f"masks/{stem}.png", f"overlays/{stem}.png"
    for name, picture in ((mask_path, found.mask * np.uint8(255)), (overlay, outlined(film, found.mask))):
        with replacing(folder / name) as aside:
            aside.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return {
        "file": file,
        "mask_path": mask_path,
        "overlay": overlay,
        "size": list(film.shape),
        "lung_mask_quality": found.quality.as_dict(),
    }


def _public(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the film's name instead of its place on this machine."""
    return {"film": Path(row["file"]).name, **{key: value for key, value in row.items() if key != "file"}}
