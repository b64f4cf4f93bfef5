"""Arrays to TensorProto and back, as TensorFlow Serving sends them, with a bound on what a shape may claim."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from covidcxr_tf.serving.problems import invalid

#: dtype -> the repeated field that holds its values. Clients in other languages read these directly.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int16: "int_val",
    tf.int8: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def to_proto(array: npt.NDArray[Any]) -> Any:
    """Return the TensorProto of `array`, its values in the field of their type and not as packed bytes.

    Parameters
    ----------
    array : ndarray
        Numbers, booleans or bytes (dtype object or S).
    """
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    field = _FIELDS.get(dtype)
    if field is None:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
    return proto


def to_array(name: str, proto: Any, max_bytes: int) -> npt.NDArray[Any]:
    """Return the array of a TensorProto.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    max_bytes : int
        Largest array. One value may stand for all elements of a shape, so a message of a few bytes can claim
        gigabytes.

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT for a proto that is no tensor or claims too much.
    """
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise invalid(f"tensor parsing error: {name}")
    try:
        dtype = tf.as_dtype(proto.dtype)
        claimed = math.prod(sizes) * np.dtype(dtype.as_numpy_dtype).itemsize
        _check(name, sizes, claimed, max_bytes)
        if _is_empty(proto, dtype):  # TensorFlow leaves out the values of a tensor of zeros
            return np.full(sizes, b"" if dtype == tf.string else 0, dtype.as_numpy_dtype)
        array = np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError, KeyError, IndexError, OverflowError, tf.errors.OpError) as fault:
        raise invalid(f"tensor parsing error: {name}") from fault
    if dtype == tf.string:
        _check(name, sizes, sum(map(len, array.flat)), max_bytes)
    return array


def _check(name: str, sizes: list[int], claimed: int, max_bytes: int) -> None:
    if claimed > max_bytes:
        raise invalid(f"input {name} of shape {sizes} is larger than {max_bytes} bytes")


def _is_empty(proto: Any, dtype: Any) -> bool:
    field = _FIELDS.get(dtype)
    return field is not None and not proto.tensor_content and not getattr(proto, field)
