"""DICOM films as hospitals hand them out to a manifest without names, numbers or dates of patients.

Headers are read, pixels are not: `covidcxr data check` opens every film. Each file that becomes no row stands with its
reason in ``<stem>.skipped.csv`` beside the manifest.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from covidcxr_tf.data.dicom_files import Found, find_dicom
from covidcxr_tf.data.dicom_labels import Labels
from covidcxr_tf.data.manifest import write_manifest
from covidcxr_tf.data.pseudonyms import Pseudonyms, seen_by_others
from covidcxr_tf.data.sources.vocabulary import FRONTAL, LATERAL, UNKNOWN_VIEW, parse_age, parse_sex, parse_view
from covidcxr_tf.errors import DataError, ImageError, UsageError
from covidcxr_tf.imaging.dicom import check_pixels
from covidcxr_tf.imaging.dicom_grey import text
from covidcxr_tf.imaging.dicom_header import OTHER_VIEWS, OWN_MANUFACTURER, plain_reason, read_header, view_of
from covidcxr_tf.imaging.opening import decoding
from covidcxr_tf.progress import track

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OLDEST = 90
"""Higher ages are written as this one: above 89 an age may name a person (45 CFR 164.514(b)(2)(i)(C))."""

NO_MANUFACTURER = "unknown"
COLUMNS = (
    "path",
    "label",
    "patient_id",
    "study_id",
    "source",
    "view",
    "age",
    "sex",
    "original_width",
    "original_height",
    "modality",
    "burned_in_annotation",
)


@dataclass(frozen=True)
class DicomImport:
    """What an import wrote: manifest, skipped files, salt; the root of the paths and whether later commands need it."""

    manifest: Path
    skipped: Path
    salt: Path
    root: Path
    needs_root: bool
    films: pd.DataFrame
    reasons: dict[str, int]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return paths and counts, for JSON."""
        films = self.films
        return {
            "manifest": str(self.manifest),
            "root": str(self.root),
            "needs_root": self.needs_root,
            "salt": str(self.salt),
            "films": len(films),
            "patients": int(films["patient_id"].nunique()),
            "labelled": int((films["label"] != "").sum()),
            **{f"{name}s": _counts(films[name]) for name in ("label", "source", "view")},
            "skipped": {"file": str(self.skipped), "files": sum(self.reasons.values()), "reasons": self.reasons},
            "notes": self.notes,
        }


def import_dicom(
    place: Path,
    out: Path,
    *,
    root: Path | None = None,
    salt_file: Path | None = None,
    labels: Path | None = None,
    with_lateral: bool = False,
) -> DicomImport:
    """Write the manifest of the chest films in a folder, a DICOMDIR or a zip.

    Patients and studies get names by HMAC-SHA256 under a salt, made once beside `out` for the user's eyes only; the
    manufacturer becomes the source; ages above 89 are written as 90. A label comes from `labels` and from nowhere else:
    a film without one has an empty cell, which `predict` takes and training refuses.

    Parameters
    ----------
    place, out : Path
        What to read; the manifest to write.
    root : Path, optional
        Folder that the manifest's paths are relative to; by default that of `out` where it contains the films, else
        theirs. The films of a zip go to ``<stem of out>_films/`` beside `out`.
    salt_file : Path, optional
        The salt, made where it is missing; by default ``<stem of out>.salt``.
    labels : Path, optional
        CSV of ``label`` and one of `covidcxr_tf.data.dicom_labels.KEYS`.
    with_lateral : bool
        Keep lateral films too.

    Raises
    ------
    UsageError
        If the root does not contain the films, or the salt is none.
    DataError
        If nothing can be read, or no film is found.
    """
    known = Labels(labels) if labels is not None else None
    found = find_dicom(place, out.parent / f"{out.stem}_films")
    base = _root(found.root, out, root)
    salt = salt_file or out.with_name(f"{out.stem}.salt")
    out.parent.mkdir(parents=True, exist_ok=True)
    reader = _Reader(found, Pseudonyms.of_file(salt), known, with_lateral)
    rows = reader.rows(found.root.relative_to(base))
    skipped = out.with_name(f"{out.stem}.skipped.csv")
    write_manifest(pd.DataFrame(sorted(found.skipped), columns=["file", "reason"]), skipped)
    if not rows:
        raise DataError("no chest film found", where=place, remedy=f"{skipped} says why each file was left out")
    films = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("path").reset_index(drop=True)
    write_manifest(films, out)
    notes = reader.notes()
    if seen_by_others(salt):
        notes.append("others can read the salt, and with it find a patient's number by trying: chmod 600 it")
    reasons = Counter(reason for _, reason in found.skipped)
    needs_root = base != out.parent.resolve()
    return DicomImport(out, skipped, salt, base, needs_root, films, dict(sorted(reasons.items())), notes)


def _root(folder: Path, out: Path, root: Path | None) -> Path:
    base = root.resolve() if root is not None else out.parent.resolve()
    if folder.is_relative_to(base):
        return base
    if root is not None:
        raise UsageError(f"--root {root} does not contain {folder}", expected="a folder around the films")
    return folder


