"""Reading the body of an HTTP request: counted while it arrives, so that no more is held than may be."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from covidcxr_tf.serving.limits import Budget, Limits
from covidcxr_tf.serving.problems import ServingProblem, invalid

_GZIP = 16 + zlib.MAX_WBITS
_DRAIN_SECONDS = 5.0


@contextlib.asynccontextmanager
async def held_body(request: Request, limits: Limits, budget: Budget) -> AsyncIterator[bytearray]:
    """Give the whole body, gzip undone; its bytes count against `budget` until the context ends.

    Raises
    ------
    ServingProblem
        RESOURCE_EXHAUSTED with status 413 (too large) or 429 (budget), DEADLINE_EXCEEDED (too slow), INVALID_ARGUMENT
        (gzip that is none).
    """
    body = bytearray()
    try:
        try:
            async with asyncio.timeout(limits.timeout_s):
                await _read(request, limits, budget, body)
        except TimeoutError as late:
            raise ServingProblem("DEADLINE_EXCEEDED", f"The body did not arrive in {limits.timeout_s:g} s") from late
        except ClientDisconnect as gone:
            raise ServingProblem("CANCELLED", "The client went away") from gone
        yield body
    finally:
        budget.give(len(body))


async def drop_body(request: Request, limits: Limits) -> None:
    """Read and forget what is still to come, within bounds: a client that is still sending reads no answer."""
    dropped = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in request.stream():
                dropped += len(chunk)
                if dropped > 2 * limits.request_bytes:
                    return


async def _read(request: Request, limits: Limits, budget: Budget, body: bytearray) -> None:
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        limits.check_bytes(int(length))
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise invalid(f"Content-Encoding {encoding} is not known; gzip is")
    unpack = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    async for chunk in request.stream():
        plain = chunk if unpack is None else _unpacked(unpack, chunk, limits.request_bytes - len(body) + 1)
        limits.check_bytes(len(body) + len(plain))
        budget.take(len(plain))
        body += plain
    if unpack is not None and not unpack.eof:
        raise invalid("Failed to decompress the body: it ends too early")


def _unpacked(unpack: zlib._Decompress, chunk: bytes, most: int) -> bytes:
    try:
        return unpack.decompress(chunk, most)
    except zlib.error as fault:
        raise invalid(f"Failed to decompress the body: {fault}") from fault
