"""Warm-up: a version answers its recorded requests before it takes real ones, as in TensorFlow Serving."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from covidcxr_tf.serving.servable import Servable

WARMUP_FILE = "tf_serving_warmup_requests"
MAX_REQUESTS = 1000
"""TensorFlow Serving's own bound."""


def warm_up(servable: Servable) -> int:
    """Run the predict requests of ``assets.extra/tf_serving_warmup_requests`` and return how many there were.

    The first run of a signature compiles its graph: seconds that no client should wait for.

    Raises
    ------
    ServingProblem
        If one of the requests fails: then real ones would, too.
    """
    path = servable.folder / "assets.extra" / WARMUP_FILE
    if not path.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(path)).take(MAX_REQUESTS).as_numpy_iterator():
        entry = prediction_log_pb2.PredictionLog.FromString(record)
        if entry.WhichOneof("log_type") == "predict_log":
            request = entry.predict_log.request
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            servable.run(request.model_spec.signature_name, inputs, outputs=tuple(request.output_filter))
            count += 1
    return count
