"""One process that serves one model over HTTP and gRPC until it is told to stop."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import uvicorn

from covidcxr_tf.errors import UsageError, WeightsError
from covidcxr_tf.serving.access import read_token
from covidcxr_tf.serving.http import build_app
from covidcxr_tf.serving.labels import read_labels
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.process import Server, signals_caught
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.work import Worker

LABELS_FILE = "models.config"
"""Beside OUT/NAME, where ``covidcxr export`` writes it."""


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Parameters
    ----------
    base : Path
        OUT/NAME.
    host, port, grpc_port
        Where to listen; port 0 takes a free one, `grpc_port` None leaves gRPC out.
    limits : Limits
        Its `timeout_s` is also the longest a request may wait and run.
    threads, waiting : int
        Requests that run at once, and that wait.
    labels, labels_file, keep, poll_seconds
        As in `Versions`; without a file ``models.config`` beside OUT/NAME is read if it is there.
    token_file, tls_cert, tls_key : Path, optional
        A bearer token, and the two PEM files of TLS.
    """

    base: Path
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = 8500
    limits: Limits = field(default_factory=Limits)
    threads: int = 2
    waiting: int = 64
    labels: dict[str, int] = field(default_factory=dict)
    labels_file: Path | None = None
    keep: Literal["latest", "all"] = "latest"
    poll_seconds: float = 1.0
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


def serve(settings: Settings, ready: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests that have come and return.

    Parameters
    ----------
    settings : Settings
        What to serve, and how.
    ready : callable
        Called once with the addresses when requests are taken.
    say : callable
        Takes sentences for people.

    Raises
    ------
    UsageError
        For an address that cannot be used, or files of token, labels or TLS that cannot be read.
    WeightsError
        If no version of the model can be loaded.
    KeyboardInterrupt
        After a stop by SIGINT.
    """
    token = None if settings.token_file is None else read_token(settings.token_file)
    _check_base(settings.base)
    for sentence in exposure(settings.host, token, settings.tls_cert is not None):
        say(sentence)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(signals_caught())
        listener = stack.enter_context(_listen(settings.host, settings.port))
        versions = _loaded(settings)
        stack.callback(versions.stop)
        worker = Worker(
            versions, threads=settings.threads, waiting=settings.waiting, timeout_s=settings.limits.timeout_s
        )
        stack.callback(worker.close)
        app = build_app(worker, versions, settings.limits, token)
        server = Server(_config(app, settings), worker)
        stop.server = server
        grpc_address = _start_grpc(settings, worker, versions, token, server, say)
        server.ready = lambda: ready(_addresses(settings, versions, listener, grpc_address))
        if stop.caught is None:
            server.run(sockets=[listener])
        server.wait_for_grpc()
    if stop.caught == signal.SIGINT:
        raise KeyboardInterrupt


def exposure(host: str, token: str | None, tls: bool) -> list[str]:
    """Return a sentence for each way in which others than this machine's users can reach or read what is served."""
    if _is_loopback(host):
        return []
    sentences = []
    if token is None:
        sentences.append(
            f"warning: {host} lets everyone who reaches this machine send films and see answers; "
            "give --token-file, or listen at 127.0.0.1"
        )
    if not tls:
        sentences.append(
            f"warning: films travel to {host} unencrypted; give --tls-cert and --tls-key, "
            "or put a proxy with TLS before it"
        )
    return sentences


def _check_base(base: Path) -> None:
    if not base.is_dir():
        raise WeightsError("no such folder", where=base, expected="OUT/NAME of covidcxr export")
    if (base / "saved_model.pb").is_file():
        raise UsageError("a single version", where=base, expected=f"the folder above it: {base.resolve().parent}")
    if not any(path.is_dir() and path.name.isdigit() for path in base.iterdir()):
        inside = sorted(path.name for path in base.iterdir() if path.is_dir())
        raise WeightsError(
            "holds no version",
            where=base,
            expected="folders 1, 2, ... with a SavedModel each",
            remedy=f"perhaps {base / inside[0]} is meant" if inside else "run covidcxr export first",
        )


def _loaded(settings: Settings) -> Versions:
    labels_file = settings.labels_file
    beside = settings.base.resolve().parent / LABELS_FILE
    if labels_file is None and beside.is_file():
        labels_file = beside
    elif labels_file is not None:
        try:
            read_labels(labels_file, settings.base.resolve().name)
        except (OSError, ValueError) as fault:
            raise UsageError(f"labels cannot be read ({fault})", where=labels_file) from fault
    versions = Versions(
        settings.base,
        labels=settings.labels,
        labels_file=labels_file,
        poll_seconds=settings.poll_seconds,
        keep=settings.keep,
    )
    versions.start()
    if not versions.ready:
        versions.stop()
        faults = [f"version {status.version}: {status.error_message}" for status in versions.statuses()]
        raise WeightsError(f"no version can be loaded ({'; '.join(faults)})", where=settings.base)
    return versions


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()
            return listener
    except (OSError, OverflowError) as fault:
        raise UsageError(
            f"cannot listen at {host}:{port} ({fault})", remedy="choose another --port or --host"
        ) from fault


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=75,  # clients keep connections, as TensorFlow Serving lets them
        timeout_graceful_shutdown=int(settings.limits.timeout_s) + 5,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as fault:
        raise UsageError(
            f"TLS cannot be set up ({fault})", where=settings.tls_cert, expected="a certificate and its key in PEM"
        ) from fault
    return config


def _start_grpc(
    settings: Settings,
    worker: Worker,
    versions: Versions,
    token: str | None,
    server: Server,
    say: Callable[[str], None],
) -> str | None:
    """Start gRPC if it is wanted and return its address."""
    if settings.grpc_port is None:
        return None
    if settings.tls_cert is not None:
        say("gRPC is left out: it has no TLS of its own here, and HTTP has been asked for it")
        return None
    from covidcxr_tf.serving.grpc_server import start_grpc

    server.grpc, port = start_grpc(worker, versions, settings.host, settings.grpc_port, settings.limits, token)
    return f"{_in_url(settings.host)}:{port}"


def _addresses(
    settings: Settings, versions: Versions, listener: socket.socket, grpc_address: str | None
) -> dict[str, Any]:
    scheme = "http" if settings.tls_cert is None else "https"
    root = f"{scheme}://{_in_url(settings.host)}:{listener.getsockname()[1]}"
    return {
        "model": versions.name,
        "versions": sorted(status.version for status in versions.statuses() if status.state == "AVAILABLE"),
        "labels": versions.labels,
        "page": f"{root}/",
        "predict": f"{root}/v1/models/{versions.name}:predict",
        "http": root,
        "grpc": grpc_address,
    }


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
