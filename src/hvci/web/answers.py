"""How anything is answered: a page for people, JSON for programs; every string is text.

Templates escape what they print, and what no screen should see is spelled out before.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hvci import __version__
from hvci.report.markup import Html
from hvci.report.safe import safe
from hvci.web.errors import Refused

LONGEST = 4000
HERE = Path(__file__).parent


def _text(value: object) -> object:
    """What a template prints: markup of ours as it is, everything else as harmless text."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, Html):
        return Markup(value)  # noqa: S704 (our own pages make it)
    return safe(str(value), LONGEST)


@cache
def templates() -> Environment:
    """The templates; a name that is not given is an error, not silence."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(request: Request, template: str, status: int = 200, **words: object) -> HTMLResponse:
    """A whole page, or the part that was asked for without a reload."""
    known = {
        "csrf": getattr(request.app.state, "csrf", "") if "app" in request.scope else "",
        "path": request.scope["path"],
        "version": __version__,
    }
    text = templates().get_template(template).render(known | words)
    return HTMLResponse(text, status)


def answer(fields: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that no terminal can take for a command."""
    text = json.dumps(fields, ensure_ascii=True).replace("\x7f", "\\u007f") + "\n"
    return Response(text, status, headers, "application/json")


def refusal(request: Request, error: Refused) -> Response:
    """Why a request is not answered."""
    headers = {"retry-after": "5"} if error.status in (429, 503) else {}
    headers |= {"allow": "GET"} if error.status == 405 else {}
    headers |= {"connection": "close"} if error.status in (408, 413) else {}
    if wants_json(request):
        fields = {"error": {"kind": error.kind, "message": safe(error.sentence, LONGEST)}}
        return answer(fields, error.status, headers)
    response = page(request, "refused.html", error.status, sentence=error.sentence)
    response.headers.update(headers)
    return response


def wants_json(request: Request) -> bool:
    """Whether a program asks."""
    return str(request.scope["path"]).startswith("/api/")


def to_login(request: Request) -> Response:
    """Whoever has no token gets no farther."""
    if wants_json(request):
        told = "the token is missing: Authorization: Bearer TOKEN"
        fields = {"error": {"kind": "no-token", "message": told}}
        return answer(fields, 401, {"www-authenticate": "Bearer"})
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"hx-redirect": "/login"})
    return RedirectResponse("/login", 303)
