"""The whole server as a process of its own: start, ports, stop."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from covidcxr_tf.serving.access import read_token
from covidcxr_tf.serving.server import exposure

Start = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts `covidcxr serve` and gives the process and what it said of itself."""
    processes: list[subprocess.Popen[str]] = []

    def run(*words: object) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-m", "covidcxr_tf.cli.main", "serve", *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1])
        return process, json.loads(line)

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until_refused(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except ConnectionError:
            return
    pytest.fail("the server goes on listening")


def port_of(told: dict[str, Any]) -> int:
    return int(told["http"].rsplit(":", 1)[1])


def test_free_ports_both_protocols_and_a_graceful_stop(
    toy_export: Path, start: Start, ask: Callable[..., Any], film_of: Callable[..., bytes]
) -> None:
    process, told = start(toy_export, "--port", 0, "--grpc-port", 0, "--label", "stable=1")
    port = port_of(told)
    assert (told["model"], told["versions"], told["labels"]) == ("toy", [1, 2], {"stable": 1})
    assert told["predict"] == f"http://127.0.0.1:{port}/v1/models/toy:predict"
    assert ask(port, "GET", "/readyz").status == 200
    socket.create_connection(("127.0.0.1", int(told["grpc"].rsplit(":", 1)[1])), timeout=10).close()

    body = json.dumps({"instances": [{"b64": base64.b64encode(film_of(1)).decode()}]}).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(
            b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        # The server asks for the body: the request is in its hands when the signal comes.
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        process.send_signal(signal.SIGTERM)
        wait_until_refused(port)
        client.sendall(body)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["predictions"][0]["status"] == 0
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert "for research, not for diagnosis" in err


def test_token_tls_and_ctrl_c(toy_export: Path, start: Start, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    import http.client
    import ssl

    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    cert, key = certificate
    process, told = start(toy_export, "--port", 0, "--token-file", token, "--tls-cert", cert, "--tls-key", key)
    assert told["http"].startswith("https://")
    assert told["grpc"] is None
    trusted = ssl.create_default_context(cafile=str(cert))
    statuses = []
    for headers in ({}, {"Authorization": "Bearer 0123456789abcdef"}):
        client = http.client.HTTPSConnection("127.0.0.1", port_of(told), context=trusted, timeout=30)
        client.request("GET", "/v1/models/toy", headers=headers)
        statuses.append(client.getresponse().status)
        client.close()
    assert statuses == [401, 200]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "gRPC is left out" in err


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1 and its key, made by openssl."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl: apt-get install openssl")
    return cert, key


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 3, "nowhere: no such folder; expected OUT/NAME of covidcxr export"),
        (["{base}/1"], 2, "/1: a single version; expected the folder above it:"),
        (["{base}/.."], 3, "holds no version; expected folders 1, 2, ... with a SavedModel each; perhaps"),
        (["{base}", "--label", "stable"], 2, "'stable' is no label; expected NAME=N"),
        (["{base}", "--tls-cert", "a.pem"], 2, "TLS needs two files"),
        (["{base}", "--tls-cert", "a.pem", "--tls-key", "b.pem", "--port", "0"], 2, "TLS cannot be set up"),
        (["{base}", "--token-file", "nowhere"], 2, "nowhere: the token cannot be read"),
        (["{base}", "--labels-file", "nowhere", "--port", "0"], 2, "nowhere: labels cannot be read"),
        (["{base}", "--host", "no.such.host.invalid"], 2, "cannot listen at no.such.host.invalid:8501"),
        (["{base}", "--port", "70000"], 2, "70000"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_cannot_be_served(
    covidcxr: Callable[..., Any], toy_export: Path, words: list[str], code: int, message: str
) -> None:
    done = covidcxr("serve", *[word.format(base=toy_export) for word in words])
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_a_taken_port_is_told(covidcxr: Callable[..., Any], toy_export: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = covidcxr("serve", toy_export, "--port", port, "--no-grpc")
    assert done.code == 2
    assert f"cannot listen at 127.0.0.1:{port}" in done.err


def test_a_model_that_does_not_load(covidcxr: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "toy" / "1").mkdir(parents=True)
    (tmp_path / "toy" / "1" / "saved_model.pb").write_bytes(b"broken")
    done = covidcxr("serve", tmp_path / "toy", "--port", 0, "--no-grpc")
    assert done.code == 3
    assert "no version can be loaded (version 1: " in done.err


def test_who_can_reach_it_is_said() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert exposure(host, None, False) == []
    assert [sentence.split()[0] for sentence in exposure("0.0.0.0", None, False)] == ["warning:", "warning:"]
    assert "unencrypted" in exposure("0.0.0.0", "token", False)[0]
    assert exposure("::", "token", True) == []


@pytest.mark.parametrize("text", ["", "short", "x" * 15, "sixteen or more but spaces", "ümlaut-ümlaut-ümlaut"])
def test_a_token_that_is_none(tmp_path: Path, text: str) -> None:
    from covidcxr_tf.errors import UsageError

    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(UsageError, match="openssl rand"):
        read_token(path)
