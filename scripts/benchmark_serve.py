"""What `benchmark.py serve` measures, in processes that see two cores and hold nothing else."""

from __future__ import annotations

import base64
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from benchmark import in_turn, synthetic_levels, timed

THREADS = 2
SIDE, FILM_SIDE = 224, 512
BATCHES = (1, 16)
CLIENTS, FILMS_A_CLIENT = 8, 4
AGREE = 1e-3

Pairs = tuple[tuple[float, ...], tuple[float, ...]]


def two_threads() -> None:
    """Let this process see two cores: TensorFlow, ONNX Runtime and OpenVINO size their pools by it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(THREADS)


def write_export(folder: Path, side: int = SIDE, **knobs: Any) -> Path:
    """Export a DenseNet121 of drawn weights and return OUT/densenet121; ``model.keras`` lies beside it."""
    from covidcxr_tf.config import ImageConfig
    from covidcxr_tf.export.saved_model import export_model
    from covidcxr_tf.models import build
    from covidcxr_tf.models.files import save_model

    image = ImageConfig(size=side, channels=("raw",), lungs="none").model_dump(mode="json")
    facts = {"name": "densenet121", "arch": "densenet121", "task": "classification", "positive": "covid19"}
    model = build("densenet121", input_shape=(side, side, 1), seed=0, **knobs)
    draw_statistics(model)
    save_model(model, folder / "model.keras", {**facts, "classes": ["normal", "covid19"], "image": image})
    export_model(folder / "model.keras", folder / "out", name="densenet121", version=1)
    return folder / "out" / "densenet121"


def draw_statistics(model: Any) -> None:
    """Give the normalisations statistics as training leaves them.

    The shifts of a fresh network are all 0. TensorFlow takes the addition of zeros out, and without it does not run
    convolution and ReLU as one, which would be another graph than that of any trained network.
    """
    import keras

    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            spans = ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 2.0))
            layer.set_weights([random.uniform(*span, layer.moving_mean.shape) for span in spans])


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function` gives in a fresh process with two threads."""
    context = get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_call, args=(far, function, arguments))
    process.start()
    far.close()
    try:
        result = near.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} ended without a result; its own lines are above") from None
    finally:
        process.join()
    return result


