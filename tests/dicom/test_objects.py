"""The three objects, read back: references, patient, content, and what dciodvfy says of them."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from covidcxr_tf.dicom import codes
from covidcxr_tf.dicom.out import HEAT_MAP, REPORT, SEGMENTATION, Explainer, encoded
from covidcxr_tf.dicom.segmentation import segmentation_object
from covidcxr_tf.dicom.source import Author, source_film
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.models.files import model_digest

KINDS = (SEGMENTATION, HEAT_MAP, REPORT)


@pytest.fixture(scope="module")
def made(explainer: Explainer, dicom_film: Callable[..., bytes]) -> tuple[Any, dict[str, Dataset]]:
    """Return explanation and objects of the film, the objects written and read back."""
    explanation, objects = explainer.explain(dicom_film(), "film")
    return explanation, {kind: pydicom.dcmread(io.BytesIO(encoded(one))) for kind, one in objects.items()}


def items(dataset: Dataset) -> list[Dataset]:
    """Every content item of a report, parents first."""
    return [one for item in dataset.get("ContentSequence", ()) for one in (item, *items(item))]


def texts(report: Dataset) -> list[str]:
    return [str(item.TextValue) for item in items(report) if item.ValueType == "TEXT"]


def referenced(dataset: Any) -> set[str]:
    """Every ReferencedSOPInstanceUID at any depth."""
    return {str(element.value) for element in dataset.iterall() if element.keyword == "ReferencedSOPInstanceUID"}


def test_all_lie_in_the_study_in_series_of_their_own(made: Any, dicom_film: Callable[..., bytes]) -> None:
    film = pydicom.dcmread(io.BytesIO(dicom_film()))
    objects = made[1]
    assert tuple(objects) == KINDS
    for one in objects.values():
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
            assert one[keyword].value == film[keyword].value
        for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
            assert one[keyword].value == film[keyword].value
        assert str(one.PatientName) == "Müller^Jörg"
        assert "not for clinical use" in one.SeriesDescription
        assert one.Manufacturer == "covidcxr_tf" and film.SOPInstanceUID in referenced(one)
    series = {str(one.SeriesInstanceUID) for one in (film, *objects.values())}
    instances = {str(one.SOPInstanceUID) for one in (film, *objects.values())}
    assert len(series) == len(instances) == 4
    assert [one.Modality for one in objects.values()] == ["SEG", "OT", "SR"]


def test_segmentation_holds_the_mask(
    made: Any, explainer: Explainer, dicom_film: Callable[..., bytes], run: Path
) -> None:
    one = made[1][SEGMENTATION]
    assert explainer.lungs is not None
    mask = explainer.lungs.segment(read_image(dicom_film())).mask
    assert mask.any() and not mask.all()
    np.testing.assert_array_equal(one.pixel_array.reshape(mask.shape), mask)
    read = hd.seg.segread(io.BytesIO(encoded(one)))
    planes = read.get_pixels_by_source_instance(source_sop_instance_uids=["1.2.3.4.5.3"])
    np.testing.assert_array_equal(planes[0, ..., 0], mask)
    segment = one.SegmentSequence[0]
    assert segment.SegmentLabel == "Lungs" and segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "39607008"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "small_lungs" and algorithm.AlgorithmVersion == "3"
    assert model_digest(run / "lung_model.keras") in algorithm.AlgorithmParameters


def test_segments_of_lungs_and_heart_and_of_nothing(dicom_film: Callable[..., bytes]) -> None:
    header = source_film(dicom_film())
    left = np.zeros((120, 160), np.uint8)
    left[20:90, 90:140] = 1
    masks = {"left lung": left, "right lung": left[:, ::-1].copy(), "heart": np.zeros_like(left)}
    one = pydicom.dcmread(io.BytesIO(encoded(segmentation_object(header, masks, Author("n", "1", "ab" * 32)))))
    assert [segment.SegmentLabel for segment in one.SegmentSequence] == ["Left lung", "Right lung", "Heart"]
    np.testing.assert_array_equal(one.pixel_array, np.stack(list(masks.values())))


def test_heat_map_is_a_colour_picture_of_film_and_heat(made: Any) -> None:
    one = made[1][HEAT_MAP]
    picture = one.pixel_array
    assert picture.shape == (900, 1800, 3) and one.PhotometricInterpretation == "RGB"
    spread = picture.max(axis=2).astype(int) - picture.min(axis=2)
    assert spread[100:800, 50:750].max() < 8  # the bare film is grey
    assert (spread[100:800, 820:1580] > 60).mean() > 0.02  # the heat is not
    assert one.BurnedInAnnotation == "NO" and one.ConversionType and list(one.PatientOrientation) == ["L", "F"]
    assert one.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5.3"
    assert "Not for clinical use" in one.DerivationDescription and made[0].model["sha256"] in one.ImageComments


def test_report_says_class_probability_model_and_warning(made: Any, run: Path) -> None:
    explanation, objects = made
    report = objects[REPORT]
    numbers = {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in items(report)
        if item.ValueType == "NUM"
    }
    assert numbers == pytest.approx(
        {f"Probability of {name}": chance for name, chance in explanation.probabilities.items()}, abs=1e-6
    )
    called = [
        item.ConceptCodeSequence[0]
        for item in items(report)
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "CLASS_CALLED"
    ]
    assert [code.CodeValue for code in called] == [codes.class_code(explanation.predicted).value]
    said = texts(report)
    assert "Not for clinical use: research software, no medical device." in said
    assert f"Model small, version 3, sha256 {model_digest(run / 'model.keras')}." in said
    assert report.PreliminaryFlag == "PRELIMINARY" and report.VerificationFlag == "UNVERIFIED"
    others = {str(objects[kind].SOPInstanceUID) for kind in (SEGMENTATION, HEAT_MAP)}
    assert referenced(report) == {"1.2.3.4.5.3", *others}
    hd.sr.srread(io.BytesIO(encoded(report)))  # refuses what is no valid tree


def test_codes_fit_their_elements_and_differ() -> None:
    names = ["normal", "covid19", "viral_or_covid19", "Pleural_Thickening", "肺炎", "a\\b", "x" * 100, "x" * 101]
    found = [make(name) for name in names for make in (codes.class_code, codes.probability_code)]
    assert len({code.value for code in found}) == len(found)
    assert all(0 < len(code.value) <= 16 and 0 < len(code.meaning) <= 64 and code.meaning.isascii() for code in found)
    assert not any("\\" in code.value + code.meaning for code in found)


def faults(path: Path) -> list[str]:
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not here: apt-get install dicom3tools")
@pytest.mark.parametrize("film", ["own", "bare", "real"])
def test_dciodvfy_finds_no_error(
    film: str, explainer: Explainer, dicom_film: Callable[..., bytes], tmp_path: Path
) -> None:
    bare = dict.fromkeys(("PatientID", "PatientBirthDate", "StudyTime", "PatientOrientation", "AccessionNumber"))
    source: Any = {"own": dicom_film(), "bare": dicom_film(**bare)}.get(film)
    source = source or get_testdata_file("RG1_UNCR.dcm", download=False)
    for kind, one in explainer.explain(source)[1].items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(encoded(one))
        assert faults(path) == []
    broken = explainer.explain(source)[1][HEAT_MAP]
    del broken.Rows
    (tmp_path / "broken.dcm").write_bytes(encoded(broken))
    assert faults(tmp_path / "broken.dcm")
