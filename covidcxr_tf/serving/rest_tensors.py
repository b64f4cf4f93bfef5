"""JSON values to tensors and back, by the rules and in the words of TensorFlow Serving's REST API.

Source: TensorFlow Serving, RESTful API ("Encoding binary values", "JSON mapping").
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.serving.problems import ServingProblem, invalid

_KINDS = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
_SHOWN = 200  # characters of a wrong value that an error repeats
_SPACES = b" \t\r\n\v\f"
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def tensor_of(value: Any, dtype: str) -> npt.NDArray[Any]:
    """Return a JSON scalar or nested list as an array of TensorFlow type `dtype` (object of bytes for strings).

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT for ragged lists, values of another type, numbers that the type cannot hold, and base64 that is
        none.
    """
    shape, leaves = _flattened(value)
    if dtype == "string":
        array = np.empty(len(leaves), dtype=object)
        array[:] = [_bytes_of(leaf) for leaf in leaves]
    elif dtype == "bool":
        _check_types(leaves, {bool}, "bool")
        array = np.array(leaves, dtype=bool)
    elif dtype in _FLOATS:
        array = _floats(leaves, dtype)
    elif dtype.startswith(("int", "uint")):
        array = _integers(leaves, dtype)
    else:
        raise ServingProblem("UNIMPLEMENTED", f"Conversion of JSON Value: {shown(value)} to type: {dtype}")
    return array.reshape(shape)


def json_of(array: npt.NDArray[Any], *, as_bytes: bool = False) -> str:
    """Return an array as JSON text; a scalar as its bare value.

    Floats are written with the fewest digits that give the same float back. NaN and infinities become ``null``, since
    JSON has neither (TensorFlow Serving writes them bare, which most clients cannot read). Strings are UTF-8 text, or
    ``{"b64": ...}`` with `as_bytes`.
    """
    array = np.asarray(array)
    words = _words(array, as_bytes)
    for size in reversed(array.shape[1:]):
        words = ["[" + ", ".join(words[at : at + size]) + "]" for at in range(0, len(words), size)] if size else words
    if array.ndim == 0:
        return words[0]
    if 0 in array.shape[1:]:
        return json.dumps(array.tolist())
    return "[" + ", ".join(words) + "]"


def is_base64_object(value: Any) -> bool:
    """Return whether a JSON value is ``{"b64": "..."}``."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def shown(value: Any) -> str:
    """Return a JSON value as an error repeats it, cut when it is long."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, (dict, list)) else _start_of(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _start_of(value: Any) -> str:
    # A body of 60 MB is not to be written out whole for the first 200 characters of it.
    pieces, length = [], 0
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        pieces.append(piece[: _SHOWN + 1])
        length += len(pieces[-1])
        if length > _SHOWN:
            break
    return "".join(pieces)


def _flattened(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape, told by the first element of each level, and the leaves in order."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        size, depth = len(level[0]), len(shape)
        for item in level:
            if not isinstance(item, list):
                rank = depth + _depth(level[0])
                raise invalid(
                    f"JSON Value: {shown(item)} found at incorrect level: {depth + 1} in the JSON DOM. "
                    f"Expected at level: {rank}"
                )
            if len(item) != size:
                raise invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {depth} expected size: {size}"
                )
        shape.append(size)
        level = list(chain.from_iterable(level))
    if list in set(map(type, level)):
        raise invalid(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return tuple(shape), level


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


def _check_types(leaves: list[Any], known: set[type], dtype: str) -> None:
    if set(map(type, leaves)) <= known:
        return
    wrong = next(leaf for leaf in leaves if type(leaf) not in known)
    kind = str(wrong) if isinstance(wrong, bool) else _KINDS[type(wrong)]
    raise invalid(f"JSON Value: {shown(wrong)} Type: {kind} is not of expected type: {dtype}")


def _floats(leaves: list[Any], dtype: str) -> npt.NDArray[Any]:
    name = {"float64": "double", "float32": "float", "float16": "half"}.get(dtype, dtype)
    _check_types(leaves, {int, float}, name)
    exact = {"float64": 2**53 - 1}.get(dtype, 2**24 - 1)
    largest = float(np.finfo(np.float64 if dtype == "float64" else np.float32).max)
    for leaf in leaves:
        lossy = abs(leaf) > exact if type(leaf) is int else abs(leaf) > largest and math.isfinite(leaf)
        if lossy:
            raise invalid(f"Cannot convert JSON value: {shown(leaf)} to {name} without loss of precision.")
    return np.array(leaves, dtype=np.float64 if dtype == "float64" else np.float32)


def _integers(leaves: list[Any], dtype: str) -> npt.NDArray[Any]:
    _check_types(leaves, {int}, dtype)
    bounds = np.iinfo(dtype)
    for leaf in leaves:
        if not bounds.min <= leaf <= bounds.max:
            raise invalid(f"JSON Value: {shown(leaf)} Type: Number is not of expected type: {dtype}")
    return np.array(leaves, dtype=dtype)


def _bytes_of(leaf: Any) -> bytes:
    if isinstance(leaf, dict):
        if not is_base64_object(leaf):
            raise invalid(f"JSON Value: {shown(leaf)} not formatted correctly for base64 data")
        return _decoded(leaf["b64"])
    _check_types([leaf], {str}, "string")
    return str(leaf).encode("utf-8", "surrogatepass")


def _decoded(text: str) -> bytes:
    # Spaces and missing padding are allowed, letters outside of the alphabet are not.
    try:
        packed = text.encode("ascii")
        if len(packed) % 4 or any(space in packed for space in _SPACES):
            packed = packed.translate(None, _SPACES).rstrip(b"=")
            packed += b"=" * (-len(packed) % 4)
        return binascii.a2b_base64(packed, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as fault:
        raise invalid("Unable to base64 decode") from fault


def _words(array: npt.NDArray[Any], as_bytes: bool) -> list[str]:
    flat = array.ravel()
    if array.dtype == object or array.dtype.kind in "SU":
        return [_text(item, as_bytes) for item in flat]
    if array.dtype.kind == "b":
        return ["true" if item else "false" for item in flat]
    if array.dtype.kind in "iu":
        return [str(item) for item in flat.tolist()]
    if array.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float32)  # half and bfloat16
    words = list(map(str, flat))
    if not np.isfinite(flat).all():
        words = [word if fine else "null" for word, fine in zip(words, np.isfinite(flat))]
    return words


def _text(item: Any, as_bytes: bool) -> str:
    raw = item if isinstance(item, bytes) else str(item).encode()
    if as_bytes:
        return json.dumps({"b64": base64.b64encode(raw).decode("ascii")})
    return json.dumps(raw.decode("utf-8", "replace"), ensure_ascii=False)
