"""Who may ask the viewer: one that has its token, by its own address, from its own page.

A page of another site may send requests to this machine, or point a name of its own at it (DNS
rebinding): the first has no token and another `Origin`, the second another `Host`.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
TOKEN_HEADER = "x-regiontok-token"


class Guard:
    """Lets requests through that may ask, and puts the security headers on every answer.

    A browser shows the token once, in the address it is opened with, and has it in a cookie from
    then on. A script sends it in the header `x-regiontok-token`.

    Args:
        app: the application behind it.
        token: the token.
        port: the port that the server listens on.
    """

    def __init__(self, app: App, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}" for name in names}
        self._hosts |= set(names) if port == 80 else set()
        self._cookie = f"regiontok-{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            return
        headers = _headers_of(scope)
        problem = self._problem(headers)
        if problem:
            await _answer(send, 403, problem)
        elif scope["path"] == "/" and self._is_token(_asked_token(scope)):
            await self._hand_over_cookie(send)
        elif self._is_token(headers.get(TOKEN_HEADER, "")) or self._is_token(
            self._cookie_of(headers)
        ):
            await self._app(scope, receive, _with_headers(send))
        else:
            await _answer(
                send, 403, "open the whole address that `regiontok view` printed, with its token"
            )

    def _problem(self, headers: dict[str, str]) -> str:
        """Why a request is refused whatever its token; "" if it is not."""
        if headers.get("host", "").lower() not in self._hosts:
            return "this server answers to 127.0.0.1 and localhost alone"
        origin = headers.get("origin")
        if origin is not None and origin.lower().removeprefix("http://") not in self._hosts:
            return "pages of other sites may not ask this server"
        return ""

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    def _cookie_of(self, headers: dict[str, str]) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    async def _hand_over_cookie(self, send: Send) -> None:
        """Put the token in a cookie, and go on without it in the address."""
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})


def _headers_of(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


def _asked_token(scope: Scope) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(pair for pair in _encoded(HEADERS) if pair[0] not in own),
            ]
        await send(message)

    return send_with_headers


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str, more: dict[str, str] | None = None) -> None:
    body = (text + "\n").encode() if text else b""
    headers = {
        **HEADERS,
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        **(more or {}),
    }
    start = {"type": "http.response.start", "status": status, "headers": _encoded(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": body})
