"""TensorFlow Serving's PredictionService: Predict and GetModelMetadata, in its own messages and words.

Source: tensorflow_serving/apis/prediction_service.proto.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from covidcxr_tf.serving.film_bytes import IMAGE_INPUT, upright_films
from covidcxr_tf.serving.grpc_call import answering, model_spec
from covidcxr_tf.serving.grpc_tensors import to_array, to_proto
from covidcxr_tf.serving.limits import Budget, Limits
from covidcxr_tf.serving.problems import ServingProblem, invalid
from covidcxr_tf.serving.servable import DEFAULT_SIGNATURE, Arrays, Servable
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.work import Worker, deadline_exceeded

SIGNATURES = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The service of one model.

    Parameters
    ----------
    worker : Worker
        Runs the requests, in a queue that all protocols share.
    versions : Versions
        Names, labels and signatures.
    limits : Limits
        What a request may ask for.
    """

    def __init__(self, worker: Worker, versions: Versions, limits: Limits) -> None:
        self._worker = worker
        self._versions = versions
        self._limits = limits
        self._budget = Budget(limits.in_flight_bytes)

    @answering
    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the outputs of a signature, those of ``output_filter`` if it names any."""
        size = request.ByteSize()
        self._budget.take(size)
        try:
            return self._predict(request, context)
        finally:
            self._budget.give(size)

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        name, version, label = model_spec(request)
        self._versions.check(name, version, label)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        wanted = tuple(request.output_filter)

        def task(servable: Servable, seconds: float) -> Arrays:
            if signature not in servable.signatures:
                raise ServingProblem("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
            outputs = servable.run(signature, self._inputs(request), outputs=wanted, timeout_s=seconds)
            self._worker.metrics.films(outputs)
            return outputs

        outputs, answered = self._wait(task, version, label, context)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = name
        response.model_spec.signature_name = signature
        response.model_spec.version.value = answered
        for alias, array in outputs.items():
            response.outputs[alias].CopyFrom(to_proto(array))
        return response

    def _inputs(self, request: Any) -> Arrays:
        arrays: Arrays = {}
        for alias, proto in request.inputs.items():
            if proto.tensor_shape.dim:
                self._limits.check_rows(proto.tensor_shape.dim[0].size)
            array = to_array(alias, proto, self._limits.request_bytes)
            arrays[alias] = upright_films(array, self._limits) if alias == IMAGE_INPUT else array
        return arrays

    def _wait(self, task: Any, version: int | None, label: str | None, context: grpc.ServicerContext) -> Any:
        """Return what the worker gives, within the client's deadline; a client that hangs up frees its place."""
        left = context.time_remaining()
        seconds = self._limits.timeout_s if left is None else min(left, self._limits.timeout_s)
        job = self._worker.submit(task, version=version, label=label, timeout_s=seconds)
        context.add_callback(job.future.cancel)
        try:
            return job.future.result(timeout=max(0.0, job.seconds_left()))
        except FutureTimeout as late:
            job.future.cancel()
            raise deadline_exceeded() from late
        except CancelledError as gone:
            raise ServingProblem("CANCELLED", "The client cancelled the request") from gone

    @answering
    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the signatures of a version."""
        name, version, label = model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        self._versions.check(name, version, label)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._versions.lease(version, label) as servable:
            response.model_spec.name = name
            response.model_spec.version.value = servable.version
            definitions = get_model_metadata_pb2.SignatureDefMap()
            for key, definition in servable.signature_defs.items():
                definitions.signature_def[key].CopyFrom(definition)
        response.metadata[SIGNATURES].Pack(definitions)
        return response

    @answering
    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuse: the exports take films, not tf.Example."""
        raise _only_predict("Classify", "classification", "classify")

    @answering
    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuse: the exports take films, not tf.Example."""
        raise _only_predict("Regress", "regression", "regress")

    @answering
    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuse: the exports take films, not tf.Example."""
        raise _only_predict("MultiInference", "classification or regression", "classify")


def _only_predict(method: str, kind: str, word: str) -> ServingProblem:
    return ServingProblem(
        "UNIMPLEMENTED",
        f"{method}: Expected {kind} signature method_name to be tensorflow/serving/{word}. "
        "Was: tensorflow/serving/predict; use Predict",
    )
