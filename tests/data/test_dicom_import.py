"""`data import dicom`: right rows, right refusals, and nothing that names a patient."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from covidcxr_tf.data import dicom_files
from covidcxr_tf.data.dicom_files import find_dicom
from covidcxr_tf.data.dicom_import import import_dicom
from covidcxr_tf.data.dicom_labels import Labels
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.pseudonyms import Pseudonyms
from covidcxr_tf.errors import DataError, ManifestError, UsageError

PLANTED = ("Miller", "MILLER", "Anna", "MRN-4711", "ACC-0815", "19431224", "20200401", "1.2.3.4.5", "Who")


def film(number: int, **elements: Any) -> bytes:
    """A film of 64 x 48; keywords replace elements, None takes one out."""
    levels = np.random.default_rng(number).integers(0, 4096, (64, 48), dtype=np.uint16)
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = ComputedRadiographyImageStorage, f"1.2.3.4.5.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"1.2.3.4.5.1.{number}", f"1.2.3.4.5.2.{number}"
    made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "CHEST", "PA"
    made.PatientName, made.PatientID, made.PatientSex, made.PatientAge = "Miller^Anna", "MRN-4711", "F", "045Y"
    made.PatientBirthDate, made.StudyDate, made.AccessionNumber = "19431224", "20200401", f"ACC-0815-{number}"
    made.ReferringPhysicianName, made.Manufacturer = "Dr^Who", "Maker  Inc."
    made.Rows, made.Columns = levels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = levels.tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three films of one patient and one of another, a lateral one, a leg, a CT, a copy, a text, a link outside."""
    films = {
        "a/1": film(1),
        "a/2.dcm": film(2, ViewPosition="AP", PatientAge=None),
        "b/3.IMA": film(3, ViewPosition=None, PatientSex="O", PatientAge="093Y", Manufacturer=None),
        "b/4": film(4, PatientID="OTHER", BurnedInAnnotation="YES"),
        "b/5": film(5, ViewPosition="LL"),
        "b/6": film(6, BodyPartExamined="LEG"),
        "b/7": film(7, Modality="CT"),
        "b/8": film(1),
        "b/9": film(9, ViewPosition="LAO"),
        "notes.txt": b"Anna Miller",
        ".hidden": film(10),
    }
    place = tmp_path / "films"
    for name, content in films.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    (tmp_path / "outside").write_bytes(film(11))
    (place / "link").symlink_to(tmp_path / "outside")
    return place


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_and_reasons(folder: Path, tmp_path: Path) -> None:
    done = import_dicom(folder, tmp_path / "m.csv")
    found = {row["path"]: row for row in rows(tmp_path / "m.csv")}
    assert list(found) == ["films/a/1", "films/a/2.dcm", "films/b/3.IMA", "films/b/4"]
    assert [row["view"] for row in found.values()] == ["PA", "AP", "unknown", "PA"]
    # 45 as stated; 76 by birth and study; 93 written as 90
    assert [float(row["age"]) for row in found.values()] == [45, 76, 90, 45]
    assert [row["sex"] for row in found.values()] == ["F", "F", "", "F"]
    assert [row["source"] for row in found.values()] == ["Maker Inc.", "Maker Inc.", "unknown", "Maker Inc."]
    assert {(row["original_width"], row["original_height"]) for row in found.values()} == {("48", "64")}
    patients = [row["patient_id"] for row in found.values()]
    assert len(set(patients[:3])) == 1 and patients[3] != patients[0]
    assert len({row["study_id"] for row in found.values()}) == 4
    assert not any(row["label"] for row in found.values())
    assert {row["file"]: row["reason"] for row in rows(done.skipped)} == {
        "b/5": "is a lateral view (--with-lateral keeps it)",
        "b/6": "the film shows LEG",
        "b/7": "modality CT is not radiography",
        "b/8": "is the same film (SOPInstanceUID) as an earlier file",
        "b/9": "is an oblique or decubitus view",
        "link": "is a link that leads outside the folder",
        "notes.txt": "is not DICOM",
    }
    notes = "\n".join(done.notes)
    assert "1 ages above 89 are written as 90" in notes and "1 films say that text is burned" in notes


