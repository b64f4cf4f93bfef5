"""What results take from a film: sound elements, needed UIDs, and silence about the patient."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import pydicom
import pytest

from covidcxr_tf.dicom.source import building, new_uid, orientation, short, source_film
from covidcxr_tf.errors import ImageError


def test_missing_elements_are_there_and_empty(dicom_film: Callable[..., bytes]) -> None:
    header = source_film(dicom_film(PatientID=None, AccessionNumber=None, PatientSex=None))
    assert header.PatientID is None or header.PatientID == ""
    assert "AccessionNumber" in header and "PatientSex" in header and "PixelData" not in header
    assert str(header.PatientName) == "Müller^Jörg"


def test_broken_elements_are_left_out(dicom_film: Callable[..., bytes]) -> None:
    content = dicom_film(PixelSpacing=[0.0, 0.0])
    for right, wrong in ((b"19431224", b"1943ab24"), (b"101500", b"10h500"), (b"CS\x02\x00M ", b"CS\x02\x00W ")):
        assert content.count(right) == 1
        content = content.replace(right, wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom's warnings quote what they warn of
        header = source_film(content)
    assert not header.PatientBirthDate and not header.StudyTime and not header.PatientSex
    assert "PixelSpacing" not in header
    assert header.StudyDate == "20200401"


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_a_film_without_its_uids_is_refused(keyword: str, dicom_film: Callable[..., bytes]) -> None:
    with pytest.raises(ImageError, match=f"film: has no valid {keyword}, to which results refer"):
        source_film(dicom_film(**{keyword: None}), "film")


def test_what_is_no_dicom_film_is_refused(dicom_film: Callable[..., bytes]) -> None:
    with pytest.raises(ImageError, match="is not DICOM, so that there is no study to file results in; expected a DIC"):
        source_film(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match="the view is LL"):
        source_film(dicom_film(ViewPosition="LL"))


def test_errors_repeat_nothing_and_warnings_are_silent() -> None:
    with pytest.raises(ImageError) as caught, warnings.catch_warnings(record=True) as heard, building("film"):
        warnings.warn("Müller", UserWarning, stacklevel=1)
        raise ValueError("Müller")
    assert str(caught.value) == "film: its header allows no result object (ValueError)"
    assert caught.value.__suppress_context__ and not heard


def test_orientation_and_texts(dicom_film: Callable[..., bytes]) -> None:
    film = pydicom.dcmread(io.BytesIO(dicom_film()))
    assert orientation(film) == ["L", "F"]
    film.PatientOrientation = ["L", "X"]
    assert orientation(film) is None
    del film.PatientOrientation
    assert orientation(film) is None
    assert short("Größe\\Wert") == "Gr??e?Wert" and len(short("x" * 100)) == 64 and short(" ") == "?"
    assert new_uid() != new_uid() and len(new_uid()) <= 64
