"""What one uploaded film is answered with, and how a film that cannot be read is refused."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from covidcxr_tf.imaging.reading import encode_png16, read_image
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.serving.film_answer import SHOWN_SIDE, WARNINGS, answer_film, predicted_index
from covidcxr_tf.serving.films import films_router
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.work import Worker


class Model:
    """A servable that answers what a test tells it to."""

    name, version = "told", 3

    def __init__(self, **told: Any) -> None:
        self.card = {
            "classes": ["normal", "covid19"],
            "positive": "covid19",
            "threshold": 0.7,
            "model_sha256": "ab12",
            "lung_model": {"name": "lung_unet"},
            **told.pop("card", {}),
        }
        self.signatures = dict.fromkeys(told.pop("signatures", ("serving_default", "explain")))
        self.told = {"probabilities": [0.4, 0.6], "lung_box": [0.25, 0.125, 0.75, 0.875], **told}
        self.asked: list[int] = []
        self.sent: list[bytes] = []

    def run(self, signature: str, inputs: dict[str, np.ndarray], *, timeout_s: float) -> dict[str, np.ndarray]:
        assert timeout_s > 0
        heat = np.zeros((4, 4), np.float32)
        self.sent.append(inputs["image_bytes"][0])
        unread = self.sent[-1].startswith(self.told.get("cannot_read", b"nothing"))
        if "class_index" in inputs:
            self.asked.append(int(inputs["class_index"][0]))
            heat[1, 2] = self.told.get("heat", 0.5)
        named = [word.encode() for word in self.card["classes"]]
        return {
            "probabilities": np.array([self.told["probabilities"]], np.float32),
            "classes": np.array([named], object),
            "status": np.array([1 if unread else self.told.get("status", 0)], np.int32),
            "lung_box": np.array([self.told["lung_box"]], np.float32),
            "lung_quality": np.array([self.told.get("lung_quality", 0.9)], np.float32),
            "ood_score": np.array([self.told.get("ood_score", -1.0)], np.float32),
            "heatmap": heat[None],
        }


class Only:
    """Versions of which there is one."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @contextlib.contextmanager
    def lease(self, version: int | None = None, label: str | None = None) -> Iterator[Model]:
        yield self.model

    def statuses(self) -> list[Any]:
        return []


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Return a function from a film and what the model says to the answer."""
    with contextlib.ExitStack() as stack:

        def answer(model: Model, film: bytes, **wanted: Any) -> dict[str, Any]:
            versions: Any = Only(model)
            worker = Worker(versions, threads=1)
            stack.callback(worker.close)
            return answer_film(worker, film, **{"name": "film.png", "limits": Limits(), **wanted})

        yield answer


@pytest.fixture
def client(serving: Any) -> TestClient:
    return client_of(serving.worker, serving.versions, serving.limits)


def client_of(worker: Any, versions: Any, limits: Limits) -> TestClient:
    app = FastAPI()
    app.include_router(films_router(worker, versions, limits))
    return TestClient(app)


def levels(picture: dict[str, Any]) -> np.ndarray:
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["png"]))))
    assert decoded.shape == (picture["rows"], picture["columns"])
    return decoded


def codes(answer: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


def test_a_real_export_answers_with_the_same_numbers_as_its_signature(
    client: TestClient, serving: Any, film_of: Any
) -> None:
    film = film_of(3, 60, 44, 16)
    outputs, version = serving.worker.run("serving_default", {"image_bytes": np.array([film], object)})
    answer = client.post("/films", files={"film": ("scan.png", film)}).json()
    assert answer["probabilities"] == pytest.approx(outputs["probabilities"][0].tolist(), abs=1e-6)
    assert (answer["name"], answer["rows"], answer["columns"]) == ("scan.png", 60, 44)
    assert answer["classes"] == ["normal", "covid19"]
    assert (answer["model"]["name"], answer["model"]["version"]) == ("toy", version)
    assert (answer["positive"], answer["threshold"], answer["status"]) == ("covid19", 0.4, 0)
    assert answer["lung_box"] is None  # its card names no lung network
    assert answer["lung_quality"] is None
    assert answer["ood_score"] is None


def test_the_picture_is_the_film_in_16_bits(client: TestClient, film_of: Any) -> None:
    film = film_of(4, 40, 52, 16)
    answer = client.post("/films", files={"film": ("a.png", film)}).json()
    np.testing.assert_array_equal(levels(answer["picture"]), np.asarray(Image.open(io.BytesIO(film))))
    without = client.post("/films", files={"film": ("a.png", film)}, data={"picture": "0"}).json()
    assert without["picture"] is None
    assert without["probabilities"] == answer["probabilities"]


def test_a_large_film_is_shown_smaller_and_judged_whole(ask: Ask) -> None:
    film = np.random.default_rng(0).random((SHOWN_SIDE * 2, 90), dtype=np.float32)
    answer = ask(Model(), encode_png16(film))
    assert (answer["rows"], answer["columns"]) == (SHOWN_SIDE * 2, 90)
    shown = levels(answer["picture"])
    assert shown.shape == (SHOWN_SIDE, 45) == levels(answer["heatmap"]).shape
    np.testing.assert_allclose(shown / 65535, resize(film, (SHOWN_SIDE, 45)), atol=2e-5)


def test_heat_lies_in_the_box_and_reaches_255(ask: Ask, film_of: Any) -> None:
    heat = levels(ask(Model(heat=0.02), film_of(0, 80, 160))["heatmap"])
    outside = heat.copy()
    outside[20:60, 20:140] = 0
    assert not outside.any()
    assert heat.max() == 255
    # The one hot cell is row 1, column 2 of 4 x 4 in a box of 40 x 120: its middle is row 20 + 15, column 20 + 75.
    rows, columns = np.nonzero(heat == 255)
    assert abs(rows.mean() - 34.5) <= 1
    assert abs(columns.mean() - 94.5) <= 1


@pytest.mark.parametrize(
    ("probabilities", "cut_off", "expected"),
    [([0.4, 0.6], 0.7, 0), ([0.3, 0.7], 0.7, 1), ([0.4, 0.6], None, 1), ([0.9, 0.1], 0.05, 1)],
)
def test_of_two_classes_the_cut_off_decides(probabilities: list[float], cut_off: float | None, expected: int) -> None:
    assert predicted_index(probabilities, ["normal", "covid19"], "covid19", cut_off) == expected


def test_of_three_classes_the_largest_wins() -> None:
    assert predicted_index([0.2, 0.5, 0.3], ["a", "b", "c"], "c", 0.1) == 1


def test_the_predicted_class_is_explained_unless_another_is_named(ask: Ask, film_of: Any) -> None:
    model = Model()
    answer = ask(model, film_of())
    assert answer["predicted"] == "normal" == answer["heatmap"]["class"]  # .6 is below the cut-off of .7
    other = ask(model, film_of(), class_index=1)
    assert other["heatmap"]["class"] == "covid19"
    assert other["predicted"] == "normal"
    assert model.asked == [0, 1]
    for index in (2, -2):
        with pytest.raises(ServingProblem, match="class_index"):
            ask(model, film_of(), class_index=index)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, []),
        ({"status": 2}, ["lungs_not_found"]),
        ({"status": 2, "lung_quality": 0.1}, ["lungs_not_found"]),
        ({"lung_quality": 0.74}, ["lungs_doubtful"]),
        ({"lung_quality": 0.75}, []),
        ({"lung_quality": -1.0}, []),
        ({"ood_score": 1.01}, ["not_a_chest_film"]),
        ({"ood_score": 0.51, "card": {"ood_threshold": 0.6}}, []),
        ({"ood_score": 0.2, "card": {"ood_threshold": 0.0}}, ["not_a_chest_film"]),
        ({"heat": 0.0}, ["no_heat"]),
    ],
)
def test_warnings(ask: Ask, film_of: Any, told: dict[str, Any], expected: list[str]) -> None:
    answer = ask(Model(**told), film_of())
    assert codes(answer) == [*expected, "not_a_diagnosis"]
    assert [warning["text"] for warning in answer["warnings"]] == [WARNINGS[code] for code in codes(answer)]


def test_no_box_where_no_lungs_were_found(ask: Ask, film_of: Any) -> None:
    assert ask(Model(), film_of())["lung_box"] == [0.25, 0.125, 0.75, 0.875]
    assert ask(Model(status=2), film_of())["lung_box"] is None


def test_a_model_without_heat_maps_answers_without_one(ask: Ask, film_of: Any) -> None:
    answer = ask(Model(signatures=("serving_default",)), film_of())
    assert answer["heatmap"] is None
    assert answer["model"]["explains"] is False
    assert codes(answer) == ["not_a_diagnosis"]


def test_a_film_that_the_model_refuses_is_an_error(ask: Ask, film_of: Any) -> None:
    with pytest.raises(ServingProblem, match="at most 9 pixels") as problem:
        ask(Model(status=1, card={"limits": {"max_pixels": 9}}), film_of())
    assert problem.value.http_status == 400


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_each_kind_of_picture_is_read(client: TestClient, kind: str) -> None:
    film = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))
    buffer = io.BytesIO()
    film.save(buffer, format=kind)
    reply = client.post("/films", files={"film": ("film", buffer.getvalue())})
    assert reply.status_code == 200
    shown = levels(reply.json()["picture"]) / 65535
    np.testing.assert_allclose(shown, read_image(buffer.getvalue()), atol=1e-5)


def test_the_model_gets_the_file_itself_where_it_can_read_it(ask: Ask, film_of: Any) -> None:
    film = film_of(0, 40, 48)
    model = Model()
    ask(model, film)
    assert model.sent == [film, film]  # once for the numbers, once for the heat map
    turned = io.BytesIO()
    Image.open(io.BytesIO(film)).save(turned, format="TIFF")
    model = Model()
    ask(model, turned.getvalue())
    np.testing.assert_array_equal(read_image(model.sent[0]), read_image(film))
    model = Model(cannot_read=b"\xff\xd8")
    scan = io.BytesIO()
    Image.open(io.BytesIO(film)).save(scan, format="JPEG")
    ask(model, scan.getvalue())
    assert model.sent[0] == scan.getvalue()
    np.testing.assert_array_equal(read_image(model.sent[1]), read_image(scan.getvalue()))


def test_a_film_with_a_rotation_is_sent_upright(ask: Ask) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 64), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", exif=exif)
    model = Model()
    answer = ask(model, buffer.getvalue())
    assert (answer["rows"], answer["columns"]) == (64, 40)
    assert np.asarray(Image.open(io.BytesIO(model.sent[0]))).shape == (64, 40)


def test_which_model_reads_the_films(client: TestClient, serving: Any) -> None:
    about = client.get("/films").json()
    assert (about["name"], about["version"], about["classes"]) == ("toy", 2, ["normal", "covid19"])
    assert about["limits"]["request_bytes"] == serving.limits.request_bytes


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"<svg/>", "holds no picture"), (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "PNG")],
)
def test_what_is_no_film_is_refused(client: TestClient, content: bytes, words: str) -> None:
    reply = client.post("/films", files={"film": ("secret-name.png", content)})
    assert reply.status_code == 400
    assert words in reply.json()["error"]
    assert set(reply.json()) == {"error", "expected", "remedy"}
    assert "secret-name" not in reply.text


def test_too_many_bytes_or_pixels(serving: Any, film_of: Any) -> None:
    narrow = client_of(serving.worker, serving.versions, Limits(request_bytes=3000, max_pixels=40 * 48 - 1))
    large = narrow.post("/films", files={"film": ("a.png", b"\0" * 4000)})
    assert large.status_code == 413
    many = narrow.post("/films", files={"film": ("a.png", film_of())})
    assert many.status_code == 413
    assert "40 x 48" in many.json()["error"]


def test_a_bomb_is_refused_by_its_header(client: TestClient) -> None:
    header = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(header, format="PNG")
    assert client.post("/films", files={"film": ("a.png", header.getvalue())}).status_code == 413


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"data": {"class_index": "two"}}, "class_index"),
        ({"data": {"class_index": "7"}}, "class_index"),
        ({"files": {}}, "form"),
    ],
)
def test_wrong_forms(client: TestClient, film_of: Any, form: dict[str, Any], words: str) -> None:
    reply = client.post("/films", **{"files": {"film": ("a.png", film_of())}, "data": {"picture": "1"}, **form})
    assert reply.status_code == 400
    assert words in reply.text


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_body_that_is_no_form(client: TestClient, kind: str) -> None:
    reply = client.post("/films", content=b"{}", headers={"Content-Type": kind})
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_a_full_queue_is_429_with_the_time_to_wait(film_of: Any) -> None:
    versions: Any = Only(Model())
    worker = Worker(versions, waiting=0)
    try:
        reply = client_of(worker, versions, Limits()).post("/films", files={"film": ("a.png", film_of())})
    finally:
        worker.close()
    assert reply.status_code == 429
    assert int(reply.headers["Retry-After"]) >= 1


def test_the_name_is_cut_to_what_can_be_shown(client: TestClient, film_of: Any) -> None:
    name = client.post("/films", files={"film": ("C:\\films\\<b>\u202ex.png", film_of())}).json()["name"]
    assert name == "<b>_x.png"


def test_nothing_is_stored_and_no_name_is_logged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a temporary file was made")

    film = encode_png16(np.random.default_rng(1).random((1200, 1000), dtype=np.float32))
    assert len(film) > 2_000_000  # Starlette spools uploads of more than 1 MB
    monkeypatch.setattr(tempfile, "_get_default_tempdir", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    caplog.set_level(logging.DEBUG)
    reply = client.post("/films", files={"film": ("patient-7.png", film)})
    assert reply.status_code == 200
    assert reply.headers["Cache-Control"] == "no-store"
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert "patient-7" not in "".join(ours) + "".join(capfd.readouterr())