def test_without_labels_it_is_for_predicting_and_not_for_training(folder: Path, tmp_path: Path) -> None:
    import_dicom(folder, tmp_path / "m.csv")
    assert len(load_manifest(tmp_path / "m.csv", require=("path",))) == 4
    with pytest.raises(ManifestError, match="row 2, column label: the cell is empty"):
        load_manifest(tmp_path / "m.csv")


def test_nothing_names_the_patient(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], covidcxr: Callable
) -> None:
    (folder / "broken").write_bytes(film(12)[:700])
    (folder / "text").write_bytes(film(13).replace(b"US\x02\x00\x40\x00", b"US\x02\x00\x41\x00"))
    for more in ((), ("--json",)):
        done = covidcxr("data", "import", "dicom", folder, tmp_path / "m.csv", *more)
        assert done.code == 0, done.err
        written = [path.read_text() for path in (tmp_path / "m.csv", tmp_path / "m.skipped.csv")]
        said = "\n".join((done.out, done.err, *written))
        assert not [word for word in PLANTED if word in said]
    assert json.loads(done.out)["films"] >= 4


def test_the_salt_is_the_users_alone_and_gives_the_same_ids_again(folder: Path, tmp_path: Path) -> None:
    done = import_dicom(folder, tmp_path / "m.csv")
    assert stat.S_IMODE(done.salt.stat().st_mode) == 0o600 and len(done.salt.read_text()) == 65
    again = import_dicom(folder, tmp_path / "n.csv", salt_file=done.salt)
    other = import_dicom(folder, tmp_path / "o.csv")
    assert done.films["patient_id"].tolist() == again.films["patient_id"].tolist()
    assert not set(done.films["patient_id"]) & set(other.films["patient_id"])
    os.chmod(done.salt, 0o644)
    assert any("others can read the salt" in note for note in import_dicom(folder, tmp_path / "m.csv").notes)
    done.salt.write_text("short")
    with pytest.raises(UsageError, match="a salt of 5 characters; expected at least 32"):
        import_dicom(folder, tmp_path / "m.csv")


def test_hash_by_a_second_implementation() -> None:
    # printf 'patient\0id X' | openssl dgst -sha256 -hmac aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, written out: RFC 2104
    import hashlib

    key = b"a" * 32 + bytes(32)
    inner = hashlib.sha256(bytes(one ^ 0x36 for one in key) + b"patient\0id X").digest()
    outer = hashlib.sha256(bytes(one ^ 0x5C for one in key) + inner).hexdigest()
    assert Pseudonyms(b"a" * 32).name("patient", "id X") == "p" + outer[:20]


@pytest.mark.parametrize("key", ["path", "StudyInstanceUID", "SOPInstanceUID", "AccessionNumber"])
def test_labels_are_joined(key: str, folder: Path, tmp_path: Path) -> None:
    values = {
        "path": ("a/1", "b/4"),
        "StudyInstanceUID": ("1.2.3.4.5.1.1", "1.2.3.4.5.1.4"),
        "SOPInstanceUID": ("1.2.3.4.5.1", "1.2.3.4.5.4"),
        "AccessionNumber": ("ACC-0815-1", "ACC-0815-4"),
    }[key]
    table = tmp_path / "labels.csv"
    table.write_text(f"{key},label\n{values[0]},covid19\n{values[1]},normal\nnobody,normal\n")
    done = import_dicom(folder, tmp_path / "m.csv", labels=table)
    assert done.films["label"].tolist() == ["covid19", "", "", "normal"]
    assert "1 keys of --labels belong to no film" in done.notes
    assert "2 films have no label: enough for `predict`, not for training; --labels joins them" in done.notes


