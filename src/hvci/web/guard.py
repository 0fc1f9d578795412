"""Stands before every page: who asks, from where, how fast, and what a browser may do with it.

Knows HTTP only, never a driver. A page of somebody else can neither read nor change anything here:
Host names us (against DNS rebinding), Origin is ours, and each change carries a secret of ours.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hvci.web.answers import refusal, to_login
from hvci.web.errors import Forbidden, Refused, TooLarge, TooMany, TooSlow
from hvci.web.settings import Limits, Settings

POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect", "font")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With "no-referrer" a browser sends "Origin: null" with the forms of our own pages.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
COOKIE = "hvci"
PLAIN = "x-hvci-request"
"""A header that no page of another origin can send without asking us first, which is refused."""
SAFE = ("GET", "HEAD", "OPTIONS")
CHANGES = ("POST", "PUT", "DELETE")
OPEN = ("/static/", "/login")
MINUTE = 60.0
MOST_ADDRESSES = 10_000


class Secrets:
    """What proves that a request comes from a page of ours, or from somebody who has the token."""

    def __init__(self, home: Path, token: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._token = token
        key = _kept_key(home / "secret")
        self.csrf = hmac.digest(key, b"csrf", "sha256").hex()
        self.session = hmac.digest(key, b"session " + token.encode(), "sha256").hex()

    def is_csrf(self, word: str) -> bool:
        """Whether this is the word of our forms."""
        return hmac.compare_digest(word.encode(), self.csrf.encode())

    def is_token(self, word: str) -> bool:
        """Whether somebody has the token; takes as long for any word."""
        return hmac.compare_digest(word.encode(), self._token.encode())

    def knows(self, headers: Headers, cookies: dict[str, str]) -> bool:
        """Whether a request comes from somebody who has the token."""
        kind, _, word = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.is_token(word.strip())
        return hmac.compare_digest(cookies.get(COOKIE, "").encode(), self.session.encode())


def _kept_key(path: Path) -> bytes:
    """A key that outlives a restart, so that pages which are open stay good."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != 32:
        key = secrets.token_bytes(32)
        path.touch(mode=0o600)
        path.write_bytes(key)
    return key


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings, known: Secrets) -> None:
        self._app = app
        self._settings = settings
        self._secrets = known
        self._changes = Often(settings.limits.changes)
        self._logins = Often(settings.limits.logins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it in one sentence."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _add_headers(message, request.scope["path"])
            await send(message)

        try:
            self._check(request)
            if not self._lets_in(request):
                await to_login(request)(scope, receive, sent)
                return
            body = Body(receive, self._settings.limits)
            await self._app(scope, body.receive, sent)
        except Refused as error:
            if not begun:
                await refusal(request, error)(scope, receive, sent)

    def _check(self, request: Request) -> None:
        host = request.headers.get("host", "").lower()
        if host not in self._settings.hosts:
            raise _Misdirected("this server does not answer to that name")
        if not request.scope["query_string"].isascii():
            raise Refused("this address holds what no address may")
        if request.method in SAFE:
            return
        if request.method not in CHANGES:
            raise _NoMethod("there is no such method here")
        origin = request.headers.get("origin")
        if origin is not None and _host_of(origin) != host:
            raise Forbidden("this request comes from a page of another origin")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Forbidden("this request comes from a page of another origin")
        self._count(request)
        word = request.headers.get("x-csrf-token", "")
        is_plain = request.scope["path"].startswith("/api/") and request.headers.get(PLAIN)
        request.state.trusted = self._secrets.is_csrf(word) or bool(is_plain)
        size = request.headers.get("content-length", "0")
        if _is_above(size, self._settings.limits.upload):
            raise TooLarge(f"more than {self._settings.limits.upload >> 20} MiB")

    def _count(self, request: Request) -> None:
        address = request.client.host if request.client else ""
        if request.scope["path"] == "/login" and not self._logins.may(address):
            raise TooMany("too many tokens were tried; wait a minute")
        if not self._settings.is_local and not self._changes.may(address):
            raise TooMany("too many changes from this address; wait a minute")

    def _lets_in(self, request: Request) -> bool:
        if not self._settings.token or request.scope["path"].startswith(OPEN):
            return True
        return self._secrets.knows(request.headers, request.cookies)


class _NoMethod(Refused):
    status = 405
    kind = "no-method"


class _Misdirected(Refused):
    status = 421
    kind = "wrong-host"


def _host_of(origin: str) -> str:
    """Host and port of an Origin; empty where it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_above(size: str, most: int) -> bool:
    """Whether a word is a number above another; it may have any number of digits."""
    if not (size.isascii() and size.isdigit()):
        return False
    digits = size.lstrip("0")
    return len(digits) > len(str(most)) or int(digits or "0") > most


def _add_headers(message: Message, path: str) -> None:
    headers = MutableHeaders(raw=message.setdefault("headers", []))
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", "no-cache" if path.startswith("/static/") else "no-store")


class Often:
    """Counts what each address asked for in the current minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def may(self, address: str) -> bool:
        """Count one request and tell whether it is not too many."""
        minute = int(time.monotonic() / MINUTE)
        since, count = self._counts.pop(address, (minute, 0))
        count = count + 1 if since == minute else 1
        self._counts[address] = (minute, count)
        if len(self._counts) > MOST_ADDRESSES:
            self._counts.popitem(last=False)
        return count <= self._most


class Body:
    """The body of a request, in bounded size and time."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._size = 0
        self._since = time.monotonic()
        self._ended = False

    async def receive(self) -> Message:
        """The next piece; whoever waits for the end of the connection may wait."""
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout(self._limits.idle):
                message = await self._receive()
        except TimeoutError as error:
            raise TooSlow("the rest of the request did not come in time") from error
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            self._check()
        return message

    def _check(self) -> None:
        if self._size > self._limits.upload:
            raise TooLarge(f"more than {self._limits.upload >> 20} MiB")
        seconds = time.monotonic() - self._since
        is_late = not self._ended and seconds > self._limits.patience
        if is_late and self._size < seconds * self._limits.pace:
            raise TooSlow("the request comes too slowly")
