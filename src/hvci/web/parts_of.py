"""What every page can reach: the settings, the secrets, the uploads, the jobs and the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request

from hvci.verifier.settings import SettingsStore
from hvci.web.errors import NotFound
from hvci.web.fleet import Fleet
from hvci.web.forms import Form, Reading, read_form
from hvci.web.guard import Secrets
from hvci.web.jobs import Job, Jobs
from hvci.web.line import Line
from hvci.web.settings import Settings
from hvci.web.uploads import Uploads


class Number(IntegerConvertor):
    """A number in an address that Python and a database can hold."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", Number())


@dataclass(slots=True)
class Parts:
    """The parts of one application."""

    settings: Settings
    known: Secrets
    uploads: Uploads
    jobs: Jobs
    line: Line
    verified: SettingsStore
    fleet: Fleet | None = None
    receiving: int = 0
    """Uploads on their way."""


def parts_of(request: Request) -> Parts:
    """The parts of the application that answers."""
    return cast(Parts, request.app.state.parts)


async def form_of(request: Request) -> Form:
    """The form of a page of ours, without files."""
    parts = parts_of(request)
    return await read_form(request, Reading(parts.known, parts.settings.limits, parts.uploads))


def job_of(request: Request, kind: str) -> Job:
    """The job that an address names."""
    job = parts_of(request).jobs.find(str(request.path_params["id"]))
    if job is None or job.kind != kind:
        raise NotFound("there is no such evaluation; it may have been deleted")
    return job