def test_labels_by_the_ids_of_an_earlier_import(folder: Path, tmp_path: Path) -> None:
    first = import_dicom(folder, tmp_path / "m.csv").films
    table = tmp_path / "labels.csv"
    table.write_text(f"patient_id,label\n{first['patient_id'][0]},viral\n{first['patient_id'][3]},normal\n")
    assert import_dicom(folder, tmp_path / "m.csv", labels=table).films["label"].tolist() == [*["viral"] * 3, "normal"]
    assert len(load_manifest(tmp_path / "m.csv")) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,label\na,normal\n", "columns are missing"),
        ("PatientID\nMRN-4711\n", "columns are missing"),
        ("PatientID,label\nMRN-4711,\n", "row 2, column label: the cell is empty"),
        ("PatientID,label\nMRN-4711,normal\nMRN-4711,viral\n", "row 3: another label than in row 2"),
    ],
)
def test_faults_of_labels_name_rows_and_not_patients(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ManifestError, match=said) as caught:
        Labels(tmp_path / "labels.csv")
    assert "MRN" not in str(caught.value)


def test_lateral_films_on_demand_and_results_never(folder: Path, tmp_path: Path) -> None:
    (folder / "own").write_bytes(film(20, Manufacturer="covidcxr_tf"))
    done = import_dicom(folder, tmp_path / "m.csv", with_lateral=True)
    assert done.films["view"].tolist() == ["PA", "AP", "unknown", "PA", "L"]
    assert {row["file"]: row["reason"] for row in rows(done.skipped)}["own"] == "is a result of covidcxr, not a film"


def test_films_without_a_patient_count_by_study(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for number, study in ((1, "1.2.3.1"), (2, "1.2.3.1"), (3, "1.2.3.3")):
        (tmp_path / "films" / str(number)).write_bytes(film(number, PatientID=None, StudyInstanceUID=study))
    done = import_dicom(tmp_path / "films", tmp_path / "m.csv")
    ids = done.films["patient_id"].tolist()
    assert ids[0] == ids[1] != ids[2]
    assert any(note.startswith("3 films without PatientID") for note in done.notes)


def test_paths_that_name_the_patient_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "films" / "miller_anna").mkdir(parents=True)
    (tmp_path / "films" / "miller_anna" / "1").write_bytes(film(1))
    done = import_dicom(tmp_path / "films", tmp_path / "m.csv")
    assert any(note.startswith("1 paths hold a patient's name or number") for note in done.notes)


def test_root_is_needed_where_the_films_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    done = import_dicom(folder, tmp_path / "other" / "m.csv")
    assert done.needs_root and done.root == folder.resolve() and done.films["path"][0] == "a/1"
    with pytest.raises(UsageError, match="does not contain"):
        import_dicom(folder, tmp_path / "m.csv", root=tmp_path / "other")


def test_no_film_at_all(tmp_path: Path, covidcxr: Callable) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "ct").write_bytes(film(1, Modality="CT"))
    done = covidcxr("data", "import", "dicom", tmp_path / "films", tmp_path / "m.csv")
    assert done.code == 3 and "no chest film found" in done.err and not (tmp_path / "m.csv").exists()
    assert rows(tmp_path / "m.skipped.csv") == [{"file": "ct", "reason": "modality CT is not radiography"}]
    done = covidcxr("data", "import", "dicom", tmp_path / "none", tmp_path / "m.csv")
    assert done.code == 3 and "there is no such folder" in done.err
    done = covidcxr("data", "import", "folder", tmp_path, tmp_path / "m.csv", "--labels", "x.csv")
    assert done.code == 2 and "--labels and --salt-file are for dicom" in done.err


