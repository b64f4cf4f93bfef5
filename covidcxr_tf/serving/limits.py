"""How much one client may ask for, and how much all of them together."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from covidcxr_tf.serving.problems import ServingProblem

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What is refused before any work is done on it.

    Parameters
    ----------
    request_bytes : int
        Largest body of one request (413). base64 makes a film larger by a third.
    images_per_request : int
        Most rows of one request (400).
    max_pixels : int
        Largest film that the server turns into PNG itself; the exported graph has its own cap of the same size, and
        answers larger ones with status 1.
    in_flight_bytes : int
        Most bytes of all bodies held at once (429).
    timeout_s : float
        Longest time from the first byte to the answer (504).
    """

    request_bytes: int = 64 * MEBIBYTE
    images_per_request: int = 64
    max_pixels: int = 40_000_000
    in_flight_bytes: int = 512 * MEBIBYTE
    timeout_s: float = 60.0

    def check_rows(self, rows: int) -> None:
        """Refuse a request of more rows than `images_per_request` (INVALID_ARGUMENT)."""
        if rows > self.images_per_request:
            raise ServingProblem(
                "INVALID_ARGUMENT", f"Too many images in one request: {rows}; at most {self.images_per_request}"
            )

    def check_bytes(self, count: int) -> None:
        """Refuse a body of more bytes than `request_bytes` (413, RESOURCE_EXHAUSTED in gRPC)."""
        if count > self.request_bytes:
            raise ServingProblem(
                "RESOURCE_EXHAUSTED", f"Request body is larger than {self.request_bytes} bytes", http_status=413
            )


class Budget:
    """Bytes that all requests share; taken while a body arrives, given back when it is answered."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take `count` bytes, or raise RESOURCE_EXHAUSTED (429) and take none."""
        with self._lock:
            if count > self._left:
                raise ServingProblem(
                    "RESOURCE_EXHAUSTED", "The server holds as many request bytes as it may; try again"
                )
            self._left -= count

    def give(self, count: int) -> None:
        """Give `count` bytes back."""
        with self._lock:
            self._left += count
