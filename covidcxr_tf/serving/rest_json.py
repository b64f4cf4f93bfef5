"""Bodies of TensorFlow Serving's REST API: a predict request in row or column form, and every answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.problems import ServingProblem, invalid
from covidcxr_tf.serving.rest_tensors import is_base64_object, json_of, shown, tensor_of
from covidcxr_tf.serving.servable import Arrays, Servable, Signature
from covidcxr_tf.serving.versions import VersionStatus

#: What Python's parser says -> what TensorFlow Serving's does.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or } after an object member.",
    "Invalid control character at": "Invalid encoding in string.",
}

_HEAD = 64  # bytes: a large body is not copied to see whether it is empty


@dataclass(frozen=True)
class PredictRequest:
    """A parsed body."""

    signature: str
    inputs: Arrays
    form: Literal["row", "column"]


def parse_predict(body: bytes | bytearray, servable: Servable, limits: Limits) -> PredictRequest:
    """Read a predict request for the signatures of `servable`.

    Row form is ``{"signature_name", "instances": [...]}``, one element a row: the bare value where the signature has
    one input, otherwise an object. Column form is ``{"signature_name", "inputs": ...}``: whole tensors, by name or,
    for one input, bare.

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT, in TensorFlow Serving's words, for whatever is wrong.
    """
    document = parse_object(body)
    signature = servable.signature(_signature_name(document))
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
        limits.check_rows(len(rows))
        return PredictRequest(signature.name, _rows(rows, signature), "row")
    if "inputs" in document:
        inputs = _columns(document["inputs"], signature)
        check_batch(inputs, signature, limits)
        return PredictRequest(signature.name, inputs, "column")
    raise invalid("Missing 'inputs' or 'instances' key")


def parse_object(body: bytes | bytearray) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT, "JSON Parse error: ...", or if it is no object.
    """
    if not body[:_HEAD].strip(b" \t\r\n") and not body.strip(b" \t\r\n"):
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except json.JSONDecodeError as fault:
        raise invalid(f"JSON Parse error: {_PARSE_ERRORS.get(fault.msg, fault.msg)} at offset: {fault.pos}") from fault
    except UnicodeDecodeError as fault:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {fault.start}") from fault
    except RecursionError as fault:
        raise invalid("JSON Parse error: Values are nested too deeply. at offset: 0") from fault
    except ValueError as fault:  # more digits than Python converts
        raise invalid("JSON Parse error: Number too big to be stored in double. at offset: 0") from fault
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def check_batch(inputs: Arrays, signature: Signature, limits: Limits) -> None:
    """Refuse more rows than `limits` allow in any input whose first dimension is free."""
    for name, array in inputs.items():
        shape = signature.inputs[name].shape if name in signature.inputs else None
        if array.ndim and (not shape or shape[0] is None):
            limits.check_rows(len(array))


def predictions(outputs: Arrays, form: Literal["row", "column"]) -> str:
    """Return the answer to a predict request: ``{"predictions": [...]}`` or ``{"outputs": ...}``.

    A single output stands bare, several by name. Strings of outputs whose name ends in ``_bytes`` are base64 objects.

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT if a row form is asked of outputs that are not of one length.
    """
    if form == "column":
        texts = {name: json_of(array, as_bytes=_is_bytes(name, array)) for name, array in sorted(outputs.items())}
        whole = next(iter(texts.values())) if len(texts) == 1 else _object(texts)
        return f'{{\n    "outputs": {whole}\n}}'
    count = _batch_size(outputs)
    rows = []
    for row in range(count):
        texts = {name: json_of(array[row], as_bytes=_is_bytes(name, array)) for name, array in sorted(outputs.items())}
        rows.append(next(iter(texts.values())) if len(texts) == 1 else _object(texts))
    return '{\n    "predictions": [' + ", ".join(rows) + "]\n}"