class _Reader:
    """Turns headers into rows; what becomes none goes to ``found.skipped``."""

    def __init__(self, found: Found, names: Pseudonyms, labels: Labels | None, with_lateral: bool) -> None:
        self.found, self.names, self.labels, self.with_lateral = found, names, labels, with_lateral
        self._instances: set[str] = set()
        self._counts: Counter[str] = Counter()

    def rows(self, prefix: Path) -> list[dict[str, Any]]:
        """Return a row for each film, its path beginning with `prefix`."""
        rows = []
        for relative, name in track(self.found.files, len(self.found.files), "read headers", "files"):
            try:
                rows.append(self._row(relative, name) | {"path": (prefix / relative).as_posix()})
            except ImageError as fault:
                self.found.skipped.append((name, plain_reason(fault)))
        return rows

    def notes(self) -> list[str]:
        """Return in sentences what a user should know of the rows."""
        sentences = {
            "no id": "films without PatientID: each study of them counts as a patient of its own",
            "old": f"ages above 89 are written as {OLDEST}",
            "named": "paths hold a patient's name or number, and the manifest holds the paths: rename these files",
            "burned": "films say that text is burned into the picture: it may name the patient",
            "no label": "films have no label: enough for `predict`, not for training; --labels joins them",
        }
        notes = [f"{self._counts[key]} {words}" for key, words in sentences.items() if self._counts[key]]
        unused = self.labels.unused() if self.labels else 0
        return [*notes, f"{unused} keys of --labels belong to no film"] if unused else notes

    def _row(self, relative: str, name: str) -> dict[str, Any]:
        header = read_header(self.found.root / relative, name, any_view=True)
        # Reading a value may fail too: pydicom converts it only then.
        with decoding(name, "DICOM header", quotes=False):
            check_pixels(header, name)
            self._refuse_own_and_repeated(header, name)
            patient, study = text(header, "PatientID"), text(header, "StudyInstanceUID")
            film = text(header, "SOPInstanceUID")
            # Without IssuerOfPatientID: some films of a patient lack it, and two ids would tear the patient apart.
            who = f"id {patient}" if patient else f"study {study}" if study else f"film {film or name}"
            row = {
                "patient_id": self.names.name("patient", who),
                "study_id": self.names.name("study", study) if study else "",
                "source": _manufacturer(header),
                "view": self._view(header, name),
                "age": self._age(header),
                "sex": parse_sex(text(header, "PatientSex")),
                "original_width": header.Columns,
                "original_height": header.Rows,
                "modality": text(header, "Modality"),
                "burned_in_annotation": text(header, "BurnedInAnnotation") if _says_of_text(header) else "",
            }
            row["label"] = self._label(header, name, row)
            self._count(header, row, patient, relative)
        return row

    def _refuse_own_and_repeated(self, header: Dataset, where: str) -> None:
        if text(header, "Manufacturer") == OWN_MANUFACTURER.upper():
            raise ImageError("is a result of covidcxr, not a film", where=where)
        instance = text(header, "SOPInstanceUID")
        if instance and instance in self._instances:
            raise ImageError("is the same film (SOPInstanceUID) as an earlier file", where=where)
        self._instances.add(instance)

    def _view(self, header: Dataset, where: str) -> str:
        stated = view_of(header)
        view = parse_view(stated)
        if OTHER_VIEWS.fullmatch(stated) and not (view == LATERAL and self.with_lateral):
            kind = "a lateral view (--with-lateral keeps it)" if view == LATERAL else "an oblique or decubitus view"
            raise ImageError(f"is {kind}", where=where)
        return view if view in (*FRONTAL, LATERAL) else UNKNOWN_VIEW

    def _age(self, header: Dataset) -> float | str:
        age = parse_age(text(header, "PatientAge")) if text(header, "PatientAge") else _age_by_dates(header)
        if age is None:
            return ""
        self._counts["old"] += age >= OLDEST
        return min(age, OLDEST)

    def _label(self, header: Dataset, name: str, row: dict[str, Any]) -> str:
        if self.labels is None:
            return ""
        keys = {key: str(header.get(key, "")).strip() for key in ("SOPInstanceUID", "StudyInstanceUID", "PatientID")}
        keys["AccessionNumber"] = str(header.get("AccessionNumber", "")).strip()
        return self.labels.of({**keys, "path": name, "study_id": row["study_id"], "patient_id": row["patient_id"]})

    def _count(self, header: Dataset, row: dict[str, Any], patient: str, relative: str) -> None:
        self._counts["no id"] += not patient
        self._counts["burned"] += row["burned_in_annotation"] == "YES"
        self._counts["no label"] += row["label"] == ""
        words = [*re.split(r"[\^=, ]", text(header, "PatientName")), patient]
        self._counts["named"] += any(len(word) > 2 and word in relative.upper() for word in words)


def _says_of_text(header: Dataset) -> bool:
    return text(header, "BurnedInAnnotation") in ("YES", "NO")


def _manufacturer(header: Dataset) -> str:
    words = " ".join(str(header.get("Manufacturer") or "").split())
    return "".join(sign for sign in words if sign.isprintable())[:64] or NO_MANUFACTURER


def _age_by_dates(header: Dataset) -> float | None:
    """Return whole years from birth to the film, None where a date is missing or wrong."""
    born = _date(header, "PatientBirthDate")
    taken = _date(header, "AcquisitionDate") or _date(header, "ContentDate") or _date(header, "StudyDate")
    if born is None or taken is None or not born <= taken:
        return None
    years = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
    return parse_age(str(years))


def _date(header: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(text(header, keyword), "%Y%m%d").date()
    except ValueError:
        return None


def _counts(cells: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in cells.value_counts().sort_index().items()}
