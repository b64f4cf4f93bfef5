"""What all gRPC methods share: problems become status codes, and a token that every call must bring."""

from __future__ import annotations

import functools
import hmac
import logging
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc

from covidcxr_tf.serving.problems import ServingProblem, invalid

log = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])


def answering(method: Method) -> Method:
    """Turn a ServingProblem that `method` raises into gRPC's status, anything else into INTERNAL without its text."""

    @functools.wraps(method)
    def wrapped(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except ServingProblem as problem:
            abort(context, problem)
        except Exception:
            if not context.is_active():  # the client has gone; whatever was cut off with it is no defect
                raise
            log.exception("%s failed", method.__name__)
            abort(context, ServingProblem("INTERNAL", "Internal error; the server's log says more"))

    return wrapped  # type: ignore[return-value]


def abort(context: grpc.ServicerContext, problem: ServingProblem) -> NoReturn:
    """End the call with the problem's code and message."""
    context.abort(status_of(problem), problem.message)
    raise AssertionError("abort returns never")


def status_of(problem: ServingProblem) -> grpc.StatusCode:
    """Return gRPC's code of a problem."""
    return getattr(grpc.StatusCode, problem.code)


def model_spec(request: Any) -> tuple[str, int | None, str | None]:
    """Return name, version and label of the model that a request asks for, None where it says nothing.

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT without a ModelSpec or a name.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    return spec.name, version, label


class TokenInterceptor(grpc.ServerInterceptor):
    """Lets calls pass whose metadata hold ``authorization: Bearer TOKEN``, and answers UNAUTHENTICATED to others."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the method's own handler, or one that refuses."""
        sent = dict(handler_call_details.invocation_metadata).get("authorization", "")
        given = sent if isinstance(sent, bytes) else sent.encode()
        if hmac.compare_digest(given, self._expected):
            return continuation(handler_call_details)
        return self._refusal


def _refuse(request: Any, context: grpc.ServicerContext) -> NoReturn:
    abort(context, ServingProblem("UNAUTHENTICATED", "metadata `authorization: Bearer TOKEN` is missing or wrong"))