def status_json(statuses: list[VersionStatus]) -> str:
    """Return ``{"model_version_status": [...]}``."""
    return json_format.MessageToJson(
        status_message(statuses), preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
    )


def status_message(statuses: list[VersionStatus]) -> Any:
    """Return the states as a GetModelStatusResponse."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        entry = response.model_version_status.add()
        entry.version = status.version
        entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state)
        json_format.ParseDict({"error_code": status.error_code, "error_message": status.error_message}, entry.status)
    return response


def metadata_json(servable: Servable) -> str:
    """Return ``{"model_spec": ..., "metadata": {"signature_def": ...}}``."""
    spec = model_pb2.ModelSpec(name=servable.name)
    spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    told = {
        "model_spec": _as_dict(spec),
        "metadata": {"signature_def": _as_dict(signatures)},
    }
    return json.dumps(told, indent=1)


def error_json(message: str) -> str:
    """Return ``{"error": message}``."""
    return json.dumps({"error": message}, ensure_ascii=False)


def _as_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _signature_name(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def _rows(rows: list[Any], signature: Signature) -> Arrays:
    named = isinstance(rows[0], dict) and not is_base64_object(rows[0])
    if not named and len(signature.inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    collected: dict[str, list[npt.NDArray[Any]]] = {}
    for number, row in enumerate(rows):
        is_named = isinstance(row, dict) and not is_base64_object(row)
        if named and not is_named:
            raise invalid(f"Expecting object but got list at item {number} of input list")
        if is_named and not named:
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        if named:
            _add_object(row, number, signature, collected)
        else:
            only = next(iter(signature.inputs))
            _add(row, only, signature, collected, f"Failed to process element: {number} of 'instances' list.")
    return {name: _stacked(parts) for name, parts in collected.items()}


def _add_object(
    row: dict[str, Any], number: int, signature: Signature, collected: dict[str, list[npt.NDArray[Any]]]
) -> None:
    for key, value in row.items():
        _add(value, key, signature, collected, f"Failed to process element: {number} key: {key} of 'instances' list.")
    if set(row) != set(signature.inputs):
        raise invalid(
            f"Failed to process element: {number} of 'instances' list. JSON object: {shown(row)} "
            f"keys must be equal to: {','.join(sorted(signature.inputs))}"
        )


def _add(value: Any, name: str, signature: Signature, collected: dict[str, list[npt.NDArray[Any]]], where: str) -> None:
    try:
        if name not in signature.inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        array = tensor_of(value, signature.inputs[name].dtype)
        parts = collected.setdefault(name, [])
        if parts and array.size != parts[0].size:
            raise invalid(f"Expecting tensor size: {parts[0].size} but got: {array.size}")
        if parts and array.shape != parts[0].shape:
            raise invalid(f"Expecting shape {_shape(parts[0])} but got: {_shape(array)}")
    except ServingProblem as problem:
        raise invalid(f"{where} Error: {problem}") from problem
    parts.append(array)


def _shape(array: npt.NDArray[Any]) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _stacked(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    whole = np.empty((len(parts), *parts[0].shape), dtype=parts[0].dtype)
    for number, part in enumerate(parts):
        whole[number] = part if part.ndim else part.item()
    return whole


def _columns(value: Any, signature: Signature) -> Arrays:
    if not isinstance(value, dict) or is_base64_object(value):
        if len(signature.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        name, spec = next(iter(signature.inputs.items()))
        return {name: tensor_of(value, spec.dtype)}
    for name in signature.inputs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: tensor_of(value[name], spec.dtype) for name, spec in signature.inputs.items()}


def _is_bytes(name: str, array: npt.NDArray[Any]) -> bool:
    return name.endswith("_bytes") and (array.dtype == object or array.dtype.kind in "SU")


def _object(texts: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"


def _batch_size(outputs: Arrays) -> int:
    count: int | None = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count is not None and len(array) != count:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)
    return count or 0
