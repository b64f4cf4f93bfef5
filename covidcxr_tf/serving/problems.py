"""What a request can run into: gRPC's canonical code, TensorFlow Serving's words, and the HTTP status of both."""

from __future__ import annotations

#: gRPC canonical code -> HTTP status, as TensorFlow Serving's HTTP server pairs them.
HTTP_STATUS: dict[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class ServingProblem(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    code : str
        Name of a gRPC canonical code, a key of `HTTP_STATUS`.
    message : str
        What the client reads.
    http_status : int, optional
        Another HTTP status than the code's own (413 for a body that is too large, 405 for a wrong method).
    """

    def __init__(self, code: str, message: str, *, http_status: int | None = None) -> None:
        self.code = code
        self.message = message
        self.http_status = HTTP_STATUS[code] if http_status is None else http_status
        super().__init__(f"{code}: {message}")


def invalid(message: str) -> ServingProblem:
    """Return the problem of a request that is wrong in itself (400)."""
    return ServingProblem("INVALID_ARGUMENT", message)


def no_servable(name: str, version: int | None = None) -> ServingProblem:
    """Return the problem of a model or version that is not loaded (404), in TensorFlow Serving's words."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ServingProblem("NOT_FOUND", f"Servable not found for request: {request}")
