"""TensorFlow Serving's REST rules, asked of a real server."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.serving.http import build_app, parse_path
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.work import Worker

PREDICT = "/v1/models/toy:predict"
TOKEN = "a-token-of-more-than-16"


@pytest.fixture
def get(serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]) -> Callable[..., Any]:
    port = listen(build_app(*serving))
    return lambda path, **kw: ask(port, "GET", path, **kw)


@pytest.fixture
def post(serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]) -> Callable[..., Any]:
    port = listen(build_app(*serving))
    return lambda body, path=PREDICT, **kw: ask(port, "POST", path, body, **kw)


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def test_status(get: Callable[..., Any]) -> None:
    def entry(version: str) -> dict[str, Any]:
        return {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    answer = get("/v1/models/toy")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"model_version_status": [entry("2"), entry("1")]}
    assert get("/v1/models/toy/versions/1").json == {"model_version_status": [entry("1")]}
    assert get("/v1/models/toy/labels/stable").json == {"model_version_status": [entry("1")]}
    assert get("/V1/MODELS/toy").status == 200  # TensorFlow Serving minds no case, and decodes names
    assert get("/v1/models/%74oy").status == 200
    assert get("/v1/models/toy?x=1").status == 200


def test_metadata_is_tensorflow_servings(get: Callable[..., Any]) -> None:
    told = get("/v1/models/toy/metadata").json
    assert told["model_spec"] == {"name": "toy", "signature_name": "", "version": "2"}
    assert list(told["metadata"]) == ["signature_def"]
    signatures = told["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "tensors", "explain", "__saved_model_init_op"}
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    image = default["inputs"]["image_bytes"]
    assert image["dtype"] == "DT_STRING"
    assert image["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert image["name"].endswith(":0")
    assert get("/v1/models/toy/versions/1/metadata").json["model_spec"]["version"] == "1"
    assert get("/v1/models/toy/labels/stable/metadata").json["model_spec"]["version"] == "1"


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v1/models/foo", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/foo/versions/3", 404, "Servable not found for request: Specific(foo, 3)"),
        ("/v1/models/toy/versions/9", 404, "Could not find version 9 of model toy"),
        ("/v1/models/toy/versions/9/metadata", 404, "Servable not found for request: Specific(toy, 9)"),
        ("/v1/models/toy/labels/nope", 400, "Unrecognized servable version label: nope"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("/v1/models/toy:predict", 400, "Malformed request: GET /v1/models/toy:predict"),
        ("/v1/models/toy/versions/HELLO", 400, "Malformed request: GET /v1/models/toy/versions/HELLO"),
        ("/v1/models/debug/model_name", 400, "Malformed request: GET /v1/models/debug/model_name"),
        ("/v1/models/toy/versions/1/labels/stable", 400, "Malformed request"),
        (f"/v1/models/toy/versions/{2**64}", 400, f"Failed to convert version: {2**64} to numeric."),
        ("/nothing", 404, "Malformed request: GET /nothing"),
    ],
)
def test_wrong_paths(get: Callable[..., Any], path: str, status: int, error: str) -> None:
    answer = get(path)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert list(answer.json) == ["error"]
    assert error in answer.json["error"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_malformed(
    serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any], method: str
) -> None:
    answer = ask(listen(build_app(*serving)), method, PREDICT, {})
    assert (answer.status, answer.json) == (400, {"error": f"Malformed request: {method} {PREDICT}"})


def test_paths_with_a_method() -> None:
    asked = parse_path("POST", "/v1/models/a%20b/labels/c%2Fd:PREDICT")
    assert (asked.model, asked.label, asked.version, asked.method) == ("a b", "c/d", None, "predict")
    with pytest.raises(ServingProblem, match="Malformed request: POST /v1/models/toy/metadata"):
        parse_path("POST", "/v1/models/toy/metadata")


def test_row_and_column_form(post: Callable[..., Any], film_of: Callable[..., bytes]) -> None:
    first, second = b64(film_of(1)), b64(film_of(2))
    rows = post({"instances": [first, second]}).json["predictions"]
    assert set(rows[0]) == {"classes", "lung_box", "lung_quality", "ood_score", "probabilities", "status"}
    assert rows[0]["classes"] == ["normal", "covid19"]
    assert rows[0]["status"] == 0
    named = post({"signature_name": "serving_default", "instances": [{"image_bytes": first}, {"image_bytes": second}]})
    assert named.json == {"predictions": rows}
    columns = post({"inputs": {"image_bytes": [first, second]}}).json["outputs"]
    assert columns["probabilities"] == [row["probabilities"] for row in rows]
    assert columns["status"] == [0, 0]
    assert post({"inputs": [first, second]}).json["outputs"] == columns
    older = post({"instances": [first]}, path="/v1/models/toy/labels/stable:predict").json["predictions"][0]
    np.testing.assert_allclose(older["probabilities"][1], 2 * rows[0]["probabilities"][1], rtol=1e-6)
    assert post({"instances": [first]}, path="/v1/models/toy/versions/1:predict").json["predictions"] == [older]


def test_several_inputs_and_tensors(post: Callable[..., Any], film_of: Callable[..., bytes]) -> None:
    film = b64(film_of(1))
    row = {"signature_name": "explain", "instances": [{"image_bytes": film, "class_index": -1}]}
    (answer,) = post(row).json["predictions"]
    assert np.shape(answer["heatmap"]) == (8, 8)
    columns = post({"signature_name": "explain", "inputs": {"image_bytes": [film], "class_index": [-1]}})
    assert columns.json["outputs"]["heatmap"] == [answer["heatmap"]]
    white = np.ones((8, 8, 1)).tolist()
    tensors = post({"signature_name": "tensors", "instances": [white, np.zeros((8, 8, 1)).tolist()]})
    assert [row["probabilities"] for row in tensors.json["predictions"]] == [[0.5, 0.5], [1.0, 0.0]]


def test_a_bad_film_has_status_1_and_its_neighbour_its_own_answer(
    post: Callable[..., Any], film_of: Callable[..., bytes]
) -> None:
    alone = post({"instances": [b64(film_of(1))]}).json["predictions"]
    mixed = post({"instances": [b64(b"<svg/>"), b64(film_of(1)), b64(b"")]}).json["predictions"]
    assert [row["status"] for row in mixed] == [1, 0, 1]
    assert mixed[1] == alone[0]
    assert mixed[0]["probabilities"] == [0.0, 0.0]


def test_nan_in_an_answer_is_null(post: Callable[..., Any]) -> None:
    image = np.zeros((8, 8, 1)).tolist()
    text = json.dumps({"signature_name": "tensors", "instances": [image, image]}).replace("0.0", "NaN", 1)
    answer = post(text.encode())
    told = json.loads(answer.body, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert told["predictions"][0]["probabilities"] == [None, None]
    assert told["predictions"][1]["probabilities"] == [1.0, 0.0]


FILM = {"b64": "aGk="}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"  \n", "JSON Parse error: The document is empty"),
        (b"instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"instances": [1, 2}', "JSON Parse error: "),
        (b'{"instances": [1]} x', "JSON Parse error: The document root must not be followed by other values."),
        (b'{"instances": ["\xff"]}', "JSON Parse error: Invalid encoding in string."),
        (b"[" * 100_000, "JSON Parse error: "),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON Parse error: Number too big"),
        (b"[1]", "JSON Value: [1] Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [FILM], "inputs": [FILM]}, "expecting only one of 'inputs' or 'instances'"),
        ({"instances": FILM}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"signature_name": 100}, "'signature_name' key must be a string value."),
        (
            {"signature_name": "nope", "instances": [FILM]},
            'Serving signature name: "nope" not found in signature def',
        ),
        ({"instances": [1]}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"instances": [{"b64": "%%%"}]}, "Unable to base64 decode"),
        (
            {"instances": [{"image": FILM}]},
            "Failed to process element: 0 key: image of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON object: does not have named input: image",
        ),
        ({"instances": [FILM, {"image_bytes": FILM}]}, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"image_bytes": FILM}, FILM]}, "Expecting object but got list at item 1 of input list"),
        ({"signature_name": "explain", "instances": [FILM]}, "expecting list of objects as multiple input tensors"),
        ({"signature_name": "explain", "instances": [{"image_bytes": FILM}]}, "keys must be equal to: class_index,"),
        ({"signature_name": "explain", "inputs": [FILM]}, "expecting an object as multiple input tensors"),
        ({"signature_name": "explain", "inputs": {"image_bytes": [FILM]}}, "Missing named input: class_index in"),
        ({"signature_name": "tensors", "instances": [[[[0.0]]]]}, "expected to be of shape [?,8,8,1]"),
        ({"signature_name": "tensors", "instances": [[0.0], [0.0, 1.0]]}, "Expecting tensor size: 1 but got: 2"),
        ({"signature_name": "tensors", "instances": [[0.0], [[0.0]]]}, "Expecting shape [1] but got: [1,1]"),
        ({"inputs": FILM}, "expected to be of shape [?] but []"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_bodies(post: Callable[..., Any], body: Any, error: str) -> None:
    answer = post(body)
    assert answer.status == 400, answer.body
    assert list(answer.json) == ["error"]
    assert error in answer.json["error"]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v1/models/foo:predict", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/toy/versions/9:predict", 404, "Servable not found for request: Specific(toy, 9)"),
        ("/v1/models/toy/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
        ("/v1/models/toy/versions/1/labels/stable:predict", 400, "Malformed request: POST /v1/models/toy/versions"),
        ("/v1/models/toy:explain", 400, "Malformed request: POST /v1/models/toy:explain"),
        ("/v1/models/toy", 400, "Malformed request: POST /v1/models/toy"),
        ("/v1/models/toy:classify", 400, "Expected classification signature method_name"),
        ("/v1/models/toy:regress", 400, "Expected regression signature method_name"),
    ],
)
def test_wrong_predict_paths(post: Callable[..., Any], path: str, status: int, error: str) -> None:
    answer = post({"instances": [FILM]}, path=path)
    assert answer.status == status
    assert error in answer.json["error"]


def limited(serving: tuple, **limits: Any) -> Any:
    return build_app(serving[0], serving[1], Limits(**limits))


def test_too_large_a_body_is_413(serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]) -> None:
    port = listen(limited(serving, request_bytes=1000))
    for body, headers in [
        (b"x" * 1001, {}),
        (iter([b"x" * 600] * 4), {}),  # chunked
        (gzip.compress(b" " * 10_000_000), {"Content-Encoding": "gzip"}),  # 10 kB that grow to 10 MB
    ]:
        answer = ask(port, "POST", PREDICT, body, headers)
        assert (answer.status, answer.json) == (413, {"error": "Request body is larger than 1000 bytes"})
    assert ask(port, "POST", PREDICT, b"x" * 1000).status == 400


def test_gzip_bodies(post: Callable[..., Any], film_of: Callable[..., bytes]) -> None:
    plain = json.dumps({"instances": [b64(film_of(1))]}).encode()
    packed = {"Content-Encoding": "gzip"}
    assert post(gzip.compress(plain), headers=packed).json == post(plain).json
    assert "Failed to decompress" in post(b"no gzip", headers=packed).json["error"]
    assert "ends too early" in post(gzip.compress(plain)[:-9], headers=packed).json["error"]
    assert post(plain, headers={"Content-Encoding": "br"}).status == 400


def test_too_many_images(serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]) -> None:
    port = listen(limited(serving, images_per_request=2))
    for body in ({"instances": [FILM] * 3}, {"inputs": [FILM] * 3}, {"inputs": {"image_bytes": [FILM] * 3}}):
        answer = ask(port, "POST", PREDICT, body)
        assert (answer.status, answer.json) == (400, {"error": "Too many images in one request: 3; at most 2"})
    assert ask(port, "POST", PREDICT, {"instances": [FILM] * 2}).status == 200


def test_a_full_queue_is_429_and_says_when_to_come_back(
    serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]
) -> None:
    worker = Worker(serving[1], threads=1, waiting=1)
    runs, may_end = threading.Event(), threading.Event()

    def held(servable: Any, left: float) -> None:
        runs.set()
        may_end.wait(30)

    port = listen(build_app(worker, serving[1], Limits()))
    first = worker.submit(held)
    assert runs.wait(30)
    second = worker.submit(lambda servable, left: None)
    answer = ask(port, "POST", PREDICT, {"instances": [FILM]})
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert "full" in answer.json["error"]
    assert ask(port, "GET", "/v1/models/toy").status == 200  # status needs no place in the queue
    may_end.set()
    first.future.result(30), second.future.result(30)
    assert ask(port, "POST", PREDICT, {"instances": [FILM]}).status == 200
    worker.leave()
    assert ask(port, "GET", "/readyz").status == 503
    assert ask(port, "GET", "/healthz").status == 200
    worker.close()
    stopped = ask(port, "POST", PREDICT, {"instances": [FILM]})
    assert (stopped.status, stopped.headers["retry-after"]) == (503, "1")


def test_bytes_of_all_requests_are_bounded(
    serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]
) -> None:
    app = limited(serving, in_flight_bytes=1000)
    port = listen(app)
    for _ in range(3):
        assert ask(port, "POST", PREDICT, b" " * 1001).status == 429
        assert ask(port, "POST", PREDICT, b" " * 1000).status == 400  # what was taken has been given back


def test_too_slow_a_model_is_504(serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]) -> None:
    worker = Worker(serving[1], threads=1, waiting=4, timeout_s=30)
    runs, may_end = threading.Event(), threading.Event()

    def held(servable: Any, left: float) -> None:
        runs.set()
        may_end.wait(30)

    first = worker.submit(held)
    assert runs.wait(30)
    worker.timeout_s = 0.05
    answer = ask(listen(build_app(worker, serving[1], Limits())), "POST", PREDICT, {"instances": [FILM]})
    assert (answer.status, list(answer.json)) == (504, ["error"])
    may_end.set()
    first.future.result(30)
    worker.close()


def test_too_slow_a_body_is_504(serving: tuple, listen: Callable[[Any], int]) -> None:
    port = listen(limited(serving, timeout_s=0.05))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 504")


def test_a_defect_is_500_without_its_inside(
    serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("covidcxr_tf.serving.http.parse_predict", broken)
    answer = ask(listen(build_app(*serving)), "POST", PREDICT, {"instances": [FILM]})
    assert (answer.status, answer.json) == (500, {"error": "Internal error"})


def test_the_token_is_asked_for_everywhere_but_for_the_pages_own_files(
    serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]
) -> None:
    port = listen(build_app(serving[0], serving[1], serving[2], TOKEN))
    paths = ["/v1/models/toy", "/metrics", "/readyz", "/films", "/nothing", "/static", "/static/../films"]
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, {"Authorization": "Bearer "}):
        for path in paths:
            answer = ask(port, "GET", path, headers=headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert ask(port, "POST", PREDICT, {"instances": [FILM]}, headers).status == 401
    assert [ask(port, "GET", path).status for path in ("/healthz", "/", "/static/main.js")] == [200, 200, 200]
    known = {"Authorization": f"bearer {TOKEN}"}
    assert ask(port, "GET", "/v1/models/toy", headers=known).status == 200
    assert ask(port, "POST", PREDICT, {"instances": [FILM]}, known).status == 200


def test_health_and_metrics(get: Callable[..., Any]) -> None:
    assert (get("/healthz").json, get("/readyz").json) == ({"status": "ok"}, {"status": "ready"})
    get("/v1/models/toy")
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        page = get(path)
        assert page.headers["content-type"].startswith("text/plain")
        assert b'covidcxr_http_requests_total{kind="status",status="200"}' in page.body


def test_the_page_and_its_files_have_their_headers(get: Callable[..., Any]) -> None:
    page = get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert get("/static/main.js").headers["x-content-type-options"] == "nosniff"
    assert get("/static/../http.py").status == 404
    assert get("/docs").status == 404
