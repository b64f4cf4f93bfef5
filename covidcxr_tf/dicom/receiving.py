"""The receiving side of the node: who may send what, how much, and how long it may wait. Nothing touches a disk."""

from __future__ import annotations

import hashlib
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from covidcxr_tf.errors import RunFailed

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

FILM_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
)
VERIFICATION = "1.2.840.10008.1.1"

MAX_FILM_BYTES = 256 << 20
"""Most bytes of one message; 100 Mpx of 16 bits have 200 million."""

MAX_PDU = 1 << 20
MAX_ASSOCIATIONS = 8
IDLE_S = 60.0

SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000


class Received(NamedTuple):
    """A film as it came: a name that tells nothing of the patient, and the bytes of a DICOM file."""

    name: str
    content: bytes


class Receiver:
    """A C-STORE and C-ECHO provider that puts films in a bounded queue.

    A film that finds the queue full is refused with 'out of resources', which senders take as 'later'. A peer that
    sends a message of more than `max_bytes` loses its connection before it is read.

    Parameters
    ----------
    aet : str
        Our title; calls for another one are refused.
    waiting : int
        Films that may wait.
    only_from : sequence of str
        Titles that may call; empty: all.
    max_bytes : int
        Most bytes of a message.
    log : callable
        Takes a line.
    """

    def __init__(
        self,
        aet: str,
        waiting: int,
        *,
        log: Callable[[str], None],
        only_from: Sequence[str] = (),
        max_bytes: int = MAX_FILM_BYTES,
    ) -> None:
        self.films: queue.Queue[Received | None] = queue.Queue(maxsize=waiting)
        self.refused = 0
        self._aet, self._only_from, self._max_bytes, self._log = aet, list(only_from), max_bytes, log
        self._meters: weakref.WeakKeyDictionary[Association, _Meter] = weakref.WeakKeyDictionary()
        self._server: Any = None
        self._stopped = False
        self._taking = threading.Lock()

    def start(self, host: str, port: int) -> int:
        """Listen, and return the port (the one chosen where `port` is 0).

        Raises
        ------
        RunFailed
            If the address cannot be had.
        """
        from pynetdicom import AE, evt

        entity = AE(ae_title=self._aet)
        entity.require_called_aet = True
        entity.require_calling_aet = self._only_from
        entity.maximum_associations = MAX_ASSOCIATIONS
        entity.maximum_pdu_size = MAX_PDU
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = IDLE_S
        entity.add_supported_context(VERIFICATION)
        for sop_class in FILM_CLASSES:
            entity.add_supported_context(sop_class, transfer_syntaxes())
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, self._watch), (evt.EVT_C_STORE, self._store)]
        try:
            self._server = entity.start_server((host, port), block=False, evt_handlers=handlers)
        except OSError as cause:
            raise RunFailed(
                f"cannot listen ({cause.strerror or cause})", where=f"{host}:{port}", remedy="name another --port"
            ) from cause
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take no more calls and end those that run; what waits in `films` stays, and nothing comes after it."""
        with self._taking:
            self._stopped = True
        if self._server is None:
            return
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()
        self._server = None

    def _watch(self, event: Event) -> None:
        socket: Any = event.assoc.dul.socket
        meter = _Meter(socket.recv, self._max_bytes)
        self._meters[event.assoc] = meter
        socket.recv = meter.recv

    def _store(self, event: Event) -> int:
        meter = self._meters.get(event.assoc)
        if meter is not None:
            meter.total = 0
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        name = f"film {hashlib.sha256(uid.encode()).hexdigest()[:12]}"
        try:
            content = event.encoded_dataset()
        except Exception as fault:  # a message without a data set, or one that cannot be put in a file
            self._log(f"{name}: refused ({type(fault).__name__})")
            return NOT_UNDERSTOOD
        with self._taking:
            if not self._stopped and not self.films.full():
                self.films.put_nowait(Received(name, content))
                return SUCCESS
            self.refused += 1
        why = "we are stopping" if self._stopped else f"{self.films.maxsize} films wait already"
        self._log(f"{name}: refused, {why}")
        return OUT_OF_RESOURCES


class _Meter:
    """Counts the bytes of a connection since its last film, and ends it where they are too many.

    The library reads a message of any length, whole, into memory.
    """

    def __init__(self, recv: Callable[[int], bytearray], most: int) -> None:
        self._recv, self._most, self.total = recv, most, 0

    def recv(self, count: int) -> bytearray:
        self.total += count
        if self.total > self._most:
            raise OSError("the message is too long")
        return self._recv(count)


def transfer_syntaxes() -> list[str]:
    """Return the transfer syntaxes that are taken: bare pixels, and what the installed decoders know."""
    from pydicom import uid

    from covidcxr_tf.imaging.dicom import decoder_problem

    bare = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
    packed = [
        uid.JPEG2000Lossless,
        uid.JPEGLSLossless,
        uid.RLELossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLossless,
        uid.JPEG2000,
        uid.JPEGLSNearLossless,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
    ]
    return [str(syntax) for syntax in (*bare, *(one for one in packed if decoder_problem(one) is None))]
