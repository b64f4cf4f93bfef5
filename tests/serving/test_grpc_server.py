"""TensorFlow Serving's own gRPC stubs against the server: answers, codes, words and limits."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from covidcxr_tf.errors import UsageError
from covidcxr_tf.serving.grpc_server import start_grpc
from covidcxr_tf.serving.versions import VersionStatus
from covidcxr_tf.serving.work import Worker

if TYPE_CHECKING:
    from covidcxr_tf.serving.limits import Limits

CODE = grpc.StatusCode
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Client(NamedTuple):
    """Both services over one channel."""

    prediction: Any
    model: Any


@pytest.fixture
def connect(serving: Any) -> Iterator[Callable[..., Client]]:
    """Return a function that starts a server and gives its client; all end with the test."""
    ends: list[Callable[[], Any]] = []

    def start(worker: Worker | None = None, limits: Limits | None = None, token: str | None = None) -> Client:
        worker = worker or serving.worker
        server, port = start_grpc(worker, serving.versions, "127.0.0.1", 0, limits or serving.limits, token)
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=LARGE)
        ends.extend([channel.close, lambda: server.stop(None).wait()])
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return Client(prediction, model_service_pb2_grpc.ModelServiceStub(channel))

    yield start
    for end in ends:
        end()


@pytest.fixture(scope="module")
def client(serving: Any) -> Iterator[Client]:
    """Return the client of one server for all tests that leave it as it is."""
    server, port = start_grpc(serving.worker, serving.versions, "127.0.0.1", 0, serving.limits)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=LARGE) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        yield Client(prediction, model_service_pb2_grpc.ModelServiceStub(channel))
    server.stop(None).wait()


def asking(inputs: dict[str, Any], signature: str = "", name: str = "toy", **spec: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def arrays_of(response: Any) -> dict[str, Any]:
    return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


IMAGE = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(3, 8, 8, 1)


def test_predict_gives_every_output_of_the_newest_version(client: Client, serving: Any, film_of: Any) -> None:
    films = [film_of(seed) for seed in range(3)]
    response = client.prediction.Predict(asking({"image_bytes": films}), timeout=30)
    expected, version = serving.worker.run("serving_default", {"image_bytes": np.array(films, object)})
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 2, "serving_default")
    assert version == 2
    outputs = arrays_of(response)
    assert outputs.keys() == expected.keys() >= {"probabilities", "classes", "status", "lung_box"}
    for alias, array in expected.items():
        np.testing.assert_array_equal(outputs[alias], array)
    assert response.outputs["probabilities"].float_val  # not packed: other languages read this field


def test_versions_and_labels_choose_who_answers(client: Client) -> None:
    means = IMAGE.mean(axis=(1, 2, 3))
    for spec, version in (({"version": 1}, 1), ({"label": "stable"}, 1), ({"label": "canary"}, 2), ({}, 2)):
        response = client.prediction.Predict(asking({"image": IMAGE}, "tensors", **spec))
        assert response.model_spec.version.value == version
        assert response.model_spec.signature_name == "tensors"
        np.testing.assert_allclose(arrays_of(response)["probabilities"][:, 1], means / version, rtol=1e-6)


def test_explain_through_the_stubs(client: Client, film_of: Any) -> None:
    inputs = {"image_bytes": [film_of(0), film_of(1)], "class_index": np.array([-1, 1], np.int32)}
    outputs = arrays_of(client.prediction.Predict(asking(inputs, "explain")))
    assert outputs.keys() == {"probabilities", "heatmap", "status"}
    assert outputs["heatmap"].shape == (2, 8, 8)


def test_output_filter_is_honoured(client: Client) -> None:
    request = asking({"image": IMAGE}, "tensors")
    request.output_filter.extend(["status", "classes"])
    outputs = arrays_of(client.prediction.Predict(request))
    assert outputs.keys() == {"status", "classes"}
    assert outputs["classes"][0].tolist() == [b"normal", b"covid19"]


def test_output_filter_of_another_signature_or_twice(client: Client) -> None:
    request = asking({"image": IMAGE}, "tensors")
    request.output_filter.append("heatmap")
    code, text = refused(lambda: client.prediction.Predict(request))
    assert code is CODE.INVALID_ARGUMENT and text.startswith("output tensor alias not found in signature: heatmap")
    request.output_filter[:] = ["status", "status"]
    assert refused(lambda: client.prediction.Predict(request)) == (
        CODE.INVALID_ARGUMENT, "duplicate output tensor alias: status",
    )  # fmt: skip


def test_a_bad_film_has_status_1_and_leaves_its_neighbours_alone(client: Client, film_of: Any) -> None:
    good = film_of(3)
    both = arrays_of(client.prediction.Predict(asking({"image_bytes": [good, b"no film", b""]})))
    alone = arrays_of(client.prediction.Predict(asking({"image_bytes": [good]})))
    assert both["status"].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(both["probabilities"][0], alone["probabilities"][0])
    np.testing.assert_array_equal(both["probabilities"][1:], 0)


def test_a_film_that_tensorflow_cannot_decode_is_turned_into_png(client: Client) -> None:
    import io

    from PIL import Image

    levels = np.random.default_rng(0).integers(0, 256, (40, 48)).astype(np.uint8)
    answers = []
    for kind in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, format=kind)
        answers.append(arrays_of(client.prediction.Predict(asking({"image_bytes": [buffer.getvalue()]}))))
    png, tiff = answers
    assert tiff["status"].tolist() == [0]
    np.testing.assert_allclose(tiff["probabilities"], png["probabilities"], atol=1e-6)


WRONG = {
    "no model": (
        asking({"image": IMAGE}, name="other"),
        CODE.NOT_FOUND,
        "Servable not found for request: Latest(other)",
    ),
    "no version": (
        asking({"image": IMAGE}, version=9),
        CODE.NOT_FOUND,
        "Servable not found for request: Specific(toy, 9)",
    ),
    "no version of no model": (
        asking({"image": IMAGE}, name="other", version=1),
        CODE.NOT_FOUND,
        "Servable not found for request: Specific(other, 1)",
    ),
    "no label": (
        asking({"image": IMAGE}, label="beta"),
        CODE.INVALID_ARGUMENT,
        "Unrecognized servable version label: beta",
    ),
    "no signature": (
        asking({"image": IMAGE}, "classify"),
        CODE.FAILED_PRECONDITION,
        'Serving signature key "classify" not found.',
    ),
    "no name": (asking({"image": IMAGE}, name=""), CODE.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    "no spec": (predict_pb2.PredictRequest(), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
    "no input": (
        asking({}, "tensors"),
        CODE.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1 len({}) != len({image}). Sent extra: {}. "
        "Missing but required: {image}.",
    ),
    "an input too many": (
        asking({"image": IMAGE, "more": IMAGE}, "tensors"),
        CODE.INVALID_ARGUMENT,
        "input size does not match signature: 2!=1 len({image,more}) != len({image}). Sent extra: {more}. "
        "Missing but required: {}.",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_requests_get_tensorflow_servings_code_and_words(client: Client, kind: str) -> None:
    request, code, text = WRONG[kind]
    assert refused(lambda: client.prediction.Predict(request)) == (code, text)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (IMAGE.astype(np.float64), "float64"),
        (np.array([b"film"], object), "string"),
        (IMAGE[:, :4], "shape"),
        (IMAGE[0], "shape"),
    ],
)
def test_wrong_type_or_shape_is_an_invalid_argument_that_names_the_input(
    client: Client, value: Any, words: str
) -> None:
    code, text = refused(lambda: client.prediction.Predict(asking({"image": value}, "tensors")))
    assert code is CODE.INVALID_ARGUMENT
    assert "image" in text and words in text


def test_rows_and_bytes_are_bounded(connect: Any, serving: Any) -> None:
    limits = dataclasses.replace(serving.limits, images_per_request=2, request_bytes=20_000)
    client = connect(limits=limits)
    code, text = refused(lambda: client.prediction.Predict(asking({"image": IMAGE}, "tensors")))
    assert (code, text) == (CODE.INVALID_ARGUMENT, "Too many images in one request: 3; at most 2")
    code, text = refused(lambda: client.prediction.Predict(asking({"image_bytes": [b"x" * 30_000]})))
    assert code is CODE.RESOURCE_EXHAUSTED and "larger than max" in text
    assert client.prediction.Predict(asking({"image": IMAGE[:2]}, "tensors")).model_spec.version.value == 2


def test_bytes_held_by_all_calls_are_bounded_and_given_back(connect: Any, serving: Any) -> None:
    client = connect(limits=dataclasses.replace(serving.limits, in_flight_bytes=2000))
    small, large = asking({"image": IMAGE[:1]}, "tensors"), asking({"image_bytes": [b"x" * 3000]})
    assert refused(lambda: client.prediction.Predict(large))[0] is CODE.RESOURCE_EXHAUSTED
    for _ in range(12):  # more than fits at once: each is given back, failed ones too
        client.prediction.Predict(small)
        refused(lambda: client.prediction.Predict(asking({"image": IMAGE[:1]}, "none")))


class Gate:
    """A worker's only thread held until it is let go."""

    def __init__(self, worker: Worker) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.job = worker.submit(self._wait)
        assert self.reached.wait(30)

    def _wait(self, servable: Any, seconds: float) -> None:
        self.reached.set()
        assert self.open.wait(30)


