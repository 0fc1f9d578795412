"""The web application in this process, and requests that bytes make: any method, path, header, body."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from answers import BUILT
from choices import Choices
from starlette.applications import Starlette
from starlette.routing import Route

import fleets
from hvci.evaluate import Options, evaluate
from hvci.verifier.settings import SettingsStore
from hvci.web import fleet_columns
from hvci.web.app import application
from hvci.web.asking import job_for
from hvci.web.jobs import DONE, INTERRUPTED, Jobs, Target
from hvci.web.settings import Limits, Settings
from hvci.web.uploads import Uploads
from hvci.web.working import part_of

LIMITS = Limits(upload=1 << 16, files=4, text=4096, waiting=3, changes=1 << 40, logins=1 << 40)
logging.getLogger("python_multipart").setLevel(logging.ERROR)
PORT = 8642
HOST = b"127.0.0.1:8642"
LONGEST = 4 << 20
"""Bytes of an answer."""
SHA = "0" * 64
WORDS = (
    *("target_os", "verify", "csrf", "name", "files", "flag", "flags", "known", "log_only", "task"),
    *("q", "verdict", "fate", "vendor", "rule", "host", "year", "cpu", "signed", "order", "first"),
    *("limit", "old", "new", "token", "group", "scan", "by"),
)
"""Fields of forms and queries."""
VALUES = (
    *("", "yes", "no", "11-24h2", "10-1607", "0x2", "last", "previous", "1", "2", "worst", "size"),
    *("-1", "9" * 25, "0x", "%", "\0", "../../etc/passwd", "<script>", "\u202e", "incompatible"),
    *("1e9", "{{7*7}}", SHA, "a" * 70, "x64", "execute-pool-type", "\ud800", "9" * 4400),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", "")
FORMS = ("json", "html", "text", "csv", "sarif", "xlsx", "..", "%2e%2e%2fweb.sqlite", "", "JSON")
KINDS = (
    *(
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=b",
        b"application/json",
    ),
    *(b"multipart/form-data", b"", b"multipart/form-data; boundary=" + b"b" * 80, b"text/plain"),
    *(b'multipart/form-data; boundary="b', b"multipart/form-data; boundary=\xff", b";;;=;"),
)
JSON = (b'{"target_os":"11-24h2"}', b"[" * 900, b"null", b'{"a":', b"1e999", b'"\\ud800"')


@dataclass
class Asked:
    """One request."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: list[bytes]
    ends: bool = True
    """Whether the connection lasts until the request is whole."""


