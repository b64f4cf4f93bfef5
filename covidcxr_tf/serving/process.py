"""Starting and stopping: signals end a server after the requests that have come are answered."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from covidcxr_tf.serving.work import Worker


class Server(uvicorn.Server):
    """Uvicorn that stops gRPC with itself and leaves signals to `signals_caught`."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self.ready: Callable[[], None] = lambda: None
        self.grpc: Any = None
        self._worker = worker
        self._grpc_stopped: Any = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `Stop`: uvicorn would raise SIGTERM again after a stop that went well."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell where."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections and calls, let those that run finish."""
        self._worker.leave()
        if self.grpc is not None:
            self._grpc_stopped = self.grpc.stop(self.config.timeout_graceful_shutdown)
        await super().shutdown(sockets)

    def wait_for_grpc(self) -> None:
        """Wait until the last gRPC call is answered."""
        if self.grpc is not None:
            stopped = self._grpc_stopped or self.grpc.stop(self.config.timeout_graceful_shutdown)
            stopped.wait()


class Stop:
    """What a signal sets: only plain attributes, since it may come in the middle of anything."""

    def __init__(self) -> None:
        self.caught: int | None = None
        self.server: Server | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Ask the server to end; a second signal does not let it wait for anything."""
        again, self.caught = self.caught is not None, self.caught or number
        if self.server is not None:
            self.server.should_exit = True
            self.server.force_exit = again


@contextlib.contextmanager
def signals_caught() -> Iterator[Stop]:
    """Let SIGTERM and SIGINT only set what the returned `Stop` holds, until the context ends."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