@pytest.fixture
def small(serving: Any) -> Iterator[Worker]:
    """Return a worker of one thread with two places to wait."""
    worker = Worker(serving.versions, threads=1, waiting=2)
    yield worker
    worker.close()


def test_a_full_queue_refuses_and_those_that_wait_are_answered(connect: Any, small: Worker) -> None:
    client = connect(small)
    gate = Gate(small)
    futures = [client.prediction.Predict.future(asking({"image": IMAGE}, "tensors")) for _ in range(3)]
    full = [future for future in futures if "full" in str(done(future, futures))]
    gate.open.set()
    assert len(full) == 1 and full[0].code() is CODE.RESOURCE_EXHAUSTED
    for future in futures:
        if future not in full:
            assert future.result(timeout=30).model_spec.version.value == 2


def done(future: Any, futures: list[Any]) -> Any:
    """Return the fault of `future` once the first of all is refused, None if it waits."""
    refusal = threading.Event()
    for each in futures:
        each.add_done_callback(lambda _: refusal.set())
    assert refusal.wait(30)
    return future.exception() if future.done() else None


def test_the_clients_deadline_ends_the_call_and_its_place(connect: Any, small: Worker) -> None:
    client = connect(small)
    gate = Gate(small)
    code, _ = refused(lambda: client.prediction.Predict(asking({"image": IMAGE}, "tensors"), timeout=0.2))
    assert code is CODE.DEADLINE_EXCEEDED
    gate.open.set()
    assert client.prediction.Predict(asking({"image": IMAGE}, "tensors"), timeout=30).model_spec.version.value == 2


