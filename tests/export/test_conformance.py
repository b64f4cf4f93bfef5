"""An export and its server in the hands of TensorFlow's and TensorFlow Serving's own clients.

The C program loads as the server binary does; the calls are those of TensorFlow Serving's documentation.
"""

from __future__ import annotations

import base64
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

CLASSES = ["normal", "covid19"]
HERE = Path(__file__).parent


class Running(NamedTuple):
    """A running server."""

    folder: Path
    rest: str
    grpc: str


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, film_files: dict[str, bytes]) -> list[Path]:
    """Return a PNG, a JPEG and a text."""
    folder = tmp_path_factory.mktemp("films")
    contents = {"first.png": film_files["png8"], "second.jpg": film_files["jpeg"], "broken.png": b"no film"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


@pytest.fixture(scope="module")
def expected(served: dict[str, Any], films: list[Path]) -> dict[str, Any]:
    """Return what TensorFlow's own Python loader gives for the three files."""
    import tensorflow as tf

    answers = served["serving_default"](image_bytes=tf.constant([path.read_bytes() for path in films]))
    found = {name: value.numpy() for name, value in answers.items()}
    assert found["status"].tolist()[2] == 1 and 1 not in found["status"][:2]
    return found


@pytest.fixture(scope="module")
def running(exported: Path) -> Iterator[Running]:
    """Serve the export over HTTP and gRPC on free ports."""
    with serving(exported / "tiny") as server:
        yield server


class serving:
    """A server for the time of a with block, as ``covidcxr serve`` puts it together."""

    def __init__(self, base: Path) -> None:
        import uvicorn

        from covidcxr_tf.serving.grpc_server import start_grpc
        from covidcxr_tf.serving.http import build_app
        from covidcxr_tf.serving.limits import Limits
        from covidcxr_tf.serving.versions import Versions
        from covidcxr_tf.serving.work import Worker

        self.base, limits = base, Limits()
        self.versions = Versions(base, labels_file=base.parent / "models.config")
        self.versions.poll()
        self.worker = Worker(self.versions)
        self.rpc, self.rpc_port = start_grpc(self.worker, self.versions, "127.0.0.1", 0, limits)
        app = build_app(self.worker, self.versions, limits)
        self.http = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        self.thread = threading.Thread(target=self.http.run, daemon=True)

    def __enter__(self) -> Running:
        self.thread.start()
        ends = time.monotonic() + 30
        while not self.http.started and time.monotonic() < ends:
            self.thread.join(0.02)
        port = self.http.servers[0].sockets[0].getsockname()[1]
        return Running(self.base, f"http://127.0.0.1:{port}", f"127.0.0.1:{self.rpc_port}")

    def __exit__(self, *_: object) -> None:
        self.rpc.stop(None).wait()
        self.http.should_exit = True
        self.thread.join(30)
        self.worker.close()
        self.versions.stop()


def quiet(**more: str) -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **more}


