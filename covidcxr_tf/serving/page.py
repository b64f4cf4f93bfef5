"""The page at ``/`` and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from covidcxr_tf.serving.films import PAGE_HEADERS, films_router
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.work import Worker

STATIC = Path(__file__).parent / "static"


class _Static(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().file_response(*args, **kwargs)
        response.headers.update(PAGE_HEADERS)
        return response


def add_page(app: FastAPI, worker: Worker, versions: Versions, limits: Limits) -> None:
    """Add ``/films``, ``/static`` and ``/``."""
    app.include_router(films_router(worker, versions, limits))
    app.mount("/static", _Static(directory=STATIC, check_dir=False), name="static")

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)
