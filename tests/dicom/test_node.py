"""`listen` on loopback: films in, results out, and what must not stop it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from covidcxr_tf.dicom import receiving
from covidcxr_tf.dicom.node import Node, open_node
from covidcxr_tf.dicom.out import Explainer, encoded
from covidcxr_tf.dicom.receiving import FILM_CLASSES, OUT_OF_RESOURCES, VERIFICATION, Received, Receiver
from covidcxr_tf.dicom.sending import Peer, Sender, check_title
from covidcxr_tf.errors import RunFailed, UsageError

CR = FILM_CLASSES[0]
LONG_S = 60.0


class Modality:
    """Calls the node as an X-ray room does."""

    def __init__(self, port: int, called: str = "COVIDCXR", calling: str = "ROOM1") -> None:
        entity = AE(ae_title=calling)
        for sop_class in (VERIFICATION, CR, FILM_CLASSES[3]):
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        self.association = entity.associate("127.0.0.1", port, ae_title=called)

    def send(self, content: bytes) -> int | None:
        import io

        import pydicom

        status = self.association.send_c_store(pydicom.dcmread(io.BytesIO(content)))
        return status.get("Status")

    def close(self) -> None:
        if self.association.is_established:
            self.association.release()


@pytest.fixture
def lines() -> list[str]:
    """Return what the node logs."""
    return []


@pytest.fixture
def open_(explainer: Explainer, archive: Any, lines: list[str]) -> Iterator[Callable[..., tuple[Node, int]]]:
    """Return a function that starts a node, which sends to `archive`, and gives it and its port."""
    started: list[Node] = []

    def start(**options: Any) -> tuple[Node, int]:
        node = open_node(explainer, archive.peer, "COVIDCXR", log=lines.append, **options)
        started.append(node)
        return node, node.start("127.0.0.1", 0)

    yield start
    for node in started:
        node.stop(LONG_S)


def wait_for(archive: Any, objects: int) -> None:
    for _ in range(objects):
        assert archive.came.acquire(timeout=LONG_S)


def test_a_film_comes_and_three_objects_go(
    open_: Callable[..., Any],
    archive: Any,
    lines: list[str],
    dicom_film: Callable[..., bytes],
    planted: tuple[str, ...],
) -> None:
    node, port = open_()
    room = Modality(port)
    assert room.association.send_c_echo().Status == 0
    assert room.send(dicom_film()) == 0
    wait_for(archive, 3)
    room.close()
    assert node.stop(LONG_S) == 0
    assert [made.Modality for made in archive.stored] == ["SEG", "OT", "SR"]
    assert {made.StudyInstanceUID for made in archive.stored} == {"1.2.3.4.5.1"}
    assert {str(made.PatientName) for made in archive.stored} == {"Müller^Jörg"}
    assert node.counts == {"answered": 1}
    assert len(lines) == 1 and "3 objects sent" in lines[0]
    assert not [word for word in planted if word in "\n".join(lines)]


def test_bad_films_do_not_stop_it_and_lie_in_quarantine(
    open_: Callable[..., Any],
    archive: Any,
    lines: list[str],
    dicom_film: Callable[..., bytes],
    planted: tuple[str, ...],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "quarantine"
    node, port = open_(quarantine=folder)
    room = Modality(port)
    bad = [
        dicom_film(SOPInstanceUID="1.2.3.4.5.10", ViewPosition="LL"),
        dicom_film(SOPInstanceUID="1.2.3.4.5.11", PixelData=b"1234"),
        dicom_film(SOPInstanceUID="1.2.3.4.5.12", StudyInstanceUID=None),
        dicom_film(SOPInstanceUID="1.2.3.4.5.13", PhotometricInterpretation="PALETTE COLOR"),
    ]
    assert [room.send(content) for content in bad] == [0] * 4
    assert room.send(dicom_film()) == 0
    wait_for(archive, 3)
    room.close()
    assert node.stop(LONG_S) == 0
    assert node.counts == {"unreadable": 4, "answered": 1} and len(archive.stored) == 3
    assert "the view is LL" in lines[0] and "damaged" in lines[1] and "StudyInstanceUID" in lines[2]
    assert not [word for word in planted if word in "\n".join(lines)]
    kept = sorted(folder.iterdir())
    assert [path.suffix for path in kept] == [".dcm", ".txt"] * 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = "".join(path.name for path in kept)
    assert not [word for word in planted if word in names]


def test_its_own_results_are_left_alone(
    open_: Callable[..., Any],
    archive: Any,
    lines: list[str],
    explainer: Explainer,
    dicom_film: Callable[..., bytes],
) -> None:
    node, port = open_()
    room = Modality(port)
    assert room.send(encoded(explainer.explain(dicom_film())[1]["heatmap"])) == 0
    room.close()
    assert node.stop(LONG_S) == 0
    assert node.counts == {"own": 1} and not archive.stored and "left alone" in lines[0]


def test_stopping_answers_the_films_that_wait(
    explainer: Explainer, archive: Any, lines: list[str], dicom_film: Callable[..., bytes]
) -> None:
    receiver = Receiver("COVIDCXR", 4, log=lines.append)
    node = Node(explainer, receiver, Sender("COVIDCXR", archive.peer), log=lines.append)
    for number in range(4):  # more than the worker can have begun: all wait when it starts
        receiver.films.put(Received(f"film {number}", dicom_film()))
    port = node.start("127.0.0.1", 0)
    assert node.stop(LONG_S) == 0
    assert node.counts == {"answered": 4} and len(archive.stored) == 12
    assert not Modality(port).association.is_established


def test_results_that_are_not_taken_are_tried_again_and_then_kept(
    explainer: Explainer, archive: Any, lines: list[str], dicom_film: Callable[..., bytes], tmp_path: Path
) -> None:
    archive.status = 0xA700
    receiver = Receiver("COVIDCXR", 4, log=lines.append)
    sender = Sender("COVIDCXR", archive.peer, wait_s=0)
    node = Node(explainer, receiver, sender, log=lines.append, quarantine=tmp_path / "q")
    receiver.films.put(Received("film 1", dicom_film()))
    node.start("127.0.0.1", 0)
    assert node.stop(LONG_S) == 0
    assert node.counts == {"unsent": 1}
    assert "3 of 3 results are not stored: status 0xA700" in lines[-1]
    wait_for(archive, 9)  # three objects, three times
    assert sorted(path.name for path in (tmp_path / "q").iterdir()) == [
        "film_1.dcm",
        "film_1.txt",
        "film_1_heatmap.dcm",
        "film_1_report.dcm",
        "film_1_segmentation.dcm",
    ]


def test_only_what_is_left_is_sent_again(explainer: Explainer, archive: Any, dicom_film: Callable[..., bytes]) -> None:
    objects = list(explainer.explain(dicom_film())[1].values())
    sender = Sender("COVIDCXR", archive.peer, wait_s=0)
    left, _ = sender._send_once(objects[:1])
    assert not left and len(archive.stored) == 1
    sender.send(objects[1:])
    assert [made.Modality for made in archive.stored] == ["SEG", "OT", "SR"]
    archive.close()
    assert not sender.answers()
    with pytest.raises(RunFailed, match=r"ARCHIVE at 127.0.0.1:\d+: 1 of 1 results are not stored: no association"):
        sender.send(objects[:1])


def test_a_full_queue_says_later(lines: list[str], dicom_film: Callable[..., bytes]) -> None:
    receiver = Receiver("COVIDCXR", 1, log=lines.append)
    room = Modality(receiver.start("127.0.0.1", 0))
    assert [room.send(dicom_film()) for _ in range(3)] == [0, OUT_OF_RESOURCES, OUT_OF_RESOURCES]
    room.close()
    receiver.stop()
    assert receiver.films.qsize() == 1 and receiver.refused == 2
    assert "1 films wait already" in lines[0]


def test_nothing_comes_after_the_end(lines: list[str], dicom_film: Callable[..., bytes]) -> None:
    receiver = Receiver("COVIDCXR", 8, log=lines.append)
    room = Modality(receiver.start("127.0.0.1", 0))
    assert room.send(dicom_film()) == 0
    receiver._stopped = True  # a film that is on its way while the node stops
    assert room.send(dicom_film()) == OUT_OF_RESOURCES
    receiver.stop()
    room.association.join(LONG_S)
    assert not room.association.is_established and receiver.films.qsize() == 1
    assert "we are stopping" in lines[0]


def test_a_message_without_end_loses_its_connection(lines: list[str], dicom_film: Callable[..., bytes]) -> None:
    small, large = dicom_film(), dicom_film(PixelData=bytes(4_000_000), Rows=1000, Columns=2000)
    receiver = Receiver("COVIDCXR", 8, log=lines.append, max_bytes=1_000_000)
    port = receiver.start("127.0.0.1", 0)
    room = Modality(port)
    for _ in range(30):  # over the limit together: it is for one message
        assert room.send(small) == 0
        receiver.films.get()
    assert room.send(large) is None
    room.association.join(LONG_S)
    assert not room.association.is_established
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(64))  # an association request that claims 4 GB
        raw.settimeout(LONG_S)
        assert raw.recv(1) == b""
    again = Modality(port)
    assert again.send(small) == 0
    again.close()
    receiver.stop()


def test_who_may_call(open_: Callable[..., Any]) -> None:
    _, port = open_(only_from=("ROOM1",))
    calls = {("COVIDCXR", "ROOM1"): True, ("COVIDCXR", "ROOM2"): False, ("OTHER", "ROOM1"): False}
    for (called, calling), accepted in calls.items():
        room = Modality(port, called, calling)
        assert room.association.is_established is accepted
        room.close()


def test_addresses_and_titles() -> None:
    assert Peer.parse("[::1]:104", " PACS ") == Peer("::1", 104, "PACS")
    for wrong in ("host", ":104", "host:0", "host:70000", "host:x"):
        with pytest.raises(UsageError, match="is no address"):
            Peer.parse(wrong, "PACS")
    for wrong in ("", " ", "x" * 17, "a\\b", "é"):
        with pytest.raises(UsageError, match="is no AE title"):
            check_title(wrong)


def test_a_port_that_is_taken(lines: list[str]) -> None:
    first, second = (Receiver("COVIDCXR", 1, log=lines.append) for _ in range(2))
    port = first.start("127.0.0.1", 0)
    with pytest.raises(RunFailed, match=f"127.0.0.1:{port}: cannot listen"):
        second.start("127.0.0.1", port)
    first.stop()


def test_transfer_syntaxes_are_those_that_can_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = receiving.transfer_syntaxes()
    assert offered[0] == ExplicitVRLittleEndian and "1.2.840.10008.1.2.5" in offered
    monkeypatch.setattr("covidcxr_tf.imaging.dicom.decoder_problem", lambda syntax: ("no", "no"))
    assert len(receiving.transfer_syntaxes()) == 3


def test_the_command_listens_until_sigterm(
    run: Path, archive: Any, dicom_film: Callable[..., bytes], covidcxr: Callable, planted: tuple[str, ...]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sent: list[int | None] = []

    def room() -> None:
        try:
            for _ in range(600):
                modality = Modality(port)
                if modality.association.is_established:
                    break
                threading.Event().wait(0.1)
            sent.append(modality.send(dicom_film()))
            wait_for(archive, 3)
            modality.close()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # Until the command has its own handler, a signal must not end the tests.
    signal.signal(signal.SIGTERM, lambda *_: None)
    caller = threading.Thread(target=room)
    caller.start()
    try:
        peer = f"127.0.0.1:{archive.peer.port}"
        done = covidcxr("listen", "--port", port, "--send-to", peer, "--send-aet", "ARCHIVE", "--model", run)
    finally:
        caller.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    assert done.code == 0, done.err
    assert sent == [0] and len(archive.stored) == 3
    assert f"COVIDCXR listens at 127.0.0.1:{port}, results go to ARCHIVE" in done.out
    assert done.out.endswith("stopped: 1 answered\n")
    assert not [word for word in planted if word in done.out + done.err]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--send-to", "nowhere"), 2, "'nowhere' is no address; expected HOST:PORT"),
        (("--send-to", "127.0.0.1:4242", "--aet", "x" * 17), 2, "is no AE title"),
        ((), 2, "--send-to"),
        (("--send-to", "127.0.0.1:4242", "--model", "none.keras"), 3, "none.keras"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], code: int, said: str, covidcxr: Callable) -> None:
    done = covidcxr("listen", *words)
    assert done.code == code and said in done.err and not done.out
