"""From a data set's folder to a manifest: the reader, the root, the derived files, the CSV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from covidcxr_tf import catalog
from covidcxr_tf.data.manifest import write_manifest
from covidcxr_tf.data.schema import PATH_COLUMNS
from covidcxr_tf.data.sources.common import MASK_PARTS, PARTS
from covidcxr_tf.data.sources.derived import pending, write_derived
from covidcxr_tf.errors import DataError, UsageError


class Imported(NamedTuple):
    """What an import wrote: the manifest, its root, whether later commands need it, the derived files' folder."""

    manifest: Path
    root: Path
    needs_root: bool
    derived: Path | None
    films: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Return paths and counts, for JSON."""
        films = self.films
        return {
            "manifest": str(self.manifest),
            "root": str(self.root),
            "needs_root": self.needs_root,
            "derived": None if self.derived is None else str(self.derived),
            "films": len(films),
            "patients": int(films["patient_id"].nunique()),
            "masks": int((films["mask_path"] != "").sum()),
            **{f"{name}s": _counts(films[name]) for name in ("label", "source", "view")},
            "notes": list(films.attrs["notes"]),
        }


def import_films(
    source: str, folder: Path, out: Path, *, root: Path | None = None, with_lateral: bool = False
) -> Imported:
    """Read a data set with the reader of `source` and write its manifest.

    The manifest's paths are relative to `root`; without one, to the folder of `out` where that contains `folder`, else
    to `folder` itself (later commands then need ``--root``). Derived files (merged masks, converted films) go to
    ``<stem of out>_files/`` beside `out`, or inside an explicit `root` where `out` lies outside of it.

    Raises
    ------
    UsageError
        If there is no such source, `folder` is not inside `root`, or there is no place inside it for derived files.
    DataError
        If the data set cannot be read.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", where=folder, expected=f"the data set '{source}', unpacked")
    read = catalog.resolve("sources", source)
    base = _root(folder, out, root)
    films = _rebased(read(folder, with_lateral=with_lateral), folder.resolve(), base)
    derived = _derived_folder(out, base, explicit=root is not None) if pending(films) else None
    if derived is not None:
        films = write_derived(films, base, derived)
    write_manifest(films, out)
    return Imported(out, base, not _is_within(base, out.parent, exactly=True), derived, films)


def _root(folder: Path, out: Path, root: Path | None) -> Path:
    if root is None:
        return out.parent.resolve() if _is_within(folder, out.parent) else folder.resolve()
    if not _is_within(folder, root):
        raise UsageError(
            f"--root {root} does not contain {folder}",
            expected="a folder around the data set",
            remedy="or leave it out",
        )
    return root.resolve()


def _is_within(inner: Path, outer: Path, exactly: bool = False) -> bool:
    inner, outer = inner.resolve(), outer.resolve()
    return inner == outer if exactly else inner.is_relative_to(outer)


def _rebased(films: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """Return the table with its paths relative to `root` instead of `folder`."""
    prefix = folder.relative_to(root).as_posix()
    if prefix == ".":
        return films
    moved = films.copy()
    for name in (*PATH_COLUMNS, *MASK_PARTS.values()):
        if name in films.columns:
            moved[name] = [
                PARTS.join(f"{prefix}/{part}" for part in cell.split(PARTS)) if cell else "" for cell in films[name]
            ]
    return moved


def _derived_folder(out: Path, root: Path, explicit: bool) -> Path:
    name = f"{out.stem}_files"
    if _is_within(out.parent, root):
        return out.parent.resolve() / name
    if not explicit:
        raise UsageError(
            "this set's masks or films have to be converted, and the new files must lie inside the manifest's root",
            where=out,
            expected=f"OUT.csv in {root} or in a folder around it",
            remedy=f"or allow a folder {name} in the data set with --root {os.path.relpath(root)}",
        )
    return root / name


def _counts(cells: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in cells.value_counts().sort_index().items()}
