"""Results to another DICOM node by C-STORE."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from covidcxr_tf.errors import RunFailed, UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom import AE
    from pynetdicom.association import Association

TRIES = 3
WAIT_S = 2.0
"""Seconds before the second try, twice that before the third."""

TIMEOUT_S = 30.0


class Peer(NamedTuple):
    """A DICOM node: where it is, and its application entity title."""

    host: str
    port: int
    aet: str

    @classmethod
    def parse(cls, address: str, aet: str) -> Peer:
        """Return the peer at ``HOST:PORT`` (an IPv6 address in brackets).

        Raises
        ------
        UsageError
            If there is no port, or the title is none.
        """
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"'{address}' is no address", expected="HOST:PORT, as 10.0.0.5:4242")
        return cls(host, int(port), check_title(aet))


def check_title(aet: str) -> str:
    """Return an application entity title: 1 to 16 printable ASCII signs, no backslash, blanks around it cut.

    Raises
    ------
    UsageError
        If it is none.
    """
    title = aet.strip()
    if not 1 <= len(title) <= 16 or not all(" " <= sign <= "~" and sign != "\\" for sign in title):
        raise UsageError(f"'{aet}' is no AE title", expected="1 to 16 letters, digits and signs")
    return title


class Sender:
    """Sends objects to one peer, each until it is stored or `TRIES` are used up.

    Parameters
    ----------
    aet : str
        The title that we call from.
    peer : Peer
    wait_s : float
        Seconds between tries, doubled each time.
    """

    def __init__(self, aet: str, peer: Peer, *, wait_s: float = WAIT_S) -> None:
        self.peer = peer
        self._aet = aet
        self._wait_s = wait_s
        self._hurry = threading.Event()

    def hurry(self) -> None:
        """Wait no longer between tries: the node is to stop."""
        self._hurry.set()

    def answers(self) -> bool:
        """Return whether the peer answers a C-ECHO."""
        association = self._associate(["1.2.840.10008.1.1"])
        if association is None:
            return False
        try:
            status = association.send_c_echo()
            return bool(status) and status.Status == 0
        finally:
            association.release()

    def send(self, objects: Sequence[Dataset]) -> None:
        """Store objects in the order given.

        Raises
        ------
        RunFailed
            If one is not stored in the end; the message names the peer and its last answer.
        """
        left = list(objects)
        answer = ""
        for number in range(TRIES):
            if number:
                self._hurry.wait(self._wait_s * 2 ** (number - 1))
            left, answer = self._send_once(left)
            if not left:
                return
        raise RunFailed(f"{len(left)} of {len(objects)} results are not stored: {answer}", where=self._name())

    def _send_once(self, objects: list[Dataset]) -> tuple[list[Dataset], str]:
        """Return what is left to send, and why."""
        association = self._associate([str(made.SOPClassUID) for made in objects])
        if association is None:
            return objects, "no association"
        left, answer = [], ""
        try:
            for made in objects:
                try:
                    status = association.send_c_store(made)
                except (RuntimeError, ValueError) as cause:  # no association any more; a class that is not accepted
                    left.append(made)
                    answer = type(cause).__name__
                    continue
                code = status.get("Status") if status else None
                # 0xBxxx: stored, with a remark
                if code is None or (code != 0 and code >> 12 != 0xB):
                    left.append(made)
                    answer = "no answer" if code is None else f"status 0x{code:04X}"
        finally:
            if association.is_established:
                association.release()
        return left, answer

    def _associate(self, classes: Sequence[str]) -> Association | None:
        association = self._entity(classes).associate(self.peer.host, self.peer.port, ae_title=self.peer.aet)
        return association if association.is_established else None

    def _entity(self, classes: Sequence[str]) -> AE:
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE

        entity = AE(ae_title=self._aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = TIMEOUT_S
        for sop_class in dict.fromkeys(classes):
            entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        return entity

    def _name(self) -> str:
        return f"{self.peer.aet} at {self.peer.host}:{self.peer.port}"
