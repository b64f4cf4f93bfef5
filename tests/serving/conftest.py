"""A model small enough to load in a blink, with the signatures of a real export; films; a running core."""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from covidcxr_tf.serving.limits import Limits
    from covidcxr_tf.serving.versions import Versions
    from covidcxr_tf.serving.work import Worker

SIDE = 8
CLASSES = ("normal", "covid19")
MAX_PIXELS = 40_000_000


class Serving(NamedTuple):
    """The core of a server, without any protocol."""

    worker: Worker
    versions: Versions
    limits: Limits


def toy_module(version: int) -> Any:
    """Return a tf.Module: the second class's probability is the mean grey level divided by the version."""
    import tensorflow as tf

    def good(content: Any) -> Any:
        """Return whether it begins and ends as a PNG of at most MAX_PIXELS: the toy decodes nothing else."""
        head = tf.strings.substr(tf.strings.join([content, tf.constant(b"\x00" * 24)]), 0, 24)
        tail = tf.strings.substr(tf.strings.join([tf.constant(b"\x00" * 8), content]), -8, 4)
        sides = tf.cast(tf.io.decode_raw(tf.strings.substr(head, 16, 8), tf.int32, little_endian=False), tf.float64)
        is_png = (tf.strings.substr(head, 0, 8) == b"\x89PNG\r\n\x1a\n") & (tail == b"IEND")
        return is_png & (sides[0] * sides[1] <= MAX_PIXELS)

    def film(content: Any) -> Any:
        levels = tf.io.decode_image(content, channels=1, dtype=tf.uint16, expand_animations=False)
        small = tf.image.resize(tf.cast(levels, tf.float32) / 65535.0, (SIDE, SIDE), antialias=True)
        return tf.ensure_shape(small, (SIDE, SIDE, 1))

    def decode(content: Any) -> tuple[Any, Any]:
        fine = good(content)
        return tf.cond(fine, lambda: film(content), lambda: tf.zeros((SIDE, SIDE, 1))), tf.where(fine, 0, 1)

    class Toy(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.divisor = tf.Variable(float(version), name="divisor")

        def answer(self, image: Any, status: Any) -> dict[str, Any]:
            count = tf.shape(image)[0]
            positive = tf.reduce_mean(image, axis=(1, 2, 3)) / self.divisor
            whole = tf.stack([1.0 - positive, positive], axis=1)
            return {
                "probabilities": tf.where((status == 1)[:, None], 0.0, whole),
                "classes": tf.tile(tf.constant([CLASSES]), (count, 1)),
                "status": status,
                "lung_box": tf.tile(tf.constant([[0.0, 0.0, 1.0, 1.0]]), (count, 1)),
                "lung_quality": tf.fill((count,), -1.0),
                "ood_score": tf.fill((count,), -1.0),
            }

        def decoded(self, image_bytes: Any) -> tuple[Any, Any]:
            kinds = (tf.TensorSpec((SIDE, SIDE, 1), tf.float32), tf.TensorSpec((), tf.int32))
            return tf.map_fn(decode, image_bytes, fn_output_signature=kinds)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def from_bytes(self, image_bytes: Any) -> dict[str, Any]:
            return self.answer(*self.decoded(image_bytes))

        @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 1], tf.float32, name="image")])
        def tensors(self, image: Any) -> dict[str, Any]:
            return self.answer(image, tf.zeros(tf.shape(image)[:1], tf.int32))

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, name="image_bytes"),
                tf.TensorSpec([None], tf.int32, name="class_index"),
            ]
        )
        def explain(self, image_bytes: Any, class_index: Any) -> dict[str, Any]:
            image, status = self.decoded(image_bytes)
            answer = self.answer(image, status)
            chosen = tf.where(class_index < 0, tf.argmax(answer["probabilities"], 1, tf.int32), class_index)
            shade = tf.where(chosen == 1, 1.0, 0.5)[:, None, None]
            kept = ("probabilities", "status")
            return {**{name: answer[name] for name in kept}, "heatmap": image[..., 0] * shade}

    return Toy()


def write_toy(folder: Path) -> Path:
    """Write OUT/NAME/N with assets.extra/card.json; N is the folder's name."""
    import tensorflow as tf

    version = int(folder.name)
    module = toy_module(version)
    signatures = {"serving_default": module.from_bytes, "tensors": module.tensors, "explain": module.explain}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    card = {
        "schema_version": 1,
        "name": folder.parent.name,
        "version": version,
        "arch": "toy",
        "task": "classification",
        "classes": list(CLASSES),
        "positive": CLASSES[1],
        "threshold": 0.4,
        "input_size": SIDE,
        "channels": 1,
        "limits": {"max_pixels": MAX_PIXELS},
    }
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def toy_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return OUT/toy with versions 1 and 2; read only: a test that changes versions copies it."""
    base = tmp_path_factory.mktemp("export") / "toy"
    for version in (1, 2):
        write_toy(base / str(version))
    return base


@pytest.fixture(scope="session")
def serving(toy_export: Path) -> Iterator[Serving]:
    """Return worker, versions (2 is the newest; labels stable=1, canary=2) and limits, shared by all tests."""
    from covidcxr_tf.serving.limits import Limits
    from covidcxr_tf.serving.versions import Versions
    from covidcxr_tf.serving.work import Worker

    versions = Versions(toy_export, labels={"stable": 1, "canary": 2})
    versions.poll()
    worker = Worker(versions, threads=2, waiting=64, timeout_s=60)
    yield Serving(worker, versions, Limits())
    worker.close()
    versions.stop()


def png_film(seed: int = 0, rows: int = 40, columns: int = 48, bits: int = 8) -> bytes:
    """Return a grey noise film as PNG."""
    noise = np.random.default_rng(seed)
    levels = noise.integers(0, 1 << bits, (rows, columns)).astype(np.uint8 if bits == 8 else np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def film_of() -> Callable[..., bytes]:
    """Return `png_film(seed, rows, columns, bits)`: fixtures are the only way into a conftest."""
    return png_film


class Answer(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="session")
def ask() -> Callable[..., Answer]:
    """Return a function that sends one request to a port of this machine."""

    def send(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            sent = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            connection.request(method, path, sent, headers or {})
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())
        finally:
            connection.close()

    return send


@pytest.fixture
def listen() -> Iterator[Callable[[Any], int]]:
    """Return a function that serves an ASGI app with uvicorn on a free port, until the test ends."""
    import uvicorn

    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> int:
        told = threading.Event()

        class Told(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                told.set()

        server = Told(uvicorn.Config(app, port=0, log_level="error", access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        assert told.wait(30)
        return int(server.servers[0].sockets[0].getsockname()[1])

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()
