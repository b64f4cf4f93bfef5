"""Synthetic chest films: a demo data set of films, masks and a manifest (`make_film` makes one film alone)."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from covidcxr_tf.data.exposure import HOSPITALS
from covidcxr_tf.data.film import LABELS, SOURCES, SyntheticFilm, check, check_labels, check_size, make_film
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import write_json, write_text

__all__ = ["COLUMNS", "DEFAULT_LABELS", "LABELS", "SOURCES", "SyntheticFilm", "make_film", "write_demo"]

DEFAULT_LABELS: tuple[str, ...] = ("normal", "covid19", "pneumonia")
LICENSE = "synthetic, CC0"
COLUMNS = (
    "path", "label", "patient_id", "source", "view", "age", "sex", "findings", "mask_path", "heart_mask_path",
    "original_width", "original_height", "license", "sha256",
)  # fmt: skip
PER_CLASS = 3  # patients a class needs at least, so that train, validation and test each get one
VERSION = 2  # of the phantom: another number means other films from the same seed
#: What a reader with the NIH's 14 names would write for the pattern that a label draws; covid19 was not among them,
#: so those films are unknown, as in the NIH's own set.
FINDINGS = {
    "normal": "No Finding", "pneumonia": "Infiltration|Pneumonia", "bacterial": "Consolidation|Pneumonia",
    "viral": "Infiltration|Pneumonia", "tuberculosis": "Infiltration|Nodule",
}  # fmt: skip
MARKERS = ("ROOM 1", "PORTABLE", "ROOM 3", "MOBILE", "ROOM 5", "WARD", "ROOM 7")


def write_demo(
    out: str | Path,
    patients: int = 60,
    seed: int = 0,
    size: int = 512,
    labels: Sequence[str] = DEFAULT_LABELS,
    *,
    shortcut: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a demo data set: films, lung and heart masks, and a manifest without splits.

    Labels and hospitals go round so that every class has films of every hospital. Patient ``i`` depends on `seed` and
    ``i`` alone: a larger demo starts with the films of the smaller one. A patient has one to three films.

    Parameters
    ----------
    out : str or path
        Folder to make; it is there whole or not at all. If it holds the very same demo already, nothing is written.
    patients : int
        At least 3 for each label.
    seed : int
        0 or more.
    size : int
        Longest side of a film in pixels, 32 to 4096.
    labels : sequence of str
        Different names out of `LABELS`.
    shortcut : bool
        True ties hospital and burnt-in caption to the label, a fault that an audit has to find.
    progress : callable, optional
        Called with (films done, films in all).

    Returns
    -------
    pathlib.Path
        The manifest, columns `COLUMNS`. Films are PNG, 8 bits (``demo-west``: 16); masks are 0/255 PNG.

    Raises
    ------
    UsageError
        For arguments out of range, or if `out` holds anything else.
    """
    labels = tuple(labels)
    check_labels(labels)
    check_size(size)
    check(seed >= 0, f"seed {seed}", "0 or more")
    least = PER_CLASS * len(labels)
    check(patients >= least, f"{patients} patients for {len(labels)} labels", f"at least {least}, {PER_CLASS} a label")
    folder = Path(out)
    settings = {
        "schema_version": 1, "generator": VERSION, "patients": patients, "seed": seed, "size": size,
        "labels": list(labels), "shortcut": shortcut,
    }  # fmt: skip
    if _holds(folder, settings):
        return folder / "manifest.csv"
    with _new_folder(folder) as work:
        plan = [_patient(seed, number, labels, shortcut) for number in range(patients)]
        total = sum(one.films for one in plan)
        rows = []
        for film in (film for one in plan for film in one.films_to_make()):
            rows.append(_write_film(work, film, size))
            if progress is not None:
                progress(len(rows), total)
        table = _table(rows)
        write_text(work / "manifest.csv", table)
        write_json(work / "demo.json", {**settings, "manifest_sha256": _digest(table.encode())})
    return folder / "manifest.csv"


