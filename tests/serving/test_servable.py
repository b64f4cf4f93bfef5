from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.servable import Servable


@pytest.fixture(scope="module")
def toy(toy_export: Path) -> Any:
    servable = Servable.load(toy_export / "2")
    yield servable
    servable.close()


def films(*contents: bytes) -> np.ndarray:
    return np.array(contents, dtype=object)


def test_it_knows_its_name_version_card_and_signatures(toy: Servable) -> None:
    assert (toy.name, toy.version, toy.card["positive"]) == ("toy", 2, "covid19")
    assert set(toy.signatures) == {"serving_default", "tensors", "explain"}
    assert "__saved_model_init_op" in toy.signature_defs  # TensorFlow Serving's metadata shows it
    image = toy.signatures["tensors"].inputs["image"]
    assert (image.dtype, image.shape) == ("float32", (None, 8, 8, 1))
    assert toy.signatures["explain"].inputs["class_index"].dtype == "int32"
    assert toy.signatures["serving_default"].outputs["classes"].dtype == "string"


def test_tensors_by_hand(toy: Servable) -> None:
    image = np.zeros((2, 8, 8, 1), np.float32)
    image[1, :4] = 1.0
    answer = toy.run("tensors", {"image": image})
    # version 2 halves the mean grey level: 0 and .5 / 2
    np.testing.assert_array_equal(answer["probabilities"], [[1, 0], [0.75, 0.25]])
    assert answer["classes"].tolist() == [[b"normal", b"covid19"]] * 2


def test_a_bad_film_is_its_own_status_only(toy: Servable, film_of: Callable[..., bytes]) -> None:
    alone = toy.run(None, {"image_bytes": films(film_of(1))})
    mixed = toy.run(None, {"image_bytes": films(b"", film_of(1), film_of(2)[:-9])})
    assert mixed["status"].tolist() == [1, 0, 1]
    assert mixed["probabilities"][1].tobytes() == alone["probabilities"][0].tobytes()
    assert not mixed["probabilities"][[0, 2]].any()


def test_outputs_can_be_chosen(toy: Servable, film_of: Callable[..., bytes]) -> None:
    answer = toy.run(None, {"image_bytes": films(film_of(1))}, outputs=("status",))
    assert list(answer) == ["status"]


def image(*shape: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    return {"image": np.zeros(shape, dtype)}


@pytest.mark.parametrize(
    ("signature", "inputs", "outputs", "message"),
    [
        ("nope", image(1, 8, 8, 1), None, 'Serving signature name: "nope" not found in signature def'),
        ("tensors", image(1, 8, 8, 1, dtype=np.float64), None, "to be float32 but float64"),
        ("tensors", image(1, 8, 8, 1, dtype=object), None, "to be float32 but object"),
        ("tensors", {"image": films(b"x")}, None, "to be float32 but string"),
        ("tensors", image(1, 9, 8, 1), None, r"of shape \[\?,8,8,1\] but \[1, 9, 8, 1\]"),
        ("tensors", image(8, 8, 1), None, "of shape"),
        ("tensors", image(0, 8, 8, 1), None, "at least one film"),
        ("serving_default", {"image_bytes": np.array([], dtype=object)}, None, "at least one film"),
        ("tensors", {}, None, r"input size does not match signature: 0!=1 .* Missing but required: {image}"),
        ("tensors", {**image(1, 8, 8, 1), "more": films(b"x")}, None, r"Sent extra: {more}"),
        ("tensors", image(1, 8, 8, 1), ("heat",), "output tensor alias not found in signature: heat"),
        ("tensors", image(1, 8, 8, 1), ("status", "status"), "duplicate output tensor alias: status"),
        ("serving_default", {"image_bytes": np.array([1, 2])}, None, "to be string but int64"),
        (
            "explain",
            {"image_bytes": films(b"a", b"b"), "class_index": np.array([0], np.int32)},
            None,
            "same number of rows",
        ),
    ],
)
def test_wrong_requests(toy: Servable, signature: str, inputs: Any, outputs: Any, message: str) -> None:
    with pytest.raises(ServingProblem, match=message) as wrong:
        toy.run(signature, inputs, outputs=outputs)
    assert (wrong.value.code, wrong.value.http_status) == ("INVALID_ARGUMENT", 400)


def test_bytes_keep_their_trailing_zeros(toy: Servable) -> None:
    # A NumPy array of fixed-length bytes drops them; objects must not.
    answer = toy.run(None, {"image_bytes": films(b"\x00\x00")})
    assert answer["status"].tolist() == [1]


def test_a_closed_one_is_unavailable(toy_export: Path) -> None:
    servable = Servable.load(toy_export / "1")
    servable.close()
    with pytest.raises(ServingProblem) as gone:
        servable.run("tensors", image(1, 8, 8, 1))
    assert gone.value.code == "UNAVAILABLE"


def test_no_saved_model_and_a_broken_one(toy_export: Path, tmp_path: Path) -> None:
    with pytest.raises(ServingProblem) as missing:
        Servable.load(tmp_path)
    assert missing.value.code == "NOT_FOUND"
    broken = tmp_path / "3"
    shutil.copytree(toy_export / "2", broken)
    (broken / "saved_model.pb").write_bytes(b"not a protobuf")
    with pytest.raises(ServingProblem) as damaged:
        Servable.load(broken)
    assert damaged.value.code == "FAILED_PRECONDITION"


def test_a_run_is_stopped_when_its_time_is_over(toy: Servable) -> None:
    # 200,000 rows with two strings each take far longer than a millisecond.
    with pytest.raises(ServingProblem) as late:
        toy.run("tensors", image(200_000, 8, 8, 1), timeout_s=0.001)
    assert (late.value.code, late.value.http_status) == ("DEADLINE_EXCEEDED", 504)
    assert toy.run("tensors", image(1, 8, 8, 1))["status"].tolist() == [0]
