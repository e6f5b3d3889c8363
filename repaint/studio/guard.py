"""The studio's door: which requests reach gradio, and what every answer says to the browser."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

__all__ = ["POLICY", "Guard"]

# The browser itself refuses whatever the page would fetch from another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob: ws: wss:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
)


# What the page asks for. gradio has further routes (proxies, monitoring, editing the app): they are not served.
API = "/gradio_api"
EXACT = {"/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/login", "/logout", "/manifest.json"} | {
    f"{API}/{name}"
    for name in (
        "info",
        "user",
        "login_check",
        "token",
        "app_id",
        "upload",
        "upload_progress",
        "startup-events",
        "cancel",
    )
}
EXACT |= {f"{API}/{name}" for name in ("queue/join", "queue/data", "queue/status", "reset", "theme.css")}
UNDER = ("/assets/", "/static/", "/svelte/", f"{API}/file=", f"{API}/heartbeat/", f"{API}/run/")
MAX_JSON = 2**20  # what a page sends but for files, which it uploads


class Guard:
    """ASGI middleware: serves what the page needs and nothing else; the security headers on every answer.

    gradio fetches what a visitor names by a web address, into its cache: here that is refused, so that the studio
    asks no other host for anything. A page that closes is no error.

    Args:
        app: what is behind it.
        hosts: names under which it may be asked; None is any. A page of another site, whose name was pointed at this
            machine, asks under its own (DNS rebinding).
    """

    def __init__(self, app: Any, hosts: tuple[str, ...] | None = None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import ClientDisconnect
        from starlette.responses import PlainTextResponse

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
                pairs = [(name.encode(), value.encode()) for name, value in more.items()]
                message = message | {"headers": [*message.get("headers", []), *pairs]}
            await send(message)

        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        with suppress(ClientDisconnect):
            if scope["type"] == "http":
                refusal, receive = await self._looked_at(scope, receive)
                if refusal:
                    await PlainTextResponse(refusal[1], refusal[0])(scope, receive, guarded)
                    return
            await self.app(scope, receive, guarded)

    async def _looked_at(self, scope: Any, receive: Any) -> tuple[tuple[int, str] | None, Any]:
        """(why a request is refused, or None; its body, still to be read)."""
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if self.hosts is not None and re.sub(r":\d+$", "", host).strip("[]") not in self.hosts:
            return (403, f"Asked as {host!r}: this studio listens on this machine alone."), receive
        if not _is_served(scope["path"]):
            return (404, "Not served here."), receive
        if scope["method"] != "POST" or scope["path"].rstrip("/") == f"{API}/upload":
            return None, receive
        body = await _body(receive)
        if body is None:
            return (413, f"More than {MAX_JSON} bytes."), receive
        return (403, "A web address, where a file is wanted.") if _names_a_host(body) else None, _again(body, receive)


def _is_served(path: str) -> bool:
    if path.startswith(f"{API}/file="):
        return "://" not in path
    return (path.rstrip("/") or "/") in EXACT or path.startswith(UNDER)


async def _body(receive: Any) -> bytes | None:
    """The whole body of a request; None where it is too large."""
    from starlette.requests import ClientDisconnect

    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_JSON:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Any) -> Any:
    """A `receive` that gives the body that was read already, and then what comes."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return left.pop() if left else await receive()

    return again


def _names_a_host(body: bytes) -> bool:
    """Whether JSON gives a web address where a file is wanted."""
    try:
        left = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # the app refuses it
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if str(one.get("path", "")).lower().lstrip().startswith(("http:", "https:")):
                return True
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return False