def test_the_servers_own_limit_ends_a_call_without_a_deadline(connect: Any, small: Worker, serving: Any) -> None:
    client = connect(small, limits=dataclasses.replace(serving.limits, timeout_s=0.2))
    gate = Gate(small)
    code, text = refused(lambda: client.prediction.Predict(asking({"image": IMAGE}, "tensors")))
    gate.open.set()
    assert code is CODE.DEADLINE_EXCEEDED and "Deadline exceeded" in text


def test_a_client_that_hangs_up_does_not_run(connect: Any, small: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(small)
    gate = Gate(small)
    submitted, cancelled = threading.Event(), threading.Event()
    jobs: list[Any] = []
    submit = small.submit

    def watched(*arguments: Any, **named: Any) -> Any:
        job = submit(*arguments, **named)
        job.future.add_done_callback(lambda future: cancelled.set())
        jobs.append(job)
        submitted.set()
        return job

    monkeypatch.setattr(small, "submit", watched)
    call = client.prediction.Predict.future(asking({"image": IMAGE}, "tensors"))
    assert submitted.wait(30)
    call.cancel()
    assert cancelled.wait(30)
    gate.open.set()
    assert jobs[0].future.cancelled()


def test_a_stopping_server_is_unavailable(connect: Any, serving: Any) -> None:
    worker = Worker(serving.versions, threads=1, waiting=2)
    client = connect(worker)
    worker.close()
    code, text = refused(lambda: client.prediction.Predict(asking({"image": IMAGE}, "tensors")))
    assert (code, text) == (CODE.UNAVAILABLE, "The server is stopping")


def test_a_defect_is_internal_and_keeps_its_text_to_itself(
    connect: Any, small: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(small)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(small, "submit", broken)
    code, text = refused(lambda: client.prediction.Predict(asking({"image": IMAGE}, "tensors")))
    assert code is CODE.INTERNAL and "secret" not in text
    assert "secret path" in caplog.text


def test_metadata_holds_the_signatures(client: Client) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    request.model_spec.version_label = "stable"
    response = client.prediction.GetModelMetadata(request)
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 1)
    definitions = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(definitions)
    assert {"serving_default", "tensors", "explain"} <= set(definitions.signature_def)
    explain = definitions.signature_def["explain"]
    assert explain.method_name == "tensorflow/serving/predict"
    assert explain.inputs["class_index"].dtype == tf.int32.as_datatype_enum
    assert [dim.size for dim in explain.outputs["heatmap"].tensor_shape.dim] == [-1, 8, 8]


@pytest.mark.parametrize(
    ("name", "fields", "code", "text"),
    [
        ("toy", [], CODE.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"),
        ("toy", ["assets"], CODE.INVALID_ARGUMENT, "Metadata field assets is not supported"),
        ("other", ["signature_def"], CODE.NOT_FOUND, "Servable not found for request: Latest(other)"),
    ],
)
def test_wrong_metadata_requests(client: Client, name: str, fields: list[str], code: Any, text: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    assert refused(lambda: client.prediction.GetModelMetadata(request)) == (code, text)


def status_request(name: str = "toy", version: int | None = None, label: str | None = None) -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def test_status_of_all_versions_of_one_and_of_a_label(client: Client) -> None:
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    all_of_them = client.model.GetModelStatus(status_request()).model_version_status
    assert [(entry.version, entry.state) for entry in all_of_them] == [(2, available), (1, available)]
    assert {entry.status.error_code for entry in all_of_them} == {0}
    for request, version in ((status_request(version=1), 1), (status_request(label="canary"), 2)):
        (entry,) = client.model.GetModelStatus(request).model_version_status
        assert entry.version == version


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (status_request("other"), CODE.NOT_FOUND, "Could not find any versions of model other"),
        (status_request(version=9), CODE.NOT_FOUND, "Could not find version 9 of model toy"),
        (status_request(label="beta"), CODE.INVALID_ARGUMENT, "Unrecognized servable version label: beta"),
        (get_model_status_pb2.GetModelStatusRequest(), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
    ],
)
def test_wrong_status_requests(client: Client, request_: Any, code: Any, text: str) -> None:
    assert refused(lambda: client.model.GetModelStatus(request_)) == (code, text)


def test_a_version_that_failed_says_why(client: Client, serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [VersionStatus(3, "END", "FAILED_PRECONDITION", "no variables")]
    monkeypatch.setattr(serving.versions, "statuses", lambda: broken)
    (entry,) = client.model.GetModelStatus(status_request()).model_version_status
    assert entry.state == get_model_status_pb2.ModelVersionStatus.END
    assert (entry.status.error_code, entry.status.error_message) == (9, "no variables")  # 9 is FAILED_PRECONDITION


def test_what_is_not_offered_says_what_to_do(client: Client) -> None:
    calls = {
        "Classify": classification_pb2.ClassificationRequest(),
        "Regress": regression_pb2.RegressionRequest(),
        "MultiInference": inference_pb2.MultiInferenceRequest(),
    }
    for method, request in calls.items():
        code, text = refused(partial(getattr(client.prediction, method), request))
        assert code is CODE.UNIMPLEMENTED and "use Predict" in text
    reload = model_management_pb2.ReloadConfigRequest()
    code, text = refused(lambda: client.model.HandleReloadConfigRequest(reload))
    assert code is CODE.FAILED_PRECONDITION and "models.config" in text


def test_a_token_is_asked_of_every_call(connect: Any) -> None:
    client = connect(token="söme-token")
    ask = asking({"image": IMAGE}, "tensors")
    for metadata in (None, [("authorization", "Bearer wrong")], [("authorization", "some-token")]):
        assert refused(partial(client.prediction.Predict, ask, metadata=metadata))[0] is CODE.UNAUTHENTICATED
        code, _ = refused(partial(client.model.GetModelStatus, status_request(), metadata=metadata))
        assert code is CODE.UNAUTHENTICATED


def test_the_right_token_passes(connect: Any) -> None:
    client = connect(token="some-token")
    metadata = [("authorization", "Bearer some-token")]
    assert client.prediction.Predict(asking({"image": IMAGE}, "tensors"), metadata=metadata).outputs


def test_a_port_that_is_taken_is_a_users_error(serving: Any) -> None:
    server, port = start_grpc(serving.worker, serving.versions, "127.0.0.1", 0, serving.limits)
    try:
        with pytest.raises(UsageError, match=f"cannot listen at 127.0.0.1:{port}"):
            start_grpc(serving.worker, serving.versions, "127.0.0.1", port, serving.limits)
    finally:
        server.stop(None).wait()


def test_many_clients_at_once_get_what_each_would_get_alone(client: Client, film_of: Any) -> None:
    films = [film_of(seed, rows=16 + seed, columns=20) for seed in range(8)]
    alone = [arrays_of(client.prediction.Predict(asking({"image_bytes": [film]}))) for film in films]

    def ask(number: int) -> bool:
        if number % 5 == 4:  # one bad request among four good ones
            return refused(lambda: client.prediction.Predict(asking({}, version=7)))[0] is CODE.NOT_FOUND
        seed = number % len(films)
        together = arrays_of(client.prediction.Predict(asking({"image_bytes": [films[seed]]}), timeout=60))
        return all(np.array_equal(together[alias], array) for alias, array in alone[seed].items())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(80)))
