"""nih-cxr14, rsna, kermany, covidx, radiography, folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from covidcxr_tf.data.sources import covidx, folder, kermany, nih_cxr14, radiography, rsna
from covidcxr_tf.errors import DataError, ManifestError

Draw = Callable[..., Path]
Note = Callable[..., Path]

NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,{},View Position,OriginalImage[Width,Height],"
    "OriginalImagePixelSpacing[x,y],\n"
)


def _by_stem(films: pd.DataFrame) -> Any:  # single cells have no useful type
    return films.assign(stem=films["path"].map(lambda path: Path(path).stem)).set_index("stem")


@pytest.mark.parametrize(
    ("table", "sex", "age"), [("Data_Entry_2017.csv", "Gender", "058Y"), ("Data_Entry_2017_v2020.csv", "Sex", "58")]
)
def test_nih(tmp_path: Path, draw: Draw, note: Note, table: str, sex: str, age: str) -> None:
    note(
        table,
        NIH.format(f"Patient {sex}")
        + f"00000001_000.png,Cardiomegaly|Pneumonia,0,1,{age},M,PA,2682,2749,0.143,0.143,\n"
        + "00000001_001.png,Infiltration,1,1,59,M,AP,2894,2729,0.143,0.143,\n"
        + "00000013_005.png,No Finding,5,13,414,F,AP,2500,2048,0.168,0.168,\n"
        + "00000014_000.png,No Finding,0,14,30,F,PA,2500,2048,0.168,0.168,\n",
    )
    note("train_val_list.txt", "00000001_000.png\n00000001_001.png\n")
    note("test_list.txt", "00000013_005.png\n")
    for name in ("images_001/images/00000001_000.png", "images_001/images/00000001_001.png"):
        draw(name)
    draw("images_012/images/00000013_005.png")
    films = nih_cxr14.read(tmp_path)
    assert films["label"].tolist() == ["pneumonia", "other", "normal"]
    assert films["findings"].tolist() == ["Cardiomegaly|Pneumonia", "Infiltration", "No Finding"]
    assert films["patient_id"].tolist() == ["nih-cxr14_1", "nih-cxr14_1", "nih-cxr14_13"]
    assert films["age"].tolist() == [58.0, 59.0, ""]
    assert films["view"].tolist() == ["PA", "AP", "AP"]
    assert films["published_split"].tolist() == ["train_val", "train_val", "test"]
    assert films[["original_width", "original_height"]].iloc[0].tolist() == ["2682", "2749"]
    assert films.attrs["notes"] == ["left out: 1 listed but not in the folder, 00000014_000.png"]


def test_nih_unknown_finding_names_its_row(tmp_path: Path, draw: Draw, note: Note) -> None:
    note("Data_Entry_2017.csv", NIH.format("Patient Gender") + "1_0.png,Infiltrate,0,1,58,M,PA,1,1,0.1,0.1,\n")
    draw("images/1_0.png")
    with pytest.raises(ManifestError, match=r"row 2, column Finding Labels: finding 'Infiltrate'"):
        nih_cxr14.read(tmp_path)


def _dicom(path: Path, age: str, sex: str, view: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    film = pydicom.Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, film.file_meta.MediaStorageSOPInstanceUID
    with pydicom.config.disable_value_validation():  # the set writes 51 where DICOM wants 051Y
        film.PatientAge, film.PatientSex, film.ViewPosition = age, sex, view
    film.Rows = film.Columns = 4
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit, film.SamplesPerPixel, film.PixelRepresentation = 7, 1, 0
    film.PhotometricInterpretation = "MONOCHROME2"
    film.PixelData = np.zeros((4, 4), np.uint8).tobytes()
    with pydicom.config.disable_value_validation():
        film.save_as(path, enforce_file_format=True)


def _rsna_tables(note: Note) -> None:
    note(
        "stage_2_detailed_class_info.csv",
        "patientId,class\nid-a,Lung Opacity\nid-a,Lung Opacity\nid-b,Normal\nid-c,No Lung Opacity / Not Normal\n"
        "id-gone,Normal\n",
    )
    note(
        "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\nid-a,264.0,152.0,213.0,379.0,1\nid-a,562.0,152.0,256.0,453.0,1\n"
        "id-b,,,,,0\nid-c,,,,,0\nid-gone,,,,,0\n",
    )


def test_rsna(tmp_path: Path, draw: Draw, note: Note) -> None:
    _rsna_tables(note)
    _dicom(tmp_path / "stage_2_train_images/id-a.dcm", "51", "F", "PA")
    _dicom(tmp_path / "stage_2_train_images/id-b.dcm", "148", "M", "AP")
    (tmp_path / "stage_2_train_images/id-c.dcm").write_bytes(b"not a DICOM file")
    _dicom(tmp_path / "stage_2_test_images/id-gone-too.dcm", "1", "M", "AP")
    films = _by_stem(rsna.read(tmp_path))
    assert films["label"].to_dict() == {"id-a": "pneumonia", "id-b": "normal", "id-c": "other"}
    assert films.loc["id-a", ["age", "sex", "view"]].tolist() == [51.0, "F", "PA"]
    assert films.loc["id-b", ["age", "view"]].tolist() == ["", "AP"]  # 148 years is a slip of the set
    assert films.loc["id-a", "boxes"] == "264.0 152.0 213.0 379.0|562.0 152.0 256.0 453.0"
    assert films.loc["id-b", "boxes"] == ""
    assert films.loc["id-a", "patient_id"] == "rsna_id-a"
    assert any("do not mix this set with nih-cxr14" in text for text in films.attrs["notes"])
    assert any("1 listed but not in the folder, id-gone" in text for text in films.attrs["notes"])


def test_rsna_with_the_mapping_shares_patients_with_nih(tmp_path: Path, draw: Draw, note: Note) -> None:
    _rsna_tables(note)
    draw("stage_2_train_images/id-a.png")
    draw("stage_2_train_images/id-b.png")
    mapping = [
        {"subset_img_id": "id-a", "img_id": "00000013_005.png"},
        {"subset_img_id": "id-b", "img_id": "00000013_009.png"},
    ]
    note("pneumonia-challenge-dataset-mappings_2018.json", json.dumps(mapping))
    films = rsna.read(tmp_path)
    assert films["patient_id"].tolist() == ["nih-cxr14_13"] * 2
    assert films["nih_image"].tolist() == ["00000013_005.png", "00000013_009.png"]
    assert not any("do not mix" in text for text in films.attrs["notes"])
    note("pneumonia-challenge-dataset-mappings_2018.json", '[{"id": 1}]')
    with pytest.raises(ManifestError, match="not the published mapping"):
        rsna.read(tmp_path)


def test_rsna_unknown_class_names_its_row(tmp_path: Path, note: Note) -> None:
    _rsna_tables(note)
    note("stage_2_detailed_class_info.csv", "patientId,class\nid-a,Normal\nid-a,Normal\nid-b,Maybe\n")
    with pytest.raises(ManifestError, match=r"row 4, column class: unknown class 'Maybe'"):
        rsna.read(tmp_path)


def test_kermany(tmp_path: Path, draw: Draw) -> None:
    for name in (
        "train/PNEUMONIA/person1000_bacteria_2931.jpeg",
        "train/PNEUMONIA/person1000_virus_1681.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
        "test/PNEUMONIA/person1_virus_7.jpeg",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/IM-0115-0001-0002.jpeg",
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg",
        "train/PNEUMONIA/strange.jpeg",
    ):
        draw(f"chest_xray/{name}")
        draw(f"chest_xray/chest_xray/{name}")  # Kaggle's archive holds everything twice
        draw(f"chest_xray/__MACOSX/{name}")
    films = _by_stem(kermany.read(tmp_path))
    assert len(films) == 9
    assert films["label"].to_dict() == {
        "person1000_bacteria_2931": "bacterial",
        "person1000_virus_1681": "viral",
        "person1_virus_6": "viral",
        "person1_virus_7": "viral",
        "IM-0115-0001": "normal",
        "IM-0115-0001-0002": "normal",
        "NORMAL2-IM-1427-0001": "normal",
        "BACTERIA-1008087-0001": "bacterial",
        "strange": "pneumonia",
    }
    patients = films["patient_id"]
    assert patients["person1_virus_6"] == patients["person1_virus_7"] == "kermany_person1"
    assert patients["person1000_bacteria_2931"] == patients["person1000_virus_1681"]
    assert patients["IM-0115-0001"] == patients["IM-0115-0001-0002"] != patients["NORMAL2-IM-1427-0001"]
    assert films.loc["person1_virus_6", "published_split"] == "test"
    assert set(films["age"]) == {""}
    assert films.attrs["notes"][0].startswith("left out: 9 second copy of a film")


COVIDX = (
    "19 1-s2.0-gr2_lrg-a.jpg COVID-19 cohen\n"
    "COVID-00003b COVID-00003b.jpg COVID-19 fig1\n"
    "ANON45 CR.1.2.840.png COVID-19 actmed\n"
    "COVID 119 COVID(119).png COVID-19 sirm\n"
    "46baab38-2341 46baab38-2341.png normal rsna\n"
    "\n"
    "A921742 A921742-12-31-1900-NA-FLAT_PLATE_OF_ABDOMEN_PORTABLE-39258-1.000000-AP-81558-1-1.jpg COVID-19 stonybrook\n"
    "A921742 A921742-12-31-1900-NA-CHEST_AP_PORT-1.jpg pneumonia stonybrook\n"
)


def test_covidx(tmp_path: Path, draw: Draw, note: Note) -> None:
    note("train_COVIDx9A.txt", COVIDX)
    note("test_COVIDx9A.txt", "8 46baab38-2341.png pneumonia\n")  # the first version names no source
    names = [line.split()[-3] for line in COVIDX.splitlines() if line]
    for name in names:
        draw(f"data/train/{name}")
    draw("data/test/46baab38-2341.png")
    films: Any = covidx.read(tmp_path).set_index("path")
    assert films["published_split"].value_counts().to_dict() == {"train": 6, "test": 1}
    assert films["patient_id"].to_dict() == {
        "data/test/46baab38-2341.png": "covidx_8",
        "data/train/1-s2.0-gr2_lrg-a.jpg": "covid-chestxray_19",
        "data/train/46baab38-2341.png": "rsna_46baab38-2341",
        "data/train/A921742-12-31-1900-NA-CHEST_AP_PORT-1.jpg": "stonybrook_A921742",
        "data/train/COVID(119).png": "radiography_COVID-119",
        "data/train/COVID-00003b.jpg": "figure1_COVID-00003",
        "data/train/CR.1.2.840.png": "actualmed_ANON45",
    }
    assert films.loc["data/train/46baab38-2341.png", "label"] == "normal"
    assert films.loc["data/test/46baab38-2341.png", "label"] == "pneumonia"
    assert films.loc["data/train/COVID(119).png", ["label", "source"]].tolist() == ["covid19", "radiography"]
    assert any("1 of the abdomen by its name" in text for text in films.attrs["notes"])


def test_covidx_negative_is_not_normal_and_rsna_patients_follow_the_mapping(
    tmp_path: Path, draw: Draw, note: Note
) -> None:
    note("train.txt", "5 ARDSSevere.png negative cohen\nid-a id-a.png negative rsna\n7 p.png positive ricord\n")
    note(
        "pneumonia-challenge-dataset-mappings_2018.json",
        json.dumps([{"subset_img_id": "id-a", "img_id": "00000013_005.png"}]),
    )
    for name in ("ARDSSevere", "id-a", "p"):
        draw(f"train/{name}.png")
    films = _by_stem(covidx.read(tmp_path))
    assert films["label"].to_dict() == {"ARDSSevere": "other", "id-a": "other", "p": "covid19"}
    assert films.loc["id-a", ["patient_id", "source"]].tolist() == ["nih-cxr14_13", "rsna"]


def test_covidx_faults(tmp_path: Path, note: Note) -> None:
    with pytest.raises(DataError, match=r"no train\*\.txt"):
        covidx.read(tmp_path)
    note("train_COVIDx8A.txt", "1 a.png maybe cohen\n")
    with pytest.raises(ManifestError, match=r"row 1: '1 a\.png maybe cohen' has no known class"):
        covidx.read(tmp_path)
    note("train_COVIDx8B.txt", "")
    with pytest.raises(DataError, match="2 lists of train films"):
        covidx.read(tmp_path)


def _radiography_films(draw: Draw) -> None:
    for group, name in (
        ("COVID", "COVID-1"),
        ("Lung_Opacity", "Lung_Opacity-1"),
        ("Normal", "Normal-1"),
        ("Normal", "Normal-2"),
        ("Viral Pneumonia", "Viral Pneumonia-1"),
    ):
        draw(f"set/{group}/images/{name}.png", (12, 12))
        draw(f"set/{group}/masks/{name}.png", (6, 6))


def test_radiography(tmp_path: Path, draw: Draw) -> None:
    pytest.importorskip("openpyxl")
    _radiography_films(draw)
    sheets = {
        "COVID": [("COVID-1", "https://github.com/armiro/COVID-CXNet")],
        "Normal": [  # the table writes NORMAL-1 for the file Normal-1.png
            ("NORMAL-1", "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"),
            ("NORMAL-2", "https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia"),
        ],
    }
    for group, rows in sheets.items():
        table = pd.DataFrame([(name, "PNG", "256*256", url) for name, url in rows])
        table.columns = ["FILE NAME", "FORMAT", "SIZE", "URL"]
        table.to_excel(tmp_path / f"set/{group}.metadata.xlsx", index=False)
    films = _by_stem(radiography.read(tmp_path))
    assert films["label"].to_dict() == {
        "COVID-1": "covid19",
        "Lung_Opacity-1": "pneumonia",
        "Normal-1": "normal",
        "Normal-2": "normal",
        "Viral Pneumonia-1": "viral",
    }
    assert films["source"].tolist() == ["covid-cxnet", "radiography", "rsna", "kermany", "radiography"]
    assert films["patient_id"].nunique() == 5
    # half the film's size: to be brought to size, not used as it is
    assert films.loc["COVID-1", "mask_parts"] == "set/COVID/masks/COVID-1.png"
    assert set(films["mask_path"]) == {""}


def test_radiography_first_release_without_tables_and_masks(tmp_path: Path, draw: Draw) -> None:
    for name in ("COVID/COVID (1).png", "NORMAL/NORMAL (1).png", "Viral Pneumonia/Viral Pneumonia (1).png"):
        draw(name)
    films = radiography.read(tmp_path)
    assert films["label"].tolist() == ["covid19", "normal", "viral"]
    assert set(films["source"]) == {"radiography"}
    assert any("no *.metadata.xlsx" in text for text in films.attrs["notes"])


def test_radiography_mask_of_the_films_size_is_used_as_it_is(tmp_path: Path, draw: Draw) -> None:
    draw("COVID/images/COVID-1.png", (6, 6))
    draw("COVID/masks/COVID-1.png", (6, 6))
    films = radiography.read(tmp_path)
    assert films["mask_path"].tolist() == ["COVID/masks/COVID-1.png"]
    assert "mask_parts" not in films.columns


def test_folder(tmp_path: Path, draw: Draw) -> None:
    for name in (
        "COVID-19/a.png",
        "Normal/a.png",
        "Normal/anna/1.png",
        "COVID-19/anna/day 9/2.png",
        "sarcoidosis/x.jpg",
        "stray.png",
    ):
        draw(f"mine/{name}")
    films: Any = folder.read(tmp_path / "mine").set_index("path")
    assert films["label"].to_dict() == {
        "COVID-19/a.png": "covid19",
        "COVID-19/anna/day 9/2.png": "covid19",
        "Normal/a.png": "normal",
        "Normal/anna/1.png": "normal",
        "sarcoidosis/x.jpg": "sarcoidosis",
    }
    assert films.loc["Normal/anna/1.png", "patient_id"] == films.loc["COVID-19/anna/day 9/2.png", "patient_id"]
    assert films.loc["Normal/a.png", "patient_id"] != films.loc["COVID-19/a.png", "patient_id"]
    assert set(films["source"]) == {"mine"}
    assert "left out: 1 outside any label's sub-folder, stray.png" in films.attrs["notes"]


def test_folder_without_films(tmp_path: Path, note: Note) -> None:
    note("normal/readme.txt", "nothing")
    with pytest.raises(DataError, match="no film found; expected one sub-folder a label"):
        folder.read(tmp_path)
