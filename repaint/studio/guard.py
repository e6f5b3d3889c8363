"""Decides which requests reach gradio, and adds security headers to every response."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

__all__ = ["POLICY", "Guard"]

# With this policy, the browser blocks requests to other hosts.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob: ws: wss:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
)


# The routes that the page needs. Other routes of gradio (proxies, monitoring, editing the app) are not served.
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
MAX_JSON = 2**20  # bytes of a request other than an upload


class Guard:
    """ASGI middleware that serves only what the page needs, and adds security headers.

    gradio downloads web addresses that a request names in place of files. Such requests are rejected, so that the
    studio never connects to another host. Requests of other sites' pages, which could fill the disk with uploads, are
    rejected, too. A page that closes early is not an error.

    Args:
        app: the ASGI app to protect.
        hosts: accepted names in the Host header, against DNS rebinding; None: any.
    """

    def __init__(self, app: Any, hosts: tuple[str, ...] | None = None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import ClientDisconnect
        from starlette.responses import PlainTextResponse

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
                pairs = [(name.encode(), value.encode()) for name, value in extra.items()]
                message = message | {"headers": [*message.get("headers", []), *pairs]}
            await send(message)

        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        with suppress(ClientDisconnect):
            if scope["type"] == "http":
                rejection, receive = await self._checked(scope, receive)
                if rejection:
                    await PlainTextResponse(rejection[1], rejection[0])(scope, receive, guarded)
                    return
            await self.app(scope, receive, guarded)

    async def _checked(self, scope: Any, receive: Any) -> tuple[tuple[int, str] | None, Any]:
        """Return (status and reason of a rejection or None, a `receive` from which the body can still be read)."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self.hosts is not None and re.sub(r":\d+$", "", host).strip("[]") not in self.hosts:
            return (403, f"Host {host!r} is not allowed: this studio serves only this machine."), receive
        if not _is_served(scope["path"]):
            return (404, "Not served here."), receive
        # Browsers name the site whose page sends a request; other programs do not.
        if scope["method"] != "GET" and headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
            return (403, "Requests of other pages are not allowed."), receive
        if scope["method"] != "POST" or scope["path"].rstrip("/") == f"{API}/upload":
            return None, receive
        body = await _body(receive)
        if body is None:
            return (413, f"The request is larger than {MAX_JSON} bytes."), receive
        rejection = (403, "A file must not be given as a web address.") if _has_web_address(body) else None
        return rejection, _again(body, receive)


def _is_served(path: str) -> bool:
    if path.startswith(f"{API}/file="):
        return "://" not in path
    return (path.rstrip("/") or "/") in EXACT or path.startswith(UNDER)


async def _body(receive: Any) -> bytes | None:
    """Read the whole body of a request; None if it is too large."""
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
    """Return a `receive` that first returns the body that was already read."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return pending.pop() if pending else await receive()

    return again


def _has_web_address(body: bytes) -> bool:
    """Test whether JSON gives a web address as the path of a file."""
    try:
        pending = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # the app rejects it
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if str(value.get("path", "")).lower().lstrip().startswith(("http:", "https:")):
                return True
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False
