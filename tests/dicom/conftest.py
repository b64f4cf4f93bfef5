"""A DICOM film with identifiers that must not come out elsewhere, a tiny model, and a node to send to."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.dicom.out import Explainer
from covidcxr_tf.dicom.sending import Peer
from covidcxr_tf.models.files import model_digest, save_model
from covidcxr_tf.predict import load_model_for_films

#: What of the film names its patient.
PLANTED = ("Müller", "Jörg", "MRN-4711", "ACC-0815", "19431224", "Dr^Who", "20200401", "1.2.3.4.5")


@pytest.fixture(scope="session")
def planted() -> tuple[str, ...]:
    """Return the identifiers in the film of `dicom_film`."""
    return PLANTED


@pytest.fixture(scope="session")
def dicom_film() -> Callable[..., bytes]:
    """Return a maker of films 120 x 160: grey, two dark lungs; keywords replace elements, None takes one out."""

    def make(**elements: Any) -> bytes:
        levels = np.full((120, 160), 3200, dtype=np.uint16)
        levels[20:100, 20:70] = levels[20:100, 90:140] = 480
        levels[70:90, 100:130] = 1800
        made = Dataset()
        made.SpecificCharacterSet = "ISO_IR 100"
        made.SOPClassUID = ComputedRadiographyImageStorage
        made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = "1.2.3.4.5.3", "1.2.3.4.5.2", "1.2.3.4.5.1"
        made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "CHEST", "PA"
        made.PatientName, made.PatientID, made.PatientSex = "Müller^Jörg", "MRN-4711", "M"
        made.PatientBirthDate, made.StudyDate, made.StudyTime = "19431224", "20200401", "101500"
        made.AccessionNumber, made.StudyID, made.ReferringPhysicianName = "ACC-0815", "7", "Dr^Who"
        made.Manufacturer, made.SeriesNumber, made.InstanceNumber = "Maker", 1, 1
        made.PatientOrientation = ["L", "F"]
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
        made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID", ComputedRadiographyImageStorage)
        made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2.3")
        buffer = io.BytesIO()
        made.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder: the brighter the film in cells of 4 px, the more 'covid19'; what is dark is lung."""
    folder = tmp_path_factory.mktemp("run") / "3"
    seen = keras.Input((64, 64, 1), name="image")
    network = keras.Model(seen, keras.layers.Conv2D(1, 1, name="logits")(seen))
    network.get_layer("logits").set_weights([np.full((1, 1, 1, 1), -40.0), np.array([20.0])])
    lungs = ImageConfig(size=64, channels=("raw",), lungs="none").model_dump(mode="json")
    facts = {"name": "small_lungs", "arch": "unet", "task": "segmentation", "classes": ["lung"], "image": lungs}
    save_model(network, folder / "lung_model.keras", facts)
    inputs = keras.Input((32, 32, 1), name="image")
    cells = keras.layers.AveragePooling2D(4, name="cells")(inputs)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(cells))
    model = keras.Model(inputs, logits)
    model.get_layer("logits").set_weights([np.array([[-5.0, 5.0]]), np.array([1.0, -1.0])])
    facts = {
        "name": "small",
        "arch": "",
        "task": "classification",
        "classes": ["normal", "covid19"],
        "positive": "covid19",
        "image": ImageConfig(size=32, channels=("raw",), lungs="crop").model_dump(mode="json"),
        "lung_model": {"name": "small_lungs", "sha256": model_digest(folder / "lung_model.keras")},
    }
    save_model(model, folder / "model.keras", facts)
    return folder


@pytest.fixture(scope="session")
def explainer(run: Path) -> Explainer:
    """Return the model of `run`, loaded."""
    return Explainer(load_model_for_films(run))


class Archive:
    """A node that keeps what it is sent, and refuses while `status` says so."""

    def __init__(self) -> None:
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import Verification

        self.stored: list[Dataset] = []
        self.status = 0x0000
        self.came = threading.Semaphore(0)
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(Verification)
        for sop_class in (
            "1.2.840.10008.5.1.4.1.1.66.4",
            "1.2.840.10008.5.1.4.1.1.7",
            "1.2.840.10008.5.1.4.1.1.88.33",
        ):
            entity.add_supported_context(sop_class)
        self.server: Any = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.peer = Peer("127.0.0.1", self.server.server_address[1], "ARCHIVE")

    def _store(self, event: Any) -> int:
        if self.status == 0:
            made = event.dataset
            made.file_meta = event.file_meta
            self.stored.append(made)
        self.came.release()
        return self.status

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server = None


@pytest.fixture
def archive() -> Iterator[Archive]:
    """Return a node on loopback that results are sent to."""
    node = Archive()
    yield node
    node.close()
