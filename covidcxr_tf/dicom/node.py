"""`covidcxr listen`: films come by C-STORE, are explained one by one, and their results go on by C-STORE.

Films and results lie in memory and nowhere else, unless a quarantine is asked for. Lines that are logged name a film by
a hash of its SOP Instance UID.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from covidcxr_tf.dicom.out import Explainer, encoded, write_private
from covidcxr_tf.dicom.receiving import Received, Receiver
from covidcxr_tf.dicom.sending import Peer, Sender
from covidcxr_tf.errors import CovidcxrError, ImageError
from covidcxr_tf.imaging.dicom_grey import text
from covidcxr_tf.imaging.dicom_header import OWN_MANUFACTURER, plain_reason, read_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

WAITING = 16
DRAIN_S = 120.0
MOST_IN_QUARANTINE = 1000


class Node:
    """A DICOM node that answers films with segmentation, heat map and report.

    Attributes
    ----------
    counts : Counter
        Films ``answered``, ``unreadable``, ``unsent``, ``failed``, ``own`` (results of ours that came back).

    Parameters
    ----------
    explainer : Explainer
    receiver : Receiver
    sender : Sender
    method : str
        A name of ``covidcxr list explainers``.
    quarantine : Path, optional
        Folder, for the user alone, that keeps films and results that came to nothing, 1,000 at most.
    log : callable
        Takes a line.
    """

    def __init__(
        self,
        explainer: Explainer,
        receiver: Receiver,
        sender: Sender,
        *,
        log: Callable[[str], None],
        method: str = "gradcam",
        quarantine: Path | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._explainer, self._receiver, self._sender = explainer, receiver, sender
        self._log, self._method, self._quarantine = log, method, quarantine
        self._worker = threading.Thread(target=self._work, name="films", daemon=True)
        self._given_up = threading.Event()

    def start(self, host: str, port: int) -> int:
        """Listen and work; return the port."""
        bound = self._receiver.start(host, port)
        self._worker.start()
        return bound

    def stop(self, drain_s: float = DRAIN_S) -> int:
        """Take no more films, answer those that wait, and return how many are left after `drain_s` seconds."""
        self._receiver.stop()
        self._sender.hurry()
        films = self._receiver.films
        if films.qsize():
            self._log(f"stopping: {films.qsize()} films wait")
        # The queue is bounded and may be full: the end is put in by a thread of its own.
        threading.Thread(target=films.put, args=(None,), daemon=True).start()
        self._worker.join(drain_s)
        if not self._worker.is_alive():
            return 0
        self._given_up.set()
        return films.qsize() + 1

    def _work(self) -> None:
        while (film := self._receiver.films.get()) is not None and not self._given_up.is_set():
            try:
                self._answer(film)
            except Exception as fault:  # one bad film never stops the node; what was raised may quote its header
                self._fail("failed", film, f"failed ({type(fault).__name__})")

    def _answer(self, film: Received) -> None:
        try:
            if _is_own(film):
                self.counts["own"] += 1
                self._log(f"{film.name}: a result of covidcxr, left alone")
                return
            explanation, objects = self._explainer.explain(film.content, film.name, method=self._method)
        except ImageError as fault:
            self._fail("unreadable", film, plain_reason(fault))
            return
        chances = ", ".join(f"{name} {chance:.3f}" for name, chance in explanation.probabilities.items())
        try:
            self._sender.send(list(objects.values()))
        except CovidcxrError as fault:
            self._fail("unsent", film, str(fault), objects)
            return
        self.counts["answered"] += 1
        self._log(f"{film.name}: {explanation.predicted} ({chances}), {len(objects)} objects sent")

    def _fail(self, kind: str, film: Received, reason: str, objects: Mapping[str, Dataset] | None = None) -> None:
        self.counts[kind] += 1
        self._log(f"{film.name}: {reason}")
        if self._quarantine is None:
            return
        try:
            self._keep(film, reason, objects or {})
        except OSError as fault:
            self._log(f"{film.name}: cannot be kept in quarantine ({fault.strerror})")

    def _keep(self, film: Received, reason: str, objects: Mapping[str, Dataset]) -> None:
        assert self._quarantine is not None
        stem = film.name.replace(" ", "_")
        if self._quarantine.is_dir() and len(list(self._quarantine.glob("*.txt"))) >= MOST_IN_QUARANTINE:
            self._log(f"{film.name}: not kept, {MOST_IN_QUARANTINE} films are in quarantine already")
            return
        write_private(self._quarantine / f"{stem}.dcm", film.content)
        for kind, made in objects.items():
            write_private(self._quarantine / f"{stem}_{kind}.dcm", encoded(made))
        write_private(self._quarantine / f"{stem}.txt", f"{reason}\n".encode())


def _is_own(film: Received) -> bool:
    """Return whether a film is a result of ours: an archive may send on whatever it is sent, for ever."""
    header = read_header(film.content, film.name, any_view=True, any_part=True)
    return text(header, "Manufacturer") == OWN_MANUFACTURER.upper()


def open_node(
    explainer: Explainer,
    peer: Peer,
    aet: str,
    *,
    log: Callable[[str], None],
    waiting: int = WAITING,
    only_from: Sequence[str] = (),
    method: str = "gradcam",
    quarantine: Path | None = None,
) -> Node:
    """Return a node, not started, that answers to `aet` and sends to `peer`; one line is logged if that is silent."""
    sender = Sender(aet, peer)
    if not sender.answers():
        log(f"{peer.aet} at {peer.host}:{peer.port} does not answer: results will wait for three tries each")
    receiver = Receiver(aet, waiting, log=log, only_from=only_from)
    return Node(explainer, receiver, sender, log=log, method=method, quarantine=quarantine)