@dataclasses.dataclass(frozen=True)
class _Planned:
    """One patient of a demo, or one of the patient's films (`index`)."""

    number: int
    label: str
    source: str
    caption: str | None
    seed: np.random.SeedSequence
    films: int
    index: int = 0

    def films_to_make(self) -> Iterator[_Planned]:
        return (dataclasses.replace(self, index=index) for index in range(self.films))


def _patient(seed: int, number: int, labels: tuple[str, ...], shortcut: bool) -> _Planned:
    turn, which = divmod(number, len(labels))
    films = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 3))).choice(
        [1, 2, 3], p=[0.5, 0.3, 0.2]
    )
    return _Planned(
        number=number,
        label=labels[which],
        source=SOURCES[(which if shortcut else turn) % len(SOURCES)],
        caption=MARKERS[which] if shortcut else None,
        seed=np.random.SeedSequence(seed, spawn_key=(number,)),
        films=int(films),
    )


def _write_film(folder: Path, plan: _Planned, size: int) -> dict[str, object]:
    made = make_film(plan.label, plan.source, plan.seed, size, index=plan.index, caption=plan.caption)
    name = f"demo{plan.number + 1:04d}_{plan.index + 1}.png"
    deep = HOSPITALS[plan.source].bits == 16
    levels = np.rint(made.film * (65535 if deep else 255))
    pixels = levels.astype(np.uint16) if deep else levels.astype(np.uint8)
    content = _png(pixels)
    films = {"films": content, "lungs": _png(made.lung_mask * 255), "hearts": _png(made.heart_mask * 255)}
    for kind, data in films.items():
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / name).write_bytes(data)
    height, width = made.film.shape
    values = (
        f"films/{name}", plan.label, f"demo{plan.number + 1:04d}", plan.source, made.view, made.age, made.sex,
        FINDINGS.get(plan.label, ""), f"lungs/{name}", f"hearts/{name}", width, height, LICENSE, _digest(content),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _png(pixels: NDArray[np.uint8 | np.uint16]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _table(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; on success it becomes `folder`, else it goes without a trace."""
    inside = folder.exists()
    place = folder if inside else folder.resolve().parent
    place.mkdir(parents=True, exist_ok=True)
    work = place / f".{folder.resolve().name}.{secrets.token_hex(4)}"
    work.mkdir()
    try:
        yield work
        if inside:
            # An empty folder may be a mount point or the shell's own, which no other folder can replace.
            for child in sorted(work.iterdir(), key=lambda path: path.name == "manifest.csv"):
                os.replace(child, folder / child.name)
        else:
            os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _holds(folder: Path, settings: dict[str, object]) -> bool:
    """Return True if `folder` has this very demo already, False if it is free; else raise UsageError."""
    remedy = "name a new folder or empty this one"
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UsageError("is a file", where=folder, expected="a folder to make", remedy=remedy)
    if not any(folder.iterdir()):
        return False
    try:
        earlier = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
        digest = earlier.pop("manifest_sha256")
        table = (folder / "manifest.csv").read_bytes()
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        raise UsageError("is not empty", where=folder, expected="a new or empty folder", remedy=remedy) from None
    if earlier != settings:
        raise UsageError("holds a demo made with other options", where=folder, remedy=remedy)
    if _digest(table) != digest or not _whole(folder, table.decode("utf-8")):
        raise UsageError("holds a demo that was changed since", where=folder, remedy=remedy)
    return True


def _whole(folder: Path, table: str) -> bool:
    """Return True if every film is as it was written and every mask is there."""
    for row in csv.DictReader(io.StringIO(table)):
        film, masks = folder / row["path"], (folder / row["mask_path"], folder / row["heart_mask_path"])
        if not all(path.is_file() for path in (film, *masks)) or _digest(film.read_bytes()) != row["sha256"]:
            return False
    return True
