"""The film that results belong to: its patient and study, fit to be copied into other objects; who made the results."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom_header import OWN_MANUFACTURER, is_dicom, read_header
from covidcxr_tf.imaging.opening import Source, source_name

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from covidcxr_tf.classifiers import LoadedModel
    from covidcxr_tf.lung_finder import LungFinder

NOTICE = "Not for clinical use: research software, no medical device."
SHORT_NOTICE = "not for clinical use"

IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
_MAY_BE_EMPTY_TOO = ("StudyDate", "StudyTime", "ReferringPhysicianName", "Modality")
_DIRECTIONS = frozenset("LRAPHF")
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")


@dataclass(frozen=True)
class Author:
    """A network, as its results name it: name, version, SHA-256 of its file."""

    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, network: LoadedModel | LungFinder) -> Author:
        """Return the author behind a classifier or a lung network.

        The version is the number of its folder; a network of no such folder has the first twelve digits of its hash.
        """
        from covidcxr_tf.lung_finder import LungFinder

        sha256 = network.sha256 if isinstance(network, LungFinder) else network.digest
        folder = Path(network.path).resolve().parent.name
        return cls(network.name, folder if folder.isdigit() else sha256[:12], sha256)


def source_film(source: Source, name: str | None = None) -> Dataset:
    """Return the header of a film with all that results copy from it: sound elements only, missing ones empty.

    Raises
    ------
    ImageError
        If the film is not DICOM, no frontal chest radiograph, or lacks the UIDs that results refer to.
    """
    where = source_name(source, name)
    if not is_dicom(source, name):
        raise ImageError(
            "is not DICOM, so that there is no study to file results in",
            where=where,
            expected="a DICOM film",
            remedy="leave --dicom-out away",
        )
    header = read_header(source, name)
    with building(where):
        sound = _sound_part(header)
        for keyword in IDENTIFIERS:
            value = str(sound.get(keyword) or "")
            if not _UID.fullmatch(value) or len(value) > 64:
                raise ImageError(f"has no valid {keyword}, to which results refer", where=where)
        for keyword in (*_MAY_BE_EMPTY, *_MAY_BE_EMPTY_TOO):
            if keyword not in sound:
                setattr(sound, keyword, None)
        if sound.PatientSex not in ("M", "F", "O"):
            sound.PatientSex = None
        for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
            if keyword in sound and not all(float(value) > 0 for value in sound[keyword].value or [0]):
                del sound[keyword]
        return sound


def _sound_part(header: Dataset) -> Dataset:
    """Return the elements that can be written again: one broken element is no reason to lose a result."""
    from pydicom.dataset import Dataset

    sound = Dataset()
    for tag in tuple(header.keys()):  # looking at an element converts it, which may fail
        try:
            element = header[tag]
            if element.VR in ("DA", "TM") and not _is_moment(str(element.value or ""), element.VR):
                continue
            alone = Dataset()
            alone.add(element)
            if "SpecificCharacterSet" in header:
                alone.SpecificCharacterSet = header.SpecificCharacterSet
            alone.save_as(io.BytesIO(), implicit_vr=False, little_endian=True)
        except Exception:  # whatever a broken element raises, it is left out
            continue
        sound.add(element)
    sound.file_meta = header.file_meta
    return sound


def _is_moment(text: str, kind: str) -> bool:
    if text == "":
        return True
    forms = ("%Y%m%d",) if kind == "DA" else ("%H%M%S.%f", "%H%M%S", "%H%M", "%H")
    for form in forms:
        try:
            datetime.strptime(text, form)
        except ValueError:
            continue
        return True
    return False


@contextlib.contextmanager
def building(where: str) -> Iterator[None]:
    """Turn what a DICOM library raises into an ImageError that repeats nothing of the header, and keep it silent.

    Its errors and warnings quote values, and those of a header name the patient.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except Exception as cause:
        raise ImageError(f"its header allows no result object ({type(cause).__name__})", where=where) from None


def new_uid() -> str:
    """Return a UID that nobody else has (2.25 and a random UUID)."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def equipment(author: Author) -> dict[str, Any]:
    """Return what the General Equipment module says of results."""
    from covidcxr_tf import __version__

    return {
        "manufacturer": OWN_MANUFACTURER,
        "manufacturer_model_name": short(author.name),
        "software_versions": short(__version__),
        "device_serial_number": author.sha256[:16] or "none",
    }


def short(text: str, length: int = 64) -> str:
    """Return text that fits an LO element: ASCII, no backslash, at most `length` signs."""
    plain = "".join(sign if " " <= sign <= "~" and sign != "\\" else "?" for sign in text)
    return plain.strip()[:length] or "?"


def put_in_study(made: Dataset, header: Dataset, description: str) -> Dataset:
    """Return the object with the film's whole Patient and Study modules and a description of its series.

    The name and the numbers of the patient are the film's own bytes, in its own character set.
    """
    made.copy_patient_and_study_information(header)
    made.SeriesDescription = short(f"{description}, {SHORT_NOTICE}")
    return made


def orientation(header: Dataset) -> list[str] | None:
    """Return the film's PatientOrientation, None (the element is there and empty) where it has none."""
    parts = [str(part) for part in header.get("PatientOrientation") or ()]
    known = len(parts) == 2 and all(part and set(part) <= _DIRECTIONS for part in parts)
    return parts if known else None