@pytest.fixture(scope="module")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled serve_client.c."""
    import tensorflow as tf

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc libc6-dev")
    package = Path(tf.__file__).parent
    libraries = [package / "libtensorflow_cc.so.2", package / "libtensorflow_framework.so.2"]
    if not all(library.is_file() for library in libraries):
        pytest.skip(f"this TensorFlow carries no libtensorflow_cc.so.2 (looked in {package}): use the Linux wheel")
    program = tmp_path_factory.mktemp("c") / "serve_client"
    words = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-isystem{package / 'include'}"]
    words += [str(HERE / "serve_client.c"), "-o", str(program), *map(str, libraries), f"-Wl,-rpath,{package}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def test_a_c_program_gets_the_same_probabilities(
    c_program: Path, exported: Path, films: list[Path], expected: dict[str, Any]
) -> None:
    from covidcxr_tf.serving.servable import Servable

    folder = exported / "tiny" / "1"
    signature = Servable.load(folder).signatures["serving_default"]
    tensors = [signature.inputs["image_bytes"].tensor, signature.outputs["probabilities"].tensor]
    for row in (1, 2):
        words = [str(c_program), str(folder), str(films[row]), *tensors]
        done = subprocess.run(words, capture_output=True, text=True, env=quiet())
        assert done.returncode == 0, done.stderr
        printed = np.array([float(line) for line in done.stdout.split()], np.float32)
        np.testing.assert_allclose(printed, expected["probabilities"][row], rtol=2e-6, atol=1e-7)
    assert printed.tolist() == [0, 0]  # of the text


def saved_model_cli(*words: object) -> str:
    tool = Path(sys.executable).with_name("saved_model_cli")
    done = subprocess.run([str(tool), *map(str, words)], capture_output=True, text=True, env=quiet())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_saved_model_cli_shows_the_contract(exported: Path) -> None:
    shown = saved_model_cli(
        "show", "--dir", exported / "tiny" / "1", "--tag_set", "serve", "--signature_def", "explain"
    )
    for name in ("inputs['image_bytes']", "inputs['class_index']", "outputs['heatmap']", "outputs['status']"):
        assert name in shown
    assert "Method name is: tensorflow/serving/predict" in shown


def test_saved_model_cli_runs_it(exported: Path, films: list[Path], expected: dict[str, Any], tmp_path: Path) -> None:
    # A PNG ends in a byte that is not 0, so that NumPy's fixed-width bytes keep all of it.
    np.save(tmp_path / "films.npy", np.array([films[0].read_bytes()]))
    chosen = ("--dir", exported / "tiny" / "1", "--tag_set", "serve", "--signature_def", "serving_default")
    saved_model_cli("run", *chosen, "--inputs", f"image_bytes={tmp_path / 'films.npy'}", "--outdir", tmp_path)
    probabilities = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_allclose(probabilities, expected["probabilities"][:1], rtol=2e-6, atol=1e-7)


def test_the_documented_grpc_client(running: Running, films: list[Path], expected: dict[str, Any]) -> None:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(running.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "tiny"
        request.model_spec.signature_name = "serving_default"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(films[1].read_bytes(), shape=[1]))
        result = stub.Predict(request, 10.0)
    np.testing.assert_allclose(
        np.array(result.outputs["probabilities"].float_val), expected["probabilities"][1], rtol=2e-6, atol=1e-7
    )
    assert result.model_spec.version.value == 1


def test_row_and_column_rest_through_plain_urllib(
    running: Running, films: list[Path], expected: dict[str, Any]
) -> None:
    encoded = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in films]
    url = f"{running.rest}/v1/models/tiny"
    rows = posted(f"{url}:predict", {"instances": encoded})["predictions"]
    columns = posted(f"{url}/versions/1:predict", {"inputs": {"image_bytes": encoded}})["outputs"]
    named = posted(
        f"{url}/labels/stable:predict",
        {"signature_name": "serving_default", "instances": [{"image_bytes": film} for film in encoded]},
    )["predictions"]
    assert rows == named
    for row, answer in enumerate(rows):
        np.testing.assert_allclose(answer["probabilities"], expected["probabilities"][row], rtol=2e-6, atol=1e-7)
        assert answer["classes"] == CLASSES
        assert answer["status"] == expected["status"][row] == columns["status"][row]
        assert answer["probabilities"] == columns["probabilities"][row]


def posted(url: str, body: Any) -> Any:
    with urllib.request.urlopen(url, json.dumps(body).encode()) as answer:
        return json.load(answer)


def test_the_status_call_of_the_documentation(running: Running) -> None:
    with urllib.request.urlopen(f"{running.rest}/v1/models/tiny") as answer:
        told = json.load(answer)
    status = {"error_code": "OK", "error_message": ""}
    assert told == {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}]}


def test_curl_of_the_documentation_on_its_own_model(tmp_path: Path) -> None:
    import tensorflow as tf

    if shutil.which("curl") is None:
        pytest.skip("no curl: apt-get install curl")
    module = tf.Module()
    half = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    module.half = half
    tf.saved_model.save(module, str(tmp_path / "half_plus_two" / "00000123"), signatures=half)
    with serving(tmp_path / "half_plus_two") as server:
        url = f"{server.rest}/v1/models/half_plus_two"
        rows = curl("-d", '{"instances": [1.0, 2.0, 5.0]}', "-X", "POST", f"{url}:predict")
        columns = curl("-d", '{"inputs": [1.0, 2.0, 5.0]}', f"{url}/versions/123:predict")
        missing = curl("-d", '{"instances": [1.0]}', f"{url}/versions/7:predict")
    assert rows == {"predictions": [2.5, 3.0, 4.5]}
    assert columns == {"outputs": [2.5, 3.0, 4.5]}
    assert missing == {"error": "Servable not found for request: Specific(half_plus_two, 7)"}


def curl(*words: str) -> Any:
    done = subprocess.run(["curl", "-s", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def ran(client: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(client), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=quiet(**environment))


def test_the_rest_client_that_lies_beside_the_models(
    running: Running, exported: Path, films: list[Path], expected: dict[str, Any]
) -> None:
    client = exported / "clients" / "rest_client.py"
    done = ran(client, *films, "--server", running.rest, "--label", "canary")
    assert done.returncode == 0, done.stderr
    assert_told(done.stdout.splitlines(), films, expected)
    wrong = ran(client, films[0], "--server", running.rest, "--version", 7)
    assert wrong.returncode == 1
    assert "HTTP 404" in wrong.stderr and "Specific(tiny, 7)" in wrong.stderr
    absent = ran(client, films[0].with_name("absent.png"), "--server", running.rest)
    assert absent.returncode == 1 and "absent.png" in absent.stderr and "Traceback" not in absent.stderr


def test_the_grpc_client_that_lies_beside_the_models(
    running: Running,
    exported: Path,
    films: list[Path],
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = exported / "clients" / "grpc_client.py"
    done = ran(client, *films, "--server", running.grpc, "--explain")
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "tiny, version 1"
    assert_told(lines, films, expected)
    heat = np.load(films[0].with_name("first_heatmap.npy"))
    assert heat.shape == (64, 64) and 0 <= heat.min() <= heat.max() <= 1
    # In this process, where TensorFlow is loaded already.
    monkeypatch.setattr(sys, "argv", [str(client), str(films[0]), "--server", running.grpc, "--model", "other"])
    with pytest.raises(SystemExit, match=r"^NOT_FOUND: Servable not found for request: Latest\(other\)$"):
        runpy.run_path(str(client), run_name="__main__")


def assert_told(lines: list[str], films: list[Path], expected: dict[str, Any]) -> None:
    told = {0: "ok", 2: "lungs not found: the whole film was judged"}
    for row, start in ((0, 0), (1, 3)):
        assert lines[start] == f"{films[row]}: {told[int(expected['status'][row])]}"
        named = [line.split() for line in lines[start + 1 : start + 3]]
        assert [name for name, _ in named] == CLASSES
        np.testing.assert_allclose([float(value) for _, value in named], expected["probabilities"][row], atol=6e-5)
    assert lines[6:] == [f"{films[2]}: not readable"]


def test_the_clients_send_the_token(exported: Path, films: list[Path]) -> None:
    seen: list[str | None] = []
    with listening(seen) as port:
        ran(
            exported / "clients" / "rest_client.py",
            films[0],
            "--server",
            f"http://127.0.0.1:{port}",
            COVIDCXR_TOKEN="a-token-of-some-length",
        )
    assert seen == ["Bearer a-token-of-some-length"]


class listening:
    """A server that notes the Authorization header and answers 401."""

    def __init__(self, seen: list[str | None]) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                seen.append(self.headers["Authorization"])
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_error(401)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> int:
        self.thread.start()
        return int(self.server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(30)
        self.server.server_close()
