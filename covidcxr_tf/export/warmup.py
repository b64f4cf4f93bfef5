"""Requests that a server answers before it takes real ones: the first run of a graph takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from covidcxr_tf.export.golden import Requests

WARMUP = "tf_serving_warmup_requests"


def write_warmup(path: Path, name: str, requests: Requests) -> None:
    """Write one request for each signature as TensorFlow Serving wants them: a TFRecord of ``PredictionLog``.

    Parameters
    ----------
    path : Path
        ``assets.extra/tf_serving_warmup_requests``.
    name : str
        The served model's name.
    requests : Requests
    """
    inputs: dict[str, dict[str, Any]] = {
        "serving_default": {"image_bytes": [requests.files[0]]},
        "tensors": {"image": requests.image[:1]},
        "explain": {"image_bytes": [requests.files[0]], "class_index": requests.class_index[:1]},
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, values in inputs.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in values.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            entry = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(entry.SerializeToString())
