"""From an upload to a job: what belongs together is one target, everything else is one each."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from starlette.requests import Request

from hvci.fleet.rules import Rules
from hvci.model import WindowsVersion
from hvci.web.errors import Full, Refused
from hvci.web.forms import Form, Reading, read_form, read_raw
from hvci.web.jobs import WAITING, Job, Target, job_id
from hvci.web.parts_of import Parts, parts_of
from hvci.web.uploads import Kept

_OF_A_PACKAGE = (".inf", ".cat")
_WINDOWS = frozenset(version.slug for version in WindowsVersion)


async def received(request: Request, needs_files: bool = True) -> Form:
    """The form of an upload; refused before its first byte is kept where there is no room."""
    parts = parts_of(request)
    parts.line.check_room()
    async with _counted(parts):
        reading = Reading(parts.known, parts.settings.limits, parts.uploads, _check)
        form = await read_form(request, reading)
    if needs_files and not form.files:
        raise Refused("there is no file in this upload")
    return form


async def received_raw(request: Request, name: str) -> Kept:
    """The body of a request as one file."""
    parts = parts_of(request)
    parts.line.check_room()
    async with _counted(parts):
        return await read_raw(
            request, Reading(parts.known, parts.settings.limits, parts.uploads), name
        )


@asynccontextmanager
async def _counted(parts: Parts) -> AsyncIterator[None]:
    most = parts.settings.limits.at_once
    if parts.receiving >= most:
        raise Full(f"the queue is full: {most} uploads are coming in; try again soon")
    parts.receiving += 1
    try:
        yield
    finally:
        parts.receiving -= 1


def _check(form: Form) -> None:
    options_of(form.words)


def options_of(words: dict[str, str]) -> dict[str, Any]:
    """What an evaluation depends on besides its files."""
    target_os, verify = words.get("target_os", ""), words.get("verify", "")
    if target_os and target_os not in _WINDOWS:
        raise Refused(f"there is no Windows {target_os!r}; say it as in 10-1607 or 11-24h2")
    if verify not in ("", "yes", "no"):
        raise Refused("verify is yes or no")
    return {"target_os": target_os, "verify": verify == "yes"}


def targets_of(files: Sequence[Kept]) -> tuple[Target, ...]:
    """What is evaluated: a package with all its files, a folder, or each file for itself."""
    names = [file.name.replace("\\", "/") for file in files]
    several = len(files) > 1
    in_folder = any("/" in name.strip("/") for name in names)
    if several and (in_folder or any(name.lower().endswith(_OF_A_PACKAGE) for name in names)):
        return (Target(_folder_name(names), tuple(files), is_folder=True),)
    return tuple(Target(_last(file.name), (file,)) for file in files)


def _folder_name(names: Sequence[str]) -> str:
    tops = {PurePosixPath(name.lstrip("/")).parts[:1] for name in names}
    (top,) = tops if len(tops) == 1 else ((),)
    return f"{top[0]}/" if top else f"{len(names)} files"


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2] or "unnamed"


@cache
def _rules() -> str:
    return Rules().digest


def job_for(kind: str, options: dict[str, Any], targets: tuple[Target, ...]) -> Job:
    """The job that asks this; the same question is the same job."""
    name = job_id(kind, options, targets, _rules())
    return Job(name, time.time(), None, WAITING, kind, options, targets, "")


def name_of(job: Job) -> str:
    """What people call a job."""
    first = job.targets[0].name if job.targets else "nothing"
    more = len(job.targets) - 1
    return f"{first} and {more} more" if more > 0 else first
