"""TensorFlow Serving's REST API, health and metrics, as a FastAPI app."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi import FastAPI, Request, Response

from covidcxr_tf import __version__
from covidcxr_tf.serving.access import TokenGuard
from covidcxr_tf.serving.body import drop_body, held_body
from covidcxr_tf.serving.film_bytes import IMAGE_INPUT, upright_films
from covidcxr_tf.serving.limits import Budget, Limits
from covidcxr_tf.serving.metrics import CONTENT_TYPE
from covidcxr_tf.serving.page import add_page
from covidcxr_tf.serving.problems import ServingProblem, invalid
from covidcxr_tf.serving.rest_json import (
    error_json,
    metadata_json,
    parse_object,
    parse_predict,
    predictions,
    status_json,
)
from covidcxr_tf.serving.servable import Servable
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.work import Worker, deadline_exceeded

log = logging.getLogger(__name__)

METRICS_PATHS = ("/metrics", "/monitoring/prometheus/metrics")
RETRY_SECONDS = "1"

_WHICH = r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST_PATH = re.compile(_WHICH + r":(?P<method>predict|classify|regress)", re.IGNORECASE | re.ASCII)
_GET_PATH = re.compile(_WHICH + r"(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII)
_NO_MODEL = re.compile(r"/v1/models/?", re.IGNORECASE)
_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Asked:
    """What the path of a request names."""

    model: str
    version: int | None
    label: str | None
    method: str


def build_app(worker: Worker, versions: Versions, limits: Limits, token: str | None = None) -> FastAPI:
    """Return the HTTP side of a server.

    ``GET /v1/models/M[/versions/N|/labels/L]`` and ``.../metadata``, ``POST ...:predict`` as TensorFlow Serving answers
    them; ``GET /healthz`` (the process lives), ``GET /readyz`` (503 until a version is loaded and once stopping),
    ``GET /metrics`` and ``/monitoring/prometheus/metrics``; the page at ``/``.

    Parameters
    ----------
    worker, versions, limits
        Who runs requests, what is loaded, and how much is too much.
    token : str, optional
        Every path but ``/healthz`` wants ``Authorization: Bearer TOKEN``.
    """
    app = FastAPI(title="covidcxr serve", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.budget = Budget(limits.in_flight_bytes)
    api = _Api(worker, versions, limits, app.state.budget)
    every = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
    for root in ("/v1", "/V1"):  # TensorFlow Serving's paths mind no case
        app.add_api_route(root, api.answer, methods=every, include_in_schema=False)
        app.add_api_route(root + "/{rest:path}", api.answer, methods=every, include_in_schema=False)
    app.add_api_route("/healthz", _healthy, methods=["GET", "HEAD"])
    app.add_api_route("/readyz", api.ready, methods=["GET", "HEAD"])
    for path in METRICS_PATHS:
        app.add_api_route(path, api.metrics, methods=["GET"])
    add_page(app, worker, versions, limits)
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(405, _not_found)
    app.add_exception_handler(Exception, _defect)
    if token:
        app.add_middleware(TokenGuard, token=token)
    return app


class _Api:
    def __init__(self, worker: Worker, versions: Versions, limits: Limits, budget: Budget) -> None:
        self.worker, self.versions, self.limits, self.budget = worker, versions, limits, budget

    async def answer(self, request: Request) -> Response:
        """Answer anything under /v1."""
        kind = "malformed"
        try:
            asked = parse_path(request.method, _raw_path(request))
            kind = asked.method
            self.versions.check(asked.model, asked.version, asked.label)
            if asked.method == "status":
                text = self._status(asked)
            elif asked.method == "metadata":
                with self.versions.lease(asked.version, asked.label) as servable:
                    text = metadata_json(servable)
            else:
                text = await self._post(request, asked)
            response = _json(text, 200)
        except ServingProblem as problem:
            if problem.code not in ("DEADLINE_EXCEEDED", "CANCELLED"):  # who is slow already has had the time
                await drop_body(request, self.limits)
            response = problem_response(problem)
        except Exception:
            log.exception("a request failed")
            response = problem_response(ServingProblem("INTERNAL", "Internal error"))
        self.worker.metrics.http(kind, response.status_code)
        return response

    async def ready(self) -> Response:
        """Tell whether requests are answered."""
        ready = self.versions.ready and self.worker.open
        return _json('{"status": "ready"}' if ready else '{"status": "not ready"}', 200 if ready else 503)

    async def metrics(self) -> Response:
        """Return Prometheus' text."""
        return Response(self.worker.metrics.text(), media_type=CONTENT_TYPE)

    def _status(self, asked: Asked) -> str:
        version = asked.version
        if asked.label is not None:
            version = self.versions.version_of(asked.label)
        statuses = self.versions.statuses()
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise ServingProblem("NOT_FOUND", f"Could not find version {version} of model {asked.model}")
        if not statuses:
            raise ServingProblem("NOT_FOUND", f"Could not find any versions of model {asked.model}")
        return status_json(statuses)

    async def _post(self, request: Request, asked: Asked) -> str:
        self.worker.check_room()
        async with held_body(request, self.limits, self.budget) as body:
            job = self.worker.submit(
                lambda servable, left: self._run(body, servable, asked, left), version=asked.version, label=asked.label
            )
            try:
                text, _ = await asyncio.wait_for(asyncio.wrap_future(job.future), max(0.0, job.seconds_left()))
            except TimeoutError as late:
                raise deadline_exceeded() from late
            return str(text)

    def _run(self, body: bytearray, servable: Servable, asked: Asked, seconds: float) -> str:
        if asked.method != "predict":
            raise _no_method(body, servable, asked.method)
        parsed = parse_predict(body, servable, self.limits)
        inputs = {
            name: upright_films(array, self.limits) if name == IMAGE_INPUT and array.dtype == object else array
            for name, array in parsed.inputs.items()
        }
        outputs = servable.run(parsed.signature, inputs, timeout_s=seconds)
        self.worker.metrics.films(outputs)
        return predictions(outputs, parsed.form)


