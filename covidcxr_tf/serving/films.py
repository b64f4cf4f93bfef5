"""The page's own interface: one uploaded film in, all that is shown of it out. Nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.reading import image_size
from covidcxr_tf.serving.body import drop_body, held_body
from covidcxr_tf.serving.film_answer import answer_film, describe_model
from covidcxr_tf.serving.limits import Budget, Limits
from covidcxr_tf.serving.problems import ServingProblem

if TYPE_CHECKING:
    from covidcxr_tf.serving.versions import Versions
    from covidcxr_tf.serving.work import Worker

__all__ = ["PAGE_HEADERS", "films_router"]

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of the page and its files: no request leaves the server, and no other page may frame it."""

NOT_STORED = {"Cache-Control": "no-store"}
RETRY_SECONDS = "1"
FIELDS = "one file in the field 'film', and if wanted 'class_index' and 'picture'"


class _InMemory(MultiPartParser):
    # Starlette would put all but small uploads into a file on the disk.
    spool_max_size = 1 << 40


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, error: str, expected: str | None = None, remedy: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "expected": expected, "remedy": remedy}


def films_router(worker: Worker, versions: Versions, limits: Limits) -> APIRouter:
    """Return the routes of the page: ``POST /films`` and ``GET /films``.

    ``POST /films`` takes a form with one file (field ``film``; any kind that `read_image` reads) and answers as
    `film_answer.answer_film` says; ``class_index`` chooses the class of the heat map (-1: the predicted one),
    ``picture=0`` leaves the film's pixels out. Errors are ``{"error", "expected", "remedy"}`` with 400 (no film that
    can be read), 413 (too many bytes or pixels) or 429 (busy: try again after the seconds in ``Retry-After``), or what
    the model's problem calls for. ``GET /films`` tells which model reads them.

    A film lives in memory for as long as its request, is written nowhere, and neither its name nor its content
    reaches a log.
    """
    router = APIRouter()
    own_budget = Budget(limits.in_flight_bytes)

    @router.post("/films")
    async def read_film(request: Request) -> JSONResponse:
        budget = getattr(request.app.state, "budget", own_budget)  # an app's requests share one
        try:
            answer = await _answer(request, worker, limits, budget)
            response = JSONResponse(answer, headers=NOT_STORED)
        except _Refused as refused:
            response = _error(refused)
        except ServingProblem as problem:
            response = _error(_of_problem(problem))
        worker.metrics.http("films", response.status_code)
        return response

    @router.get("/films")
    def model() -> JSONResponse:
        try:
            with versions.lease() as servable:
                about = describe_model(servable)
        except ServingProblem as problem:
            return _error(_of_problem(problem))
        about["limits"] = {"request_bytes": limits.request_bytes, "max_pixels": limits.max_pixels}
        return JSONResponse(about, headers=NOT_STORED)

    return router


def _error(refused: _Refused) -> JSONResponse:
    retry = {"Retry-After": RETRY_SECONDS} if refused.status in (429, 503) else {}
    return JSONResponse(refused.body, status_code=refused.status, headers={**NOT_STORED, **retry})


async def _answer(request: Request, worker: Worker, limits: Limits, budget: Budget) -> dict[str, Any]:
    try:
        worker.check_room()
    except ServingProblem:
        await drop_body(request, limits)
        raise
    async with held_body(request, limits, budget) as body:
        form = await _form(request, body)
        try:
            return await run_in_threadpool(
                _read,
                worker,
                _file(form),
                class_index=_whole_number(form.get("class_index", "-1")),
                limits=limits,
                picture=form.get("picture", "1") != "0",
            )
        finally:
            await form.close()


async def _form(request: Request, body: bytearray) -> FormData:
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise _Refused(400, f"the body is {kind[:60] or 'of no named type'}", f"multipart/form-data with {FIELDS}")

    async def whole() -> AsyncGenerator[bytes, None]:
        yield bytes(body)

    try:
        return await _InMemory(request.headers, whole(), max_files=1, max_fields=8).parse()
    except MultiPartException as fault:
        raise _Refused(400, f"the form cannot be read ({fault.message})", FIELDS) from fault
    except KeyError as fault:
        raise _Refused(400, "the form cannot be read (its header names no boundary)", FIELDS) from fault


def _file(form: FormData) -> UploadFile:
    for value in form.values():
        if isinstance(value, UploadFile):
            return value
    raise _Refused(400, "the form holds no file", FIELDS)


def _read(worker: Worker, film: UploadFile, *, limits: Limits, **wanted: Any) -> dict[str, Any]:
    content = film.file.read()
    try:
        _check_pixels(content, limits.max_pixels)
        return answer_film(worker, content, name=_plain_name(film.filename), limits=limits, **wanted)
    except ImageError as fault:
        raise _Refused(400, _sentence(fault.problem), fault.expected, fault.remedy) from fault


def _check_pixels(content: bytes, most: int) -> None:
    """Refuse by the header alone what would be too large in memory."""
    too_large = f"at most {most:,} pixels"
    try:
        rows, columns = image_size(content, "the film")
    except ImageError as fault:
        if isinstance(fault.__cause__, Image.DecompressionBombError):
            raise _Refused(413, "the film is too large", too_large) from fault
        raise
    if rows * columns > most:
        raise _Refused(413, f"the film is too large: {rows} x {columns} pixels", too_large, "make it smaller")


def _whole_number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError as cause:
        raise _Refused(400, f"class_index is '{str(value)[:40]}'", "a whole number, -1: the predicted class") from cause


def _plain_name(name: str | None) -> str:
    """Return the last part of a file's name without anything that does not print."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(sign if sign.isprintable() else "_" for sign in last)[:200] or "film"


def _sentence(problem: str) -> str:
    """Errors of a film begin with their verb, after the file's name; here no name stands before them."""
    return f"the film {problem}" if problem.split(" ", 1)[0] in ("is", "holds", "has", "cannot", "may") else problem


def _of_problem(problem: ServingProblem) -> _Refused:
    remedy = "try again in a moment" if problem.http_status in (429, 503, 504) else None
    return _Refused(problem.http_status, problem.message, remedy=remedy)
