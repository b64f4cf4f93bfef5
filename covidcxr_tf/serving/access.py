"""The bearer token, asked for before anything else of a request is looked at."""

from __future__ import annotations

import hmac
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from covidcxr_tf.errors import UsageError

#: The page holds no secret: its files are open, so that it can ask for the token; what it asks for is not.
OPEN_PATHS = ("/healthz", "/", "/favicon.ico")
OPEN_FOLDER = "/static/"
MIN_TOKEN = 16

_BODY = b'{"error": "A bearer token is needed"}'


class TokenGuard:
    """ASGI middleware: 401 for every request without ``Authorization: Bearer TOKEN``, but for the page's own files."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._wanted = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or _is_open(scope["path"]) or self._knows(scope):
            await self.app(scope, receive, send)
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(_BODY)).encode()),
            (b"www-authenticate", b"Bearer"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY})

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._wanted)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or (path.startswith(OPEN_FOLDER) and ".." not in path)


def read_token(path: str | Path) -> str:
    """Return the token in a file, without the white space around it.

    Raises
    ------
    UsageError
        If the file cannot be read, or holds fewer than `MIN_TOKEN` characters, or others than visible ASCII.
    """
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as fault:
        raise UsageError(f"the token cannot be read ({fault})", where=path) from fault
    if len(token) < MIN_TOKEN or not all("!" <= sign <= "~" for sign in token):
        raise UsageError(
            f"a token of {len(token)} characters",
            where=path,
            expected=f"at least {MIN_TOKEN} visible ASCII characters without spaces",
            remedy="make one with: openssl rand -hex 32",
        )
    return token