def packed(path: Path, members: dict[str, bytes], **modes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = modes.get(name, 0o100644) << 16
            archive.writestr(member, content)
    return path


def test_a_zip_unpacks_films_under_names_of_its_own(tmp_path: Path) -> None:
    members = {
        "miller/1.dcm": film(1),
        "../../escape.dcm": film(2),
        "/tmp/escape.dcm": film(3),
        "..\\escape.dcm": film(4),
        "link": b"/etc/passwd",
        "readme.txt": b"nothing",
        "DICOMDIR": b"\0" * 128 + b"DICM",
        "two": film(5),
    }
    before = set(tmp_path.parent.iterdir())
    place = packed(tmp_path / "films.zip", members, link=0o120777)
    done = import_dicom(place, tmp_path / "m.csv")
    assert done.films["path"].tolist() == ["m_films/000001.dcm", "m_films/000002.dcm"]
    assert [row["reason"] for row in rows(done.skipped)].count("its path leads outside the zip") == 3
    assert "is a link" in {row["reason"] for row in rows(done.skipped)}
    unpacked = tmp_path / "m_films"
    assert sorted(path.name for path in unpacked.iterdir()) == ["000001.dcm", "000002.dcm"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in unpacked.iterdir()} == {0o600}
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700
    assert set(tmp_path.parent.iterdir()) == before and not Path("/tmp/escape.dcm").exists()
    assert not any("hold a patient's name" in note for note in done.notes)
    assert pydicom.dcmread(unpacked / "000002.dcm").SOPInstanceUID == "1.2.3.4.5.5"


def test_a_bomb_in_a_zip_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "MAX_BYTES", 1 << 20)
    bomb = b"\0" * 128 + b"DICM" + bytes(8 << 20)
    place = packed(tmp_path / "films.zip", {"bomb": bomb, "film": film(1)})
    assert place.stat().st_size < 1 << 16
    found = find_dicom(place, tmp_path / "to")
    assert [name for _, name in found.files] == ["film"]
    assert found.skipped == [("bomb", f"has {len(bomb)} bytes, more than {1 << 20}")]
    # One that lies about its size: the bytes are counted as they come.
    content = place.read_bytes().replace(len(bomb).to_bytes(4, "little"), (5000).to_bytes(4, "little"))
    place.write_bytes(content)
    found = find_dicom(place, tmp_path / "lies")
    assert [name for _, name in found.files] == ["film"] and len(found.skipped) == 1
    assert sum(path.stat().st_size for path in (tmp_path / "lies").iterdir()) < 1 << 20
    monkeypatch.setattr(dicom_files, "MAX_UNPACKED", 5000)
    with pytest.raises(DataError, match="unpacks to more than 5000 bytes"):
        find_dicom(packed(tmp_path / "many.zip", {str(n): film(n) for n in range(3)}), tmp_path / "many")
    monkeypatch.setattr(dicom_files, "MAX_MEMBERS", 2)
    with pytest.raises(DataError, match="the zip has 3 files"):
        find_dicom(tmp_path / "many.zip", tmp_path / "many")


def test_a_damaged_zip(tmp_path: Path) -> None:
    place = packed(tmp_path / "films.zip", {"one": film(1), "two": film(2)})
    content = bytearray(place.read_bytes())
    content[400:600] = bytes(200)
    place.write_bytes(content)
    found = find_dicom(place, tmp_path / "to")
    assert found.skipped == [("one", "is damaged in the zip")] and [name for _, name in found.files] == ["two"]
    assert len(list((tmp_path / "to").iterdir())) == 1


def listing(path: Path, *files: list[str]) -> Path:
    made = Dataset()
    made.DirectoryRecordSequence = []
    for parts in files:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", parts
        made.DirectoryRecordSequence.append(record)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_dicomdir_leads_to_what_it_lists(folder: Path, tmp_path: Path) -> None:
    (folder / "cd").mkdir()
    (folder / "cd" / "im1").write_bytes(film(30))  # as a Linux mount shows it
    place = listing(
        folder / "DICOMDIR", ["CD", "IM1"], ["A", "1"], ["..", "OUTSIDE"], ["CD", "NONE"], ["link"], ["/etc/passwd"]
    )
    found = find_dicom(place, tmp_path / "unused")
    assert [path for path, _ in found.files] == ["cd/im1", "a/1"]
    assert ("CD/NONE", "is not there") in found.skipped
    assert ("record 3", "its path leads outside the folder") in found.skipped
    assert ("record 6", "its path leads outside the folder") in found.skipped
    assert ("link", "is a link that leads outside the folder") in found.skipped
    assert not (tmp_path / "unused").exists()


def test_real_dicomdirs_and_what_is_none(tmp_path: Path) -> None:
    place = get_testdata_file("DICOMDIR", download=False)
    found = find_dicom(Path(place), tmp_path / "unused")
    assert len(found.files) == 31
    (tmp_path / "no").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no: "):
        find_dicom(tmp_path / "no", tmp_path / "unused")
