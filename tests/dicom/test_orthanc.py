"""The round trip with a real archive: a film is stored in Orthanc, sent to the node, and its results come back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from covidcxr_tf.dicom.node import open_node
from covidcxr_tf.dicom.out import Explainer
from covidcxr_tf.dicom.sending import Peer

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
DEADLINE_S = 60.0

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not here: apt-get install orthanc"),
]


class Orthanc(NamedTuple):
    """A running archive: its REST address and its DICOM port."""

    address: str
    port: int

    def ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", data=body, timeout=DEADLINE_S) as answer:
            return json.loads(answer.read())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def node_port() -> int:
    """Return the port that the archive calls the node at."""
    return free_port()


@pytest.fixture
def orthanc(tmp_path: Path, node_port: int) -> Iterator[Orthanc]:
    """Start an archive of this test's own on loopback."""
    one = Orthanc(f"http://127.0.0.1:{free_port()}", free_port())
    settings = {
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "storage"),
        "HttpPort": int(one.address.rsplit(":", 1)[1]),
        "DicomPort": one.port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": {"covidcxr": ["COVIDCXR", "127.0.0.1", node_port]},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
        try:
            poll(lambda: answers(one))
            yield one
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def answers(one: Orthanc) -> bool:
    try:
        return bool(one.ask("/system"))
    except (urllib.error.URLError, ConnectionError):
        return False


def poll(done: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, "the archive does not answer"
        time.sleep(0.2)


def test_round_trip(orthanc: Orthanc, node_port: int, explainer: Explainer, dicom_film: Callable[..., bytes]) -> None:
    lines: list[str] = []
    node = open_node(explainer, Peer("127.0.0.1", orthanc.port, "ORTHANC"), "COVIDCXR", log=lines.append)
    node.start("127.0.0.1", node_port)
    stored = orthanc.ask("/instances", dicom_film())
    sent = orthanc.ask("/modalities/covidcxr/store", stored["ID"].encode())
    assert sent["FailedInstancesCount"] == 0
    poll(lambda: node.counts.total() == 1)
    assert node.stop(DEADLINE_S) == 0
    assert node.counts == {"answered": 1}, lines
    (study,) = orthanc.ask("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == "1.2.3.4.5.1"
    assert study["PatientMainDicomTags"]["PatientName"] == "Müller^Jörg"
    tags = [orthanc.ask(f"/instances/{one}/simplified-tags") for one in orthanc.ask("/instances")]
    assert sorted(one["Modality"] for one in tags) == ["CR", "OT", "SEG", "SR"]
    by_kind = {one["Modality"]: one for one in tags}
    assert by_kind["SR"]["CompletionFlag"] == "COMPLETE" and by_kind["OT"]["Rows"] == "900"
