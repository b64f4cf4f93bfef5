from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.rest_tensors import json_of, tensor_of

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)


@given(hnp.arrays(np.float32, SHAPES, elements=FLOATS))
def test_floats_come_back_bit_by_bit(array: np.ndarray) -> None:
    value = json.loads(json_of(array))
    assert np.shape(value) == array.shape
    assert np.float32(value).tobytes() == array.tobytes()
    if not (np.isfinite(array) & (np.abs(array) > 2**24)).any():
        assert tensor_of(value, "float32").tobytes() == array.tobytes()


@given(hnp.arrays(np.int32, SHAPES))
def test_integers_come_back(array: np.ndarray) -> None:
    back = tensor_of(json.loads(json_of(array)), "int32")
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, array)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_bytes_come_back_from_base64(contents: list[bytes]) -> None:
    array = np.empty(len(contents), dtype=object)
    array[:] = contents
    back = tensor_of(json.loads(json_of(array, as_bytes=True)), "string")
    assert back.tolist() == contents


def test_numbers_are_written_short_and_as_floats() -> None:
    assert json_of(np.array([0.2, 1, 1e-5, -0.0], np.float32)) == "[0.2, 1.0, 1e-05, -0.0]"
    assert json_of(np.array(0.1, np.float32)) == "0.1"
    assert json_of(np.array(0.1 + 0.2)) == "0.30000000000000004"
    assert json_of(np.array([0.5], np.float16)) == "[0.5]"
    assert json_of(np.array([[True], [False]])) == "[[true], [false]]"
    assert json_of(np.array(["ä"], dtype=object)) == '["ä"]'


def test_what_json_has_no_word_for_is_null() -> None:
    text = json_of(np.array([[math.nan, 1], [math.inf, -math.inf]], np.float32))
    assert text == "[[null, 1.0], [null, null]]"


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (1, 0, 2)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    assert json.loads(json_of(np.zeros(shape, np.float32))) == np.zeros(shape).tolist()


@pytest.mark.parametrize("text", ["aGk=", "aGk", " aG\nk= "])
def test_base64_with_and_without_padding(text: str) -> None:
    assert tensor_of([{"b64": text}], "string").tolist() == [b"hi"]


def test_text_is_its_utf8() -> None:
    assert tensor_of("ä", "string").item() == "ä".encode()


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1, "x"], "float32", 'JSON Value: "x" Type: String is not of expected type: float'),
        ([True], "float32", "JSON Value: true Type: True is not of expected type: float"),
        ([None], "float32", "JSON Value: null Type: Null is not of expected type: float"),
        ([1.5], "int32", "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ([2**31], "int32", "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ([256], "uint8", "is not of expected type: uint8"),
        ([1], "string", "JSON Value: 1 Type: Number is not of expected type: string"),
        ([1], "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([2**24], "float32", "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ([1e39], "float32", "to float without loss of precision"),
        ([{"b64": "@@@@"}], "string", "Unable to base64 decode"),
        ([{"b64": "a"}], "string", "Unable to base64 decode"),
        ([{"b64": "ä"}], "string", "Unable to base64 decode"),
        ([{"b65": "aGk="}], "string", "not formatted correctly for base64 data"),
        ([{"b64": 3}], "string", "not formatted correctly for base64 data"),
        ([[1, 2], [3]], "float32", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([[1, 2], 3], "float32", "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([1, [2]], "float32", "Encountered list at unexpected level: 1 expected < 1"),
        ([1], "complex64", "Conversion of JSON Value: [1] to type: complex64"),
    ],
)
def test_wrong_values_in_tensorflow_servings_words(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(ServingProblem) as wrong:
        tensor_of(value, dtype)
    assert message in wrong.value.message
    assert wrong.value.code == ("UNIMPLEMENTED" if dtype == "complex64" else "INVALID_ARGUMENT")


def test_an_error_does_not_repeat_a_whole_film() -> None:
    film = base64.b64encode(bytes(100_000)).decode()
    with pytest.raises(ServingProblem) as wrong:
        tensor_of([{"b64": film, "more": 1}], "string")
    assert len(wrong.value.message) < 400


def test_largest_exact_whole_number() -> None:
    assert tensor_of([2**24 - 1, -(2**24) + 1], "float32").tolist() == [2**24 - 1, -(2**24) + 1]
    assert tensor_of([2**40], "float64").tolist() == [2**40]