def parse_path(method: str, path: str) -> Asked:
    """Return what a path under ``/v1`` asks for.

    Raises
    ------
    ServingProblem
        INVALID_ARGUMENT, "Malformed request: POST /v1/...".
    """
    pattern = {"POST": _POST_PATH, "GET": _GET_PATH}.get(method)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        if method == "GET" and _NO_MODEL.fullmatch(path):
            raise invalid("Missing model name in request.")
        raise invalid(f"Malformed request: {method} {path}")
    parts = found.groupdict()
    number = parts["version"]
    if number is not None and (len(number) > 19 or int(number) > _MAX_VERSION):
        raise invalid(f"Failed to convert version: {number[:40]} to numeric.")
    label = parts["label"]
    asked = "metadata" if parts.get("metadata") else parts.get("method") or "status"
    return Asked(
        unquote(parts["model"]),
        None if number is None else int(number),
        None if label is None else unquote(label),
        asked.lower(),
    )


def problem_response(problem: ServingProblem) -> Response:
    """Return ``{"error": ...}`` with the problem's status."""
    response = _json(error_json(problem.message), problem.http_status)
    if problem.http_status in (429, 503):
        response.headers["Retry-After"] = RETRY_SECONDS
    return response


def _no_method(body: bytearray, servable: Servable, method: str) -> ServingProblem:
    """Return the answer to classify and regress, which no signature of ours has."""
    name = parse_object(body).get("signature_name", "")
    signature = servable.signature(name if isinstance(name, str) else None)
    own = servable.signature_defs[signature.name].method_name
    kind = {"classify": "classification", "regress": "regression"}[method]
    return invalid(f"Expected {kind} signature method_name to be tensorflow/serving/{method}. Was: {own}")


def _raw_path(request: Request) -> str:
    raw = request.scope.get("raw_path")
    return raw.decode("latin-1").split("?")[0] if raw else str(request.scope["path"])


def _json(text: str, status: int) -> Response:
    return Response(text, status_code=status, media_type="application/json")


async def _healthy() -> Response:
    return _json('{"status": "ok"}', 200)


async def _not_found(request: Request, fault: Exception) -> Response:
    status = int(getattr(fault, "status_code", 404))
    return _json(error_json(f"Malformed request: {request.method} {request.url.path}"), status)


async def _defect(request: Request, fault: Exception) -> Response:
    return problem_response(ServingProblem("INTERNAL", "Internal error"))
