"""covid-chestxray, covid-cxnet, hannover, figure1, actualmed: metadata tables and a folder of films."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from covidcxr_tf.data.sources import actualmed, covid_chestxray, covid_cxnet, figure1, hannover
from covidcxr_tf.errors import DataError, ManifestError

Draw = Callable[..., Path]
Note = Callable[..., Path]

COHEN = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,intubation_present,went_icu,in_icu,"
    "needed_supplemental_O2,extubated,temperature,pO2_saturation,leukocyte_count,neutrophil_count,lymphocyte_count,"
    "view,modality,date,location,folder,filename,doi,url,license,clinical_notes,other_notes,\n"
)


def _cohen(patient: str, offset: str, age: str, finding: str, view: str, modality: str, name: str, license: str) -> str:
    return (
        f"{patient},{offset},M,{age},{finding},Y,Y,,,,,,,,,,,,{view},{modality},2020,,images,{name},,,{license},a,,\n"
    )


def _by_name(films: pd.DataFrame) -> Any:  # single cells have no useful type
    return films.assign(name=films["path"].map(lambda path: Path(path).name)).set_index("name")


def test_covid_chestxray(tmp_path: Path, draw: Draw, note: Note) -> None:
    note(
        "metadata.csv",
        COHEN
        + _cohen("2", "0", "65", "Pneumonia/Viral/COVID-19", "PA", "X-ray", "a.jpeg", "CC BY-NC-SA")
        + _cohen("2", "3", "", "Pneumonia/Viral/COVID-19", "AP Supine", "X-ray", "b.PNG", "")
        + _cohen("2", "3", "", "Pneumonia/Viral/COVID-19", "L", "X-ray", "side.png", "")
        + _cohen("2", "9", "65", "Pneumonia/Viral/COVID-19", "Axial", "CT", "ct.png", "")
        + _cohen("313b", "", "30", "Pneumonia/Fungal/Pneumocystis", "AP Erect", "X-ray", "c.png", "")
        + _cohen("4", "1", "40", "No Finding", "PA", "X-ray", "gone.png", ""),
    )
    for name in ("images/a.jpeg", "images/b.png", "images/side.png", "images/c.png", "images/ct.png"):
        draw(name)
    films = covid_chestxray.read(tmp_path)
    assert films["path"].tolist() == ["images/a.jpeg", "images/b.png", "images/c.png"]
    assert films["label"].tolist() == ["covid19", "covid19", "other"]
    assert films["patient_id"].tolist() == ["covid-chestxray_2", "covid-chestxray_2", "covid-chestxray_313b"]
    assert films["view"].tolist() == ["PA", "AP Supine", "AP Erect"]
    assert films["age"].tolist() == [65.0, "", 30.0]
    assert films["offset_days"].tolist() == ["0", "3", ""]
    assert films["license"].tolist() == ["CC BY-NC-SA", *["research use, see source"] * 2]
    assert films["original_finding"][2] == "Pneumonia/Fungal/Pneumocystis"
    assert films.attrs["notes"] == [
        "left out: 1 not X-ray by the column modality, ct.png (CT)",
        "left out: 1 listed but not in the folder, gone.png",
        "left out: 1 lateral films (--with-lateral keeps them), images/side.png",
    ]
    lateral = covid_chestxray.read(tmp_path, with_lateral=True)
    assert lateral.loc[lateral["view"] == "L", "path"].tolist() == ["images/side.png"]


def test_covid_chestxray_first_form_without_modality(tmp_path: Path, draw: Draw, note: Note) -> None:
    note(
        "metadata.csv",
        "Patientid,offset,sex,age,finding,survival,view,date,location,filename,doi, url,license,notes\n"
        '17,3,F,54,"COVID-19, ARDS",Y,AP,2020,,x.jpg,,,,\n'
        "17,9,F,54,COVID-19,Y,CT,2020,,slice.jpg,,,,\n"
        "5, ,,,ARDS,,PA,2017,,y.png,,,,\n",
    )
    for name in ("x.jpg", "slice.jpg", "y.png"):
        draw(f"images/{name}")
    films = covid_chestxray.read(tmp_path)
    assert films["label"].tolist() == ["covid19", "other"]
    assert films["sex"].tolist() == ["F", ""]
    assert any("slice.jpg (CT)" in text for text in films.attrs["notes"])


def test_covid_chestxray_notes_a_finding_it_does_not_know_once(tmp_path: Path, draw: Draw, note: Note) -> None:
    rows = [_cohen("1", "", "", "Pneumonia/Martian", "PA", "X-ray", f"{name}.png", "") for name in "ab"]
    note("metadata.csv", COHEN + "".join(rows))
    draw("images/a.png")
    draw("images/b.png")
    assert covid_chestxray.read(tmp_path).attrs["notes"] == [
        "finding 'Pneumonia/Martian' is not known here: its films are labelled other"
    ]


def test_covid_chestxray_faults(tmp_path: Path, note: Note) -> None:
    with pytest.raises(DataError, match=r"no metadata\.csv here; expected metadata\.csv and images/"):
        covid_chestxray.read(tmp_path)
    note("metadata.csv", COHEN + _cohen("2", "0", "65", "COVID-19", "PA", "X-ray", "a.jpeg", ""))
    with pytest.raises(DataError, match=r"no film found \(left out: 1 listed but not in the folder, a\.jpeg\)"):
        covid_chestxray.read(tmp_path)
    note("metadata.csv", COHEN.replace("finding", "Finding") + "1,2\n")
    with pytest.raises(ManifestError, match=r"metadata\.csv, row 1: column 'finding' is missing"):
        covid_chestxray.read(tmp_path)


def test_covid_cxnet(tmp_path: Path, draw: Draw, note: Note) -> None:
    header = "filename,patient_id,sex,age,view,label,pcr_test,survival,location,admission_offset,url\n"
    note(
        "metadata.csv",
        header
        + "261.jpg,11,male,47,,COVID-19,positive,,Spain,1,\n"
        + "262.jpg,11,male,47,PA,COVID-19,positive,,Spain,4,\n"
        + "280-.jpg,18,female,67,PA,COVID-19,positive,,Spain,1,\n"
        + "374.png,60,,,,COVID-19,,,US,,\n"
        + "484.png,70,,,,COVID-19,,,US,,\n",
    )
    for name in ("261.jpg", "262.jpg", "280-.jpg", "374.PNG", "484p.png", "999.jpeg"):
        draw(f"chest_xray_images/covid19/{name}")
    draw("chest_xray_images/normal/090+3.png")
    draw("documents/case1.png")
    films = _by_name(covid_cxnet.read(tmp_path))
    assert sorted(films.index) == ["090+3.png", "261.jpg", "262.jpg", "280-.jpg", "374.PNG", "484p.png", "999.jpeg"]
    assert films.loc["261.jpg", "patient_id"] == films.loc["262.jpg", "patient_id"] == "covid-cxnet_11"
    assert films.loc["374.PNG", "patient_id"] == "covid-cxnet_60"
    assert films.loc["484p.png", "patient_id"] == "covid-cxnet_70"
    assert films.loc["999.jpeg", "patient_id"] != films.loc["090+3.png", "patient_id"]
    assert (films["label"] == "covid19").sum() == 6
    assert films.loc["090+3.png", "label"] == "normal"
    assert films.loc["280-.jpg", ["sex", "age", "view"]].tolist() == ["F", 67.0, "PA"]
    assert films.loc["261.jpg", "view"] == "unknown"


def test_covid_cxnet_without_metadata(tmp_path: Path, draw: Draw) -> None:
    draw("chest_xray_images/covid19/1.jpg")
    draw("chest_xray_images/normal/1.jpg")
    films = covid_cxnet.read(tmp_path)
    assert films["patient_id"].nunique() == 2
    assert any("patient of its own" in text for text in films.attrs["notes"])


def test_hannover(tmp_path: Path, draw: Draw, note: Note) -> None:
    note(
        "data.csv",
        "patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,modality,projection,crp_val\n"
        "042f06a9,b343e657,m,,,,0,0.0,CR,ap,5.0\n"
        "042f06a9,53c9be49,m,,,,-61,-5.0,DX,pa,-inf\n"
        "8d6990f2,7afaaccc,f,,,,0,,DX,pa,inf\n"
        "8d6990f2,ffffffff,f,,,,0,,DX,pa,inf\n",
    )
    for name in ("b343e657", "53c9be49", "7afaaccc"):
        draw(f"png/{name}.png")
    films = _by_name(hannover.read(tmp_path))
    assert set(films["label"]) == {"covid19"} and set(films["license"]) == {"CC BY 3.0"}
    assert films.loc["b343e657.png", "patient_id"] == films.loc["53c9be49.png", "patient_id"] == "hannover_042f06a9"
    assert films.loc["53c9be49.png", ["view", "sex", "admission_offset_days"]].tolist() == ["PA", "M", "-61"]
    assert films.loc["b343e657.png", "view"] == "AP"
    assert films.attrs["notes"] == ["left out: 1 listed but not in the folder, ffffffff"]


def test_figure1(tmp_path: Path, draw: Draw, note: Note) -> None:
    note(
        "metadata.csv",
        "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,"
        "artifacts/distortion,notes\n"
        "COVID-00002,,M,50+,,,,,AP erect,X-ray,,50+ male\n"
        "COVID-00003a,8,M,28,,,39.1,90,AP erect,X-ray,,one\n"
        "COVID-00003b,8,M,28,COVID-19,,39.1,90,AP erect,X-ray,,Post-intubation\n"
        "COVID-00023,,,,No finding,,,,,X-ray,,Fever 38°\n"
        "COVID-00031,,,,Pneumonia,,,,PA,X-ray,,x\n"
        "COVID-00048,,,,COVID-19,,,,AP,X-ray,,x\n",
        encoding="latin-1",
    )
    for name in ("COVID-00002.jpg", "COVID-00003a.jpg", "COVID-00003b.png", "COVID-00023.jpg", "COVID-00031.jpg"):
        draw(f"images/{name}")
    films = _by_name(figure1.read(tmp_path))
    assert films["label"].to_dict() == {
        "COVID-00002.jpg": "other",
        "COVID-00003a.jpg": "other",
        "COVID-00003b.png": "covid19",
        "COVID-00023.jpg": "normal",
        "COVID-00031.jpg": "pneumonia",
    }
    assert films.loc["COVID-00003a.jpg", "patient_id"] == "figure1_COVID-00003"
    assert films.loc["COVID-00003b.png", "patient_id"] == "figure1_COVID-00003"
    assert films.loc["COVID-00002.jpg", ["age", "view"]].tolist() == ["", "AP Erect"]
    assert films.loc["COVID-00023.jpg", "view"] == "unknown"


def test_actualmed(tmp_path: Path, draw: Draw, note: Note) -> None:
    names = [f"CR.1.2.840.113564.1722810170.2020031309002342170{number}.1003000225002.png" for number in range(3)]
    note(
        "metadata.csv",
        "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,imagename,"
        "artifacts/distortion,notes\n"
        f'ANON196,,,,,,,,PA,X-ray,{names[0]},,"Inconclusive, date taken (YYYYMMDD): 20200313"\n'
        f'ANON196,,,,COVID-19,,,,AP,X-ray,{names[1]},,", date taken (YYYYMMDD): 20200318"\n'
        f'ANON56,,,,No finding,,,,PA,X-ray,{names[2]},,"Negative"\n',
    )
    for name in names:
        draw(f"images/{name}")
    films = _by_name(actualmed.read(tmp_path)).loc[names]
    assert films["label"].tolist() == ["other", "covid19", "normal"]
    assert films["patient_id"].tolist() == ["actualmed_ANON196", "actualmed_ANON196", "actualmed_ANON56"]
    assert films["view"].tolist() == ["PA", "AP", "PA"]
