"""Reads forms and uploads piece by piece: files go to their place while they come.

Counts bytes, files and fields itself, because the form reader of the framework bounds no file. No
form is believed without the secret of our pages, which has to come before any file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from hvci.web.errors import Forbidden, Refused, TooLarge
from hvci.web.guard import Secrets
from hvci.web.settings import Limits
from hvci.web.uploads import Kept, Uploads, Writing

MOST_FIELDS = 32
LONGEST_NAME = 1000


@dataclass(slots=True)
class Form:
    """What a form said."""

    words: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    files: list[Kept] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        """Note one field."""
        self.words[name] = value
        self.lists.setdefault(name, []).append(value)


@dataclass(slots=True)
class Reading:
    """What a form is read with."""

    known: Secrets
    limits: Limits
    uploads: Uploads
    check: Callable[[Form], None] = lambda _: None
    """Asked before the first file is taken."""


async def read_form(request: Request, reading: Reading) -> Form:
    """The fields of a form of a page of ours; its files are kept."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        return await _Parts(request, reading, options.get(b"boundary", b"")).read()
    text = b""
    async for piece in _stream(request):
        text += piece
        if len(text) > reading.limits.text:
            raise TooLarge("more words than this form has room for")
    form = Form()
    if kind in (b"application/x-www-form-urlencoded", b"") or not text:
        try:
            pairs = parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=500)
        except ValueError as error:
            raise Refused("this form cannot be read") from error
        for name, value in pairs:
            form.add(name, value)
    else:
        raise Refused("want a form: multipart/form-data or application/x-www-form-urlencoded")
    _believe(request, reading.known, form)
    return form


async def read_raw(request: Request, reading: Reading, name: str) -> Kept:
    """The whole body as one file."""
    with reading.uploads.begin() as writing:
        async for piece in _stream(request):
            writing.write(piece)
        if not writing.size:
            raise Refused("the body is empty: it should be the file")
        return writing.kept(name)


async def _stream(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as error:
        raise Refused("the connection ended before the request did") from error


def _believe(request: Request, known: Secrets, form: Form) -> None:
    if not request.state.trusted and not known.is_csrf(form.words.get("csrf", "")):
        raise Forbidden("this form is not one of this server's, or older than its data; reload it")


class _Parts:
    """A multipart form on its way in."""

    def __init__(self, request: Request, reading: Reading, boundary: bytes) -> None:
        if not boundary:
            raise Refused("this form has no boundary")
        self._request = request
        self._reading = reading
        self._form = Form()
        self._header = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text = b""
        self._room = reading.limits.text
        self._file: Writing | None = None
        self._file_name = ""
        self._is_whole = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_data,
                    "on_part_data": self._on_data,
                    "on_part_end": self._end_part,
                    "on_end": self._on_end,
                },
            )
        except (FormParserError, ValueError) as error:
            raise Refused("this form cannot be read") from error

    async def read(self) -> Form:
        try:
            async for piece in _stream(self._request):
                self._parser.write(piece)
            self._parser.finalize()
        except (FormParserError, ValueError, LookupError) as error:
            raise Refused("this form cannot be read") from error
        finally:
            if self._file is not None:
                self._file.drop()
        if not self._is_whole:
            raise Refused("this form is cut off")
        _believe(self._request, self._reading.known, self._form)
        return self._form

    def _begin(self) -> None:
        self._headers = {}
        self._text = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _begin_data(self) -> None:
        told = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(told)
        self._name = _words(options.get(b"name", b""))
        name = options.get(b"filename")
        if name is None:
            if sum(map(len, self._form.lists.values())) >= MOST_FIELDS:
                raise TooLarge("more fields than this form has")
            return
        _believe(self._request, self._reading.known, self._form)
        if len(self._form.files) >= self._reading.limits.files:
            raise TooLarge(f"more than {self._reading.limits.files} files; pack them into one zip")
        if not self._form.files:
            self._reading.check(self._form)
        self._file_name = _words(name)
        self._file = self._reading.uploads.begin()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._room -= end - start
        if self._room < 0:
            raise TooLarge("more words than this form has room for")
        self._text += data[start:end]

    def _end_part(self) -> None:
        if self._file is None:
            self._form.add(self._name, self._text.decode("utf-8", "replace"))
        elif self._file.size or self._file_name:
            self._form.files.append(self._file.kept(self._file_name))
            self._file = None
        else:
            self._file.drop()  # a browser sends this where nothing was chosen
            self._file = None

    def _on_end(self) -> None:
        self._is_whole = True


def _words(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")[:LONGEST_NAME]