@dataclass
class Told:
    """One answer."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class Server:
    """The application with a report, a run, jobs that wait and a fleet; as new after each change."""

    def __init__(self) -> None:
        self._top = tempfile.TemporaryDirectory(prefix="hvci-fuzz-web-")
        top = Path(self._top.name)
        fleets.fill(top / "a.db", *map(fleets.met, fleets.ROWS))
        fleets.fill(top / "a.db", fleets.met("bad", "/other/bad.sys"), host="lap")
        self._number = itertools.count()
        self._like = top / "like"
        self._settings = Settings(
            "127.0.0.1", PORT, self._like, database=str(top / "a.db"), limits=LIMITS
        )
        self.names = self._filled()
        self._loop = asyncio.new_event_loop()
        self._app: Starlette | None = None
        self.routes = [one for one in self.app.routes if isinstance(one, Route)]
        self.secret = str(self.app.state.csrf)

    def _filled(self) -> list[str]:
        """A folder as a server leaves it behind; the names of its jobs."""
        uploads, jobs = Uploads(self._like / "uploads", LIMITS), Jobs(self._like / "web.sqlite")
        with uploads.begin() as writing:
            writing.write((BUILT / "calls_bad.x64.o2.sys").read_bytes()[:40_000])
            kept = writing.kept("calls_bad.sys")
        report = evaluate(BUILT / "calls_bad.x64.o2.sys", Options())
        names = []
        for verify, state in ((False, DONE), (True, INTERRUPTED)):
            options = {"target_os": "", "verify": verify}
            job = jobs.add(job_for("evaluate", options, (Target("calls_bad.sys", (kept,)),)))
            names.append(job.id)
            if state == DONE:
                jobs.keep(job.id, 0, [part_of(report)])
            jobs.set_state(job.id, state, "" if state == DONE else "it ended")
        asked = {"flags": 0x2000000, "log_only": False, "run": "0" * 16}
        run = jobs.add(job_for("verify", asked, (Target("calls_bad.sys", (kept,)),)))
        jobs.close()
        application(self._settings).state.parts.fleet.close()
        (folder,) = (self._like / "fleet").iterdir()
        fleet_columns.build(self._settings.database, str(folder))
        return [*names, run.id]

    @property
    def app(self) -> Starlette:
        """The application as nobody has changed it yet."""
        if self._app is None:
            home = self._like.with_name(str(next(self._number)))
            shutil.copytree(self._like, home)
            self._app = application(replace(self._settings, home=home))
            self._app.state.parts.verified = SettingsStore(home)
        return self._app

    def forget(self) -> None:
        """Give up what a change has left."""
        if self._app is not None:
            parts = self._app.state.parts
            parts.jobs.close()
            parts.fleet.close()
            shutil.rmtree(parts.settings.home)
            self._app = None

    def ask(self, asked: Asked) -> Told:
        """Send a request; raises what a page raises."""
        pieces = [{"type": "http.request", "body": one, "more_body": True} for one in asked.body]
        if asked.ends:
            pieces.append({"type": "http.request", "body": b"", "more_body": False})
        waiting = iter(pieces)
        told = Told()

        async def receive() -> dict[str, Any]:
            return next(waiting, {"type": "http.disconnect"})

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told.status, told.headers = message["status"], list(message["headers"])
            else:
                told.body += message.get("body", b"")

        scope = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"},
            **{"server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 1), "root_path": ""},
            **{"method": asked.method, "raw_path": asked.path, "query_string": asked.query},
            "path": unquote_to_bytes(asked.path).decode("utf-8", "replace"),
            "headers": asked.headers,
        }
        try:
            self._loop.run_until_complete(self.app(scope, receive, send))
        finally:
            if asked.method not in ("GET", "HEAD", "OPTIONS") and told.status < 400:
                self.forget()
        return told

    # ---- what bytes ask

    def request(self, choose: Choices) -> Asked:
        """The request that an input makes."""
        route = choose.pick(self.routes)
        method = choose.pick(METHODS if choose.below(4) == 1 else sorted(route.methods or METHODS))
        path = self._path(route.path, choose)
        query = (
            self._pairs(choose)
            if choose.below(2)
            else bytes(byte & 0x7F for byte in choose.bytes(choose.below(12)))
        )
        headers = [] if choose.below(24) == 1 else [(b"host", HOST)]
        if choose.below(4) != 1:
            headers += [(b"x-csrf-token", self.secret.encode()), (b"x-hvci-request", b"1")]
        kind = choose.pick(KINDS)
        if choose.below(8) != 1:
            headers.append((b"content-type", kind))
        headers += [self._header(choose) for _ in range(choose.below(5))]
        body = self._body(choose, kind)
        at = choose.below(len(body) + 1) if choose.below(2) else len(body)
        return Asked(method, path, query, headers, [body[:at], body[at:]], choose.below(16) != 1)

    def _path(self, path: str, choose: Choices) -> bytes:
        if choose.below(16) == 1:
            return b"/" + bytes(byte or 1 for byte in choose.bytes(choose.below(40)))
        held = {"id": choose.pick((*self.names, "a" * 24, "..", "%00")), "form": choose.pick(FORMS)}
        numbers = ("0", "1", "2", "99999999999999999999", "9" * 4400, "00")
        for name, word in held.items():
            path = path.replace(f"{{{name}}}", word)
        for name in ("number", "scan", "file"):
            path = path.replace(f"{{{name}:number}}", choose.pick(numbers))
        return path.encode()

    def _pairs(self, choose: Choices) -> bytes:
        pairs = []
        for _ in range(choose.below(6)):
            name = choose.pick(WORDS)
            value = self.secret if name == "csrf" else choose.pick((*VALUES, *self.names))
            if choose.below(8) == 0:
                value = choose.bytes(choose.below(16)).decode("latin-1")
            pairs.append(f"{name}={quote(value, errors='surrogatepass')}")
        return "&".join(pairs).encode()

    def _header(self, choose: Choices) -> tuple[bytes, bytes]:
        own: tuple[tuple[bytes, bytes], ...] = (
            *((b"x-csrf-token", self.secret.encode()), (b"x-hvci-request", b"1")),
            *((b"origin", b"http://" + HOST), (b"sec-fetch-site", b"same-origin")),
            *((b"hx-request", b"true"), (b"accept", b"application/json"), (b"range", b"bytes=0-1")),
            *((b"content-length", b"12"), (b"if-none-match", b'"x"'), (b"cookie", b"hvci=1")),
            *((b"authorization", b"Bearer x"), (b"host", b"[::1]:8642"), (b"if-range", b"x")),
        )
        name, value = choose.pick(own)
        if choose.below(3) == 0:
            odd = (b"", b"\xb2", b"http://[", b"9" * 30, b"-1", b"a=b; c", b"bytes=9-1,2-", b"\xff")
            value = choose.pick(odd) if choose.below(2) else _held(choose.bytes(choose.below(12)))
        return name, value

    def _body(self, choose: Choices, kind: bytes) -> bytes:
        what = choose.below(8)
        if what == 1:
            return choose.rest()
        if what == 2:
            return choose.pick(JSON)
        if kind.startswith(b"multipart"):
            return self._multipart(choose)
        return self._pairs(choose)

    def _multipart(self, choose: Choices) -> bytes:
        lines = [b""]
        for _ in range(choose.below(7)):
            name = choose.pick(WORDS)
            value = self.secret if name == "csrf" else choose.pick(VALUES[:-2])
            told = b'Content-Disposition: form-data; name="%s"' % name.encode()
            if choose.below(3) == 0:
                file = choose.pick(
                    (b"a.sys", b"../a.inf", b"", b"d/b.sys", b"\xff", b'\\"', b"x.zip")
                )
                told += b'; filename="%s"' % file
            odd = (b"", b"Content-Type: x\r\n", b": x\r\n", b"A\r\n", b"B: " + b"b" * 300 + b"\r\n")
            more = choose.pick(odd) if choose.below(8) == 0 else b""
            lines.append(b"--b\r\n" + told + b"\r\n" + more + b"\r\n" + value.encode() + b"\r\n")
            if choose.below(8) == 0:
                lines.append(choose.bytes(choose.below(16)))
        return b"".join(lines) + choose.pick((b"--b--\r\n", b"--b--", b"--b", b""))


def _held(raw: bytes) -> bytes:
    """What the reader of HTTP lets pass in a header."""
    return bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip()


def check(asked: Asked, told: Told) -> None:
    """What every answer holds to."""
    assert 200 <= told.status < 500 or told.status == 503, (asked, told.status, told.body[:500])
    names = {name for name, _ in told.headers}
    assert b"content-security-policy" in names
    assert len(told.body) <= LONGEST
    if told.status >= 400 and asked.path.startswith(b"/api/") and asked.method != "HEAD":
        sentence = json.loads(told.body)["error"]["message"]
        assert sentence.strip()
        assert "\n" not in sentence
