"""Names and numbers of patients, planted in headers and file names, come out nowhere but where they belong."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

HEADER = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Xaverhuber^Walpurga",
    "PatientID": "MRN-471188",
    "PatientBirthDate": "19431224",
    "AccessionNumber": "ACC-081577",
    "InstitutionName": "Klinikum Hinterholz",
    "ReferringPhysicianName": "Quacksalber^Otto",
    "OtherPatientIDs": "SSN-99887766",
    "StudyDate": "20200401",
    "StudyDescription": "Thorax von Xaverhuber",
}
PLANTED = (
    *("Xaverhuber", "Walpurga", "471188", "19431224", "081577", "Hinterholz", "Quacksalber", "99887766", "20200401"),
    *("XAVERHUBER", "HINTERHOLZ"),
)
FILE_NAME = "Nepomuk_4242424242.dcm"
IN_NAME = ("Nepomuk", "4242424242")
#: Elements of the picture in which such text has been seen: a parser's error repeats it.
MISPLACED = (
    *("WindowCenter", "RescaleSlope", "NumberOfFrames", "PixelPaddingValue", "Rows", "BitsStored", "Modality"),
    *("ViewPosition", "PhotometricInterpretation", "VOILUTFunction", "PixelRepresentation"),
)


def _module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dicom() -> Callable[..., bytes]:
    """Return a maker of films with `HEADER`; a keyword puts the patient's name in an element of the picture."""
    scripts = str(Path(__file__).parents[1] / "scripts")
    sys.path.insert(0, scripts)
    made = importlib.import_module("hostile_mutants")
    sys.path.remove(scripts)

    def make(misplaced: str | None = None) -> bytes:
        content = made.dicom_film(made.film_levels(12), 12, **HEADER)
        if misplaced is None:
            return content
        import io

        import pydicom

        film = pydicom.dcmread(io.BytesIO(content))
        film.pop(misplaced, None)
        film.add_new(misplaced, "LO", "Xaverhuber 471188")
        buffer = io.BytesIO()
        film.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.models.files import save_model

    image = keras.Input((32, 32, 1), name="image")
    cells = keras.layers.AveragePooling2D(4, name="cells")(image)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(cells))
    settings = ImageConfig(size=32, channels=("raw",), lungs="none").model_dump(mode="json")
    facts = {"name": "small", "arch": "", "task": "classification", "classes": ["normal", "covid19"], "image": settings}
    return save_model(keras.Model(image, logits), tmp_path_factory.mktemp("model") / "model.keras", facts)


def _said(*texts: str | bytes, words: tuple[str, ...] = PLANTED) -> list[str]:
    whole = "\n".join(text if isinstance(text, str) else text.decode("latin-1") for text in texts)
    return [word for word in words if word in whole]


def _files(folder: Path) -> list[bytes]:
    return [path.name.encode() + b"\n" + path.read_bytes() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", ["explain", "predict", "enhance"])
def test_results_and_what_is_said_name_nobody_of_the_header(
    command: str,
    dicom: Callable[..., bytes],
    model: Path,
    tmp_path: Path,
    covidcxr: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    film = tmp_path / "in" / "film.dcm"
    film.parent.mkdir()
    film.write_bytes(dicom())
    assert _said(film.read_bytes(), words=("Xaverhuber", "471188")) == ["Xaverhuber", "471188"]
    out = tmp_path / "out"
    words = {
        "explain": ("--model", model, "--method", "saliency", "--json", "--out", out),
        "predict": ("--model", model, "--out", out / "table.csv"),
        "enhance": ("--out", out),
    }
    done = covidcxr(command, film, *words[command])
    assert done.code == 0, done.err
    written = _files(out)
    assert written
    assert _said(done.out, done.err, caplog.text, *written) == []


@pytest.mark.parametrize("keyword", MISPLACED)
def test_errors_repeat_nothing_of_the_header(
    keyword: str,
    dicom: Callable[..., bytes],
    model: Path,
    tmp_path: Path,
    covidcxr: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    film = tmp_path / "film.dcm"
    film.write_bytes(dicom(keyword))
    done = covidcxr("explain", film, "--model", model, "--method", "saliency", "--out", tmp_path / "out")
    assert done.code in (0, 3)
    assert _said(done.out, done.err, caplog.text) == []


def test_a_manifest_by_pseudonyms_names_nobody(
    dicom: Callable[..., bytes], tmp_path: Path, covidcxr: Callable[..., Any]
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number, keyword in enumerate((None, *MISPLACED)):
        (films / f"{number}.dcm").write_bytes(dicom(keyword))
    done = covidcxr("data", "import", "dicom", films, tmp_path / "out" / "cxr.csv")
    assert done.code == 0, done.err
    manifest = (tmp_path / "out" / "cxr.csv").read_text()
    assert manifest.count("\n") >= 2
    assert _said(done.out, done.err, *_files(tmp_path / "out")) == []
    assert (tmp_path / "out" / "cxr.salt").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """Return a client of the HTTP side with a toy model, and its worker."""
    from fastapi.testclient import TestClient

    from covidcxr_tf.serving.http import build_app
    from covidcxr_tf.serving.limits import Limits
    from covidcxr_tf.serving.versions import Versions
    from covidcxr_tf.serving.work import Worker

    toys = _module(Path(__file__).parent / "serving" / "conftest.py", "toys_of_serving")
    base = tmp_path_factory.mktemp("export") / "toy"
    toys.write_toy(base / "1")
    versions = Versions(base)
    versions.poll()
    worker = Worker(versions, threads=1, waiting=8, timeout_s=60)
    with TestClient(build_app(worker, versions, Limits()), raise_server_exceptions=False) as client:
        yield client, worker
    worker.close()
    versions.stop()


def test_the_server_says_nothing_of_films(
    server: tuple[Any, Any],
    dicom: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import base64

    caplog.set_level(logging.DEBUG)
    client, _ = server
    bodies = []
    statuses = set()
    films = [dicom(), dicom()[:900], *(dicom(keyword) for keyword in MISPLACED), b"no film of Xaverhuber"]
    for film in films:
        answer = client.post("/films", files={"film": (FILE_NAME, film)})
        statuses.add(answer.status_code)
        bodies.append(answer.text.replace(FILE_NAME, ""))  # the name goes back to whoever sent it
        packed = base64.b64encode(film).decode()
        bodies.append(client.post("/v1/models/toy:predict", json={"instances": [{"b64": packed}]}).text)
        bodies.append(client.post("/v1/models/toy:predict", content=film).text)
        bodies.append(client.post(f"/v1/models/{FILE_NAME}:predict", json={}).text.replace(FILE_NAME, ""))
    assert {200, 400} <= statuses
    assert _said(*bodies) == []
    metrics = client.get("/metrics").text
    assert "covidcxr_films" in metrics
    out, err = capfd.readouterr()
    own = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert _said(metrics, out, err, *own, words=(*PLANTED, *IN_NAME)) == []


def test_a_defect_of_the_server_quotes_nothing(
    server: tuple[Any, Any],
    dicom: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("cannot read Xaverhuber, 471188")

    monkeypatch.setattr("covidcxr_tf.serving.films.answer_film", broken)
    answer = server[0].post("/films", files={"film": (FILE_NAME, dicom())})
    assert answer.status_code == 500
    assert _said(answer.text) == []


def test_the_planted_words_would_be_found() -> None:
    assert _said(json.dumps({"a": "Xaverhuber"})) == ["Xaverhuber"]
    assert _said(np.array([1]).tobytes() + b"MRN-471188") == ["471188"]