def _call(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    two_threads()
    pipe.send(function(*arguments))


def export_in(folder: str, side: int, knobs: dict[str, Any]) -> str:
    """Return the path of an export written to `folder`."""
    return str(write_export(Path(folder), side, **knobs))


def engine_times(base: str, side: int, repeats: int, batches: tuple[int, ...]) -> dict[tuple[str, int], Pairs]:
    """Return (engine, batch) -> seconds a call: the exported graph and then the engine, in turn."""
    from covidcxr_tf.serving.servable import Servable

    servable = Servable.load(Path(base) / "1")
    found: dict[tuple[str, int], Pairs] = {}
    engines = _engines(Path(base).parents[1] / "model.keras")
    for batch in batches:
        films = np.stack([synthetic_levels(side, number) for number in range(batch)])[..., None] / np.float32(255)

        def exported(films: Any = films) -> Any:
            return servable.run("tensors", {"image": films}, outputs=("probabilities",))["probabilities"]

        for name, engine in engines.items():
            apart = np.abs(_softmax(engine(films)) - exported()).max()
            if apart > AGREE:
                raise RuntimeError(f"{name} differs from the export by {apart:.2g}: these are not the same weights")
            found[name, batch] = in_turn(timed(exported), timed(partial(engine, films)), repeats, warm_up=2)
    return found


def _engines(path: Path) -> dict[str, Callable[[Any], Any]]:
    """Return name -> function from films (N, S, S, 1) to logits, for what is installed."""
    import tensorflow as tf

    from covidcxr_tf.models.files import load_model

    model, _ = load_model(path)
    # As a graph: called op by op, Python's share would be the larger one and flatter the export.
    graph = tf.function(lambda films: model(films, training=False))
    engines: dict[str, Callable[[Any], Any]] = {"Keras": lambda films: graph(films).numpy()}
    onnx = path.with_suffix(".onnx")
    for name, make in (("ONNX Runtime", _onnx_runtime), ("OpenVINO", _openvino)):
        try:
            if not onnx.exists():
                model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras exports only what has been called
                model.export(onnx, format="onnx", verbose=False)
            engines[name] = make(onnx)
        except ImportError as missing:
            print(f"{name} is left out: {missing}; pip install -e .[parity]", flush=True)
    return engines


def _onnx_runtime(path: Path) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    # Its threads go on spinning after a call, on the two cores that the next engine in turn is measured on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda films: session.run(None, {name: films})[0]


def _openvino(path: Path) -> Callable[[Any], Any]:
    import openvino

    # Its own choice on some processors is bfloat16, which the others are not asked for.
    settings = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda films: compiled(films)[0]


def _softmax(logits: Any) -> Any:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def film_files(side: int = FILM_SIDE) -> list[bytes]:
    """Return one PNG a client."""
    import cv2

    return [cv2.imencode(".png", synthetic_levels(side, number))[1].tobytes() for number in range(CLIENTS)]


class ServedExport:
    """A server in a process of two cores, which runs the bare graph when asked to: both have the same threads."""

    def __init__(self, base: str, films: list[bytes]) -> None:
        context = get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(base, films, far))
        self._process.start()
        far.close()
        self.port = int(self._pipe.recv())

    def bare(self, batch: int) -> float:
        """Return the seconds of one call of the graph on `batch` films, in the server's process, without the server."""
        self._pipe.send(batch)
        return float(self._pipe.recv())

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def _serve(base: str, films: list[bytes], pipe: Any) -> None:
    two_threads()
    import uvicorn

    from covidcxr_tf.serving.http import build_app
    from covidcxr_tf.serving.limits import Limits
    from covidcxr_tf.serving.versions import Versions
    from covidcxr_tf.serving.work import Worker

    versions = Versions(Path(base))
    versions.poll()
    worker = Worker(versions)
    server = uvicorn.Server(
        uvicorn.Config(build_app(worker, versions, Limits()), host="127.0.0.1", port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    pipe.send(server.servers[0].sockets[0].getsockname()[1])
    while (batch := pipe.recv()) is not None:
        inputs = {"image_bytes": np.array(films[:batch], object)}
        with versions.lease() as servable:
            pipe.send(timed(partial(servable.run, None, inputs))())
    server.should_exit = True
    thread.join()
    worker.close()


def served_times(base: str, repeats: int, films: list[bytes]) -> dict[str, Pairs]:
    """Return films a second of clients at once against the bare graph's, and what a lone request takes more.

    ``throughput``: 8 clients with a film each against one call on 8 films; ``latency``: seconds that the median of a
    few lone requests has above the bare graph's on the same film, and the latter.
    """
    with ExitStack() as stack:
        server = ServedExport(base, films)
        stack.callback(server.close)
        asks = [_asker(server.port, Path(base).name, film, stack) for film in films]
        pool = stack.enter_context(ThreadPoolExecutor(len(films)))

        def together() -> float:
            started = time.perf_counter()
            list(pool.map(lambda ask: [ask() for _ in range(FILMS_A_CLIENT)], asks))
            return len(films) * FILMS_A_CLIENT / (time.perf_counter() - started)

        throughput = in_turn(together, lambda: len(films) / server.bare(len(films)), repeats)
        alone = [
            (statistics.median(timed(asks[0])() for _ in range(5)), statistics.median(server.bare(1) for _ in range(5)))
            for _ in range(repeats)
        ]
    latency = tuple(served - bare for served, bare in alone), tuple(bare for _, bare in alone)
    return {"throughput": throughput, "latency": latency}


def _asker(port: int, model: str, film: bytes, stack: ExitStack) -> Callable[[], None]:
    """Return a function that asks about `film` over one connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    stack.callback(connection.close)
    body = json.dumps({"instances": [{"b64": base64.b64encode(film).decode()}]})

    def ask() -> None:
        connection.request("POST", f"/v1/models/{model}:predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status}: {text[:200]!r}")

    return ask


def measure(
    repeats: int, side: int = SIDE, batches: tuple[int, ...] = BATCHES, film_side: int = FILM_SIDE, **knobs: Any
) -> tuple[dict[tuple[str, int], Pairs], dict[str, Pairs]]:
    """Return `engine_times` and `served_times` of one export."""
    with tempfile.TemporaryDirectory() as folder:
        base = in_own_process(export_in, folder, side, knobs)
        engines = in_own_process(engine_times, base, side, repeats, batches)
        return engines, served_times(base, repeats, film_files(film_side))
