"""TensorFlow Serving's ModelService: the state of each version.

Source: tensorflow_serving/apis/model_service.proto.
"""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from covidcxr_tf.serving.grpc_call import answering, model_spec
from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.versions import Versions, VersionStatus


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """The service of one model."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    @answering
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the state of every version, newest first, or of the one that is asked for."""
        name, version, label = model_spec(request)
        if name != self._versions.name:
            raise _not_found(name, version)
        if label is not None:
            version = self._versions.version_of(label)
        statuses = [status for status in self._versions.statuses() if version in (None, status.version)]
        if not statuses:
            raise _not_found(name, version)
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            _add(response, status)
        return response

    @answering
    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuse: which folder is served is said at the start, and new versions in it are found without a request."""
        raise ServingProblem(
            "FAILED_PRECONDITION",
            f"this server serves {self._versions.name} only and finds new versions by itself; labels are read from "
            "models.config. To serve other models start another `covidcxr serve`, or TensorFlow Serving",
        )


def _not_found(name: str, version: int | None) -> ServingProblem:
    if version is None:
        return ServingProblem("NOT_FOUND", f"Could not find any versions of model {name}")
    return ServingProblem("NOT_FOUND", f"Could not find version {version} of model {name}")


def _add(response: Any, status: VersionStatus) -> None:
    entry = response.model_version_status.add(version=status.version)
    entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state)
    entry.status.error_code = error_codes_pb2.Code.Value(status.error_code)
    entry.status.error_message = status.error_message
