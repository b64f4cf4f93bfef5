"""TensorProtos as TensorFlow Serving writes them, and what a hostile one may not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2

from covidcxr_tf.serving.grpc_tensors import to_array, to_proto
from covidcxr_tf.serving.problems import ServingProblem

ENOUGH = 1 << 20


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8, np.float16]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False},
    )
)
def test_an_array_comes_back_the_same_and_tensorflow_reads_it_so(array: Any) -> None:
    proto = to_proto(array)
    for back in (to_array("x", proto, ENOUGH), *([tf.make_ndarray(proto)] if array.size else [])):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(to_array("x", tf.make_tensor_proto(array), ENOUGH), array)


def test_values_stand_in_the_field_that_other_clients_read() -> None:
    proto = to_proto(np.array([[0.25, 0.75]], np.float32))
    assert (list(proto.float_val), proto.tensor_content) == ([0.25, 0.75], b"")
    assert [dim.size for dim in proto.tensor_shape.dim] == [1, 2]
    assert list(to_proto(np.array([2, 0], np.int32)).int_val) == [2, 0]
    assert list(to_proto(np.array([b"normal", b"covid\0"], object)).string_val) == [b"normal", b"covid\0"]


@pytest.mark.parametrize("dtype", [tf.float32, tf.int32, tf.string])
def test_a_tensor_of_zeros_may_leave_its_values_out(dtype: Any) -> None:
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.dim.add(size=2)
    assert to_array("x", proto, ENOUGH).tolist() == ([b"", b""] if dtype == tf.string else [0, 0])


def claiming(dtype: Any, *sizes: int, **fields: Any) -> Any:
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum if dtype else 0, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        claiming(None),
        claiming(tf.float32, -1, float_val=[1.0]),
        claiming(tf.float32, 3, tensor_content=b"1234"),
        claiming(tf.float32, 1, float_val=[1.0, 2.0]),
        claiming(tf.string, 1, tensor_content=b"1234"),
        claiming(tf.resource, 1),
        claiming(tf.int8, 1, int_val=[1000]),
    ],
)
def test_what_is_no_tensor_is_named(proto: Any) -> None:
    with pytest.raises(ServingProblem, match="tensor parsing error: x") as caught:
        to_array("x", proto, ENOUGH)
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "proto",
    [
        claiming(tf.float32, 1 << 40, float_val=[1.0]),
        claiming(tf.float32, 1 << 40, 1 << 40, 1 << 40, float_val=[1.0]),
        claiming(tf.float32, 1 << 30),
        claiming(tf.string, 1000, string_val=[b"x" * 2000]),  # one film said to be a thousand
    ],
)
def test_a_small_message_cannot_claim_much_memory(proto: Any) -> None:
    with pytest.raises(ServingProblem, match="is larger than") as caught:
        to_array("x", proto, ENOUGH)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_unknown_rank_is_refused() -> None:
    proto = claiming(tf.float32, float_val=[1.0])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ServingProblem, match="tensor parsing error"):
        to_array("x", proto, ENOUGH)
