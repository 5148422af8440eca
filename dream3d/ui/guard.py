"""What stands before the page's server: only its own addresses, only its own pages may ask it for something, nothing is loaded from
elsewhere, nothing is uploaded. Plain ASGI, whatever the server."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

CLOSED = re.compile(r"(file|proxy)=\s*\w[\w+.-]+:|/proxy=|/upload(_progress)?$", re.IGNORECASE)  # fetches for others, and uploads
LOCAL = ("127.0.0.1", "localhost", "[::1]")
POLICY = ("default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
          "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; object-src 'none'; "
          "frame-ancestors 'none'; form-action 'self'")  # fmt: skip
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
           "x-frame-options": "DENY"}  # fmt: skip
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Guard:
    """`hosts`: the names under which the server answers, without ports (None: any). A name that somebody else's DNS points at this machine
    is not one of them, so that no page in the same browser can reach the server by it."""

    def __init__(self, app, hosts: tuple[str, ...] | None = LOCAL):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if problem := closed(scope.get("path", "")) or refused(headers, self.hosts):
            return await _refuse(scope["type"], send, problem)

        async def guarded(message):
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                kept = [(name, value) for name, value in message.get("headers", []) if name.decode("latin-1").lower() not in HEADERS]
                message = {**message, "headers": kept + own}
            await send(message)

        await self.app(scope, receive, guarded)


def refused(headers: dict[str, str], hosts: tuple[str, ...] | None) -> str:
    """Why a request, or the opening of a websocket, is not answered; "" where it is. Browsers say from which page it comes (`origin`) where
    it could change something, and where the page wants to read the answer; not where somebody goes to an address."""
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name, other = urlsplit(f"//{host}").hostname or "", urlsplit(origin or "").netloc
    except ValueError:
        return "this is no address"
    name = f"[{name}]" if ":" in name else name
    if hosts is not None and name not in hosts:
        return "this server has another name"
    if origin is not None and other.lower() != host.lower():
        return "another page asks for this"
    return ""


def closed(path: str) -> str:
    """Why a path is not answered: the server behind this would fetch other addresses, or take files."""
    return "this page does not do that" if CLOSED.search(path) else ""


async def _refuse(kind: str, send: Send, problem: str) -> None:
    if kind == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": problem.encode()})
