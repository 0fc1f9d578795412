"""Asks for the token where the server answers more than this computer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hvci.web.answers import page
from hvci.web.guard import COOKIE
from hvci.web.parts_of import form_of, parts_of

DAY = 24 * 3600


async def ask(request: Request) -> Response:
    """The form."""
    return page(request, "login.html", wrong=False)


async def check(request: Request) -> Response:
    """Let in who has the token."""
    form = await form_of(request)
    known = parts_of(request).known
    if not known.is_token(form.words.get("token", "").strip()):
        return page(request, "login.html", 403, wrong=True)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        COOKIE, known.session, max_age=DAY, httponly=True, samesite="strict", path="/"
    )
    return response


ROUTES = [
    Route("/login", ask, methods=["GET"]),
    Route("/login", check, methods=["POST"]),
]
