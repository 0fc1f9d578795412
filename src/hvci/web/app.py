"""The application: its parts, wired once, and its life from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from hvci.errors import HvciError, UsageError
from hvci.verifier.settings import SettingsStore
from hvci.web import api, evaluate, fleet_api, fleet_pages, login, wizard
from hvci.web.answers import refusal
from hvci.web.errors import NotFound, Refused
from hvci.web.fleet import Fleet
from hvci.web.guard import Guard, Secrets
from hvci.web.jobs import Jobs
from hvci.web.line import Line
from hvci.web.parts_of import Parts
from hvci.web.settings import Settings
from hvci.web.uploads import Uploads

SWEEP = 60.0
"""Seconds between two looks for what is too old."""


def application(settings: Settings) -> Starlette:
    """The application for these settings; nothing runs before it is started."""
    known = Secrets(settings.home, settings.token)
    uploads = Uploads(settings.home / "uploads", settings.limits)
    jobs = Jobs(settings.home / "web.sqlite")
    line = Line(jobs, uploads, settings.home / "scratch", settings.jobs, settings.limits)
    parts = Parts(settings, known, uploads, jobs, line, SettingsStore())
    if settings.database:
        parts.fleet = Fleet(settings.database, settings.home)
        parts.fleet.index()  # what is wrong with the database is said before anything is served
    line.when_done = lambda job: wizard.keep_settings(parts, job)
    app = Starlette(
        routes=[
            *login.ROUTES,
            *evaluate.ROUTES,
            *wizard.ROUTES,
            *fleet_pages.ROUTES,
            *fleet_api.ROUTES,
            *api.ROUTES,
            Mount("/static", StaticFiles(packages=[("hvci.web", "static")])),
        ],
        middleware=[Middleware(Guard, settings=settings, known=known)],
        exception_handlers={
            Refused: _refused,
            HvciError: _our_error,
            HTTPException: _http,
            Exception: _fault,
        },
        lifespan=_Life(parts).span,
    )
    app.state.parts = parts
    app.state.csrf = known.csrf
    return app


@dataclass(slots=True)
class _Life:
    """Starts and ends what runs beside the requests."""

    parts: Parts

    @contextlib.asynccontextmanager
    async def span(self, _: Starlette) -> AsyncIterator[None]:
        scratch = self.parts.settings.home / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        await asyncio.to_thread(self.parts.line.start)
        sweeper = asyncio.create_task(self._sweep(scratch))
        try:
            yield
        finally:
            sweeper.cancel()
            await asyncio.to_thread(self.parts.line.stop)
            self.parts.jobs.close()
            if self.parts.fleet is not None:
                await asyncio.to_thread(self.parts.fleet.close)

    async def _sweep(self, scratch: Path) -> None:
        while True:
            await asyncio.to_thread(self._swept, scratch)
            await asyncio.sleep(SWEEP)

    def _swept(self, scratch: Path) -> None:
        """Delete old uploads, and what a worker that is gone left in its scratch folder."""
        self.parts.uploads.forget_old(self.parts.line.needed())
        alive = {str(child.pid) for child in multiprocessing.active_children()}
        with contextlib.suppress(OSError):
            for entry in os.scandir(scratch):
                if entry.is_dir() and entry.name not in alive:
                    shutil.rmtree(entry.path, ignore_errors=True)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(request, error)


async def _our_error(request: Request, error: Exception) -> Response:
    refused = Refused(str(error))
    if not isinstance(error, UsageError):
        refused.status, refused.kind = 500, "server"
    return refusal(request, refused)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = (
        NotFound("there is no such page") if error.status_code == 404 else Refused(error.detail)
    )
    refused.status = error.status_code
    response = refusal(request, refused)
    response.headers.update(error.headers or {})
    return response


async def _fault(request: Request, error: Exception) -> Response:
    refused = Refused(f"internal error: {type(error).__name__}; this is a fault of hvci")
    refused.status, refused.kind = 500, "internal"
    return refusal(request, refused)
