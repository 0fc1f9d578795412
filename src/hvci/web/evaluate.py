"""The Evaluate pages: upload, progress, overview, one target, downloads, another Windows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hvci.model import NEWEST, parse_version
from hvci.report import MEDIA, Document, Format, document_from, render
from hvci.report.overview import Fate
from hvci.web.answers import page
from hvci.web.asking import job_for, name_of, options_of, received, targets_of
from hvci.web.errors import NotFound, Refused
from hvci.web.jobs import Job
from hvci.web.parts_of import Parts, form_of, job_of, parts_of
from hvci.web.shown import by_fate, target_words, windows

RECENT = 12
KINDS = {
    Fate.WILL_NOT_LOAD.value: "bad",
    Fate.BREAKS.value: "bad",
    Fate.FAILS.value: "bad",
    Fate.PASSES.value: "good",
}
"""Colours of an overview; what is not named here is open."""


def start(request: Request) -> Response:
    """The page that takes drivers."""
    parts = parts_of(request)
    recent = [
        {
            "id": job.id,
            "name": name_of(job),
            "state": job.state,
            "when": datetime.fromtimestamp(job.made).strftime("%Y-%m-%d %H:%M"),
        }
        for job in parts.jobs.newest("evaluate", RECENT)
    ]
    return page(
        request,
        "evaluate.html",
        recent=recent,
        windows=windows(""),
        megabytes=parts.settings.limits.upload >> 20,
    )


async def take(request: Request) -> Response:
    """An upload without script."""
    form = await received(request)
    job = job_for("evaluate", options_of(form.words), targets_of(form.files))
    return RedirectResponse(f"/r/{parts_of(request).line.offer(job).id}", 303)


def show(request: Request) -> Response:
    """A job: how far it is, or what it says."""
    parts, job = parts_of(request), job_of(request, "evaluate")
    if job.is_open:
        progress = parts.line.progress(job.id)
        if progress is not None:
            name = name_of(job)
            return page(request, "running.html", id=job.id, name=name, progress=progress)
        job = job_of(request, "evaluate")
    glances = parts.jobs.glances(job.id)
    if len(glances) == 1 and not glances[0]["is_error"] and not job.told:
        return _target(request, parts, job, 0, several=False)
    return page(request, "job.html", **_job_words(request, job, glances))


def progress(request: Request) -> Response:
    """The part of the page that says how far a job is; at the end the page is loaded anew."""
    job = job_of(request, "evaluate")
    found = parts_of(request).line.progress(job.id)
    if found is None:
        return Response(headers={"hx-refresh": "true"})
    return page(request, "progress.html", id=job.id, progress=found)


def show_target(request: Request) -> Response:
    """One target of a job."""
    parts, job = parts_of(request), job_of(request, "evaluate")
    glances = parts.jobs.glances(job.id)
    number = int(request.path_params["number"])
    if number >= len(glances) or glances[number]["is_error"]:
        raise NotFound("there is no such report in this evaluation")
    return _target(request, parts, job, number, several=len(glances) > 1)


def _target(request: Request, parts: Parts, job: Job, number: int, several: bool) -> Response:
    (fields,) = parts.jobs.documents(job.id, number)
    (report,) = document_from(fields).reports
    kinds = {"compatible": "good", "incompatible": "bad", "undecided": "open"}
    words = target_words(report)
    return page(
        request,
        "target.html",
        kind=kinds[report.verdict.value],
        several=several,
        job_name=name_of(job),
        **words,
        **_links(request, job),
    )


def _job_words(request: Request, job: Job, glances: list[dict[str, Any]]) -> dict[str, Any]:
    groups = by_fate(glances)
    told = [
        f"{len(some)} {Fate(fate) if len(some) == 1 else Fate(fate).of_many}"
        for fate, some in groups
    ]
    chosen = parse_version(job.options["target_os"]) if job.options["target_os"] else None
    count = f"{len(glances)} {'target' if len(glances) == 1 else 'targets'}"
    return {
        "name": name_of(job),
        "told": job.told,
        "totals": f"{count}: {'; '.join(told)}" if told else "No answer yet",
        "groups": groups,
        "kinds": {fate.value: KINDS.get(fate.value, "open") for fate in Fate},
        "chosen": chosen.label if chosen else "the newest Windows that loads each",
        "windows": windows((chosen or NEWEST).slug),
        **_links(request, job),
    }


def _links(request: Request, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "base": f"/r/{job.id}/download",
        "link": f"{request.url.scheme}://{request.headers['host']}/r/{job.id}",
        "formats": [form.value for form in Format],
        "verify": bool(job.options.get("verify")),
    }


def download(request: Request) -> Response:
    """A job in one of the formats."""
    job = job_of(request, "evaluate")
    return rendered(parts_of(request), job, str(request.path_params["form"]))


def rendered(parts: Parts, job: Job, word: str) -> Response:
    """The report of a job in one of the formats."""
    if word not in set(Format):
        raise NotFound("there is no such format")
    return as_file(document_of(parts, job), word, f"hvci-{job.id}")


def as_file(document: Document, word: str, name: str) -> Response:
    """A document in one of the formats, to be saved."""
    if word not in set(Format):
        raise NotFound("there is no such format")
    form = Format(word)
    media, suffix = MEDIA.get(form, ("text/plain; charset=utf-8", "txt"))
    return Response(
        render(document, form).encode("utf-8", "backslashreplace"),
        media_type=media,
        headers={"content-disposition": f'attachment; filename="{name}-{form}.{suffix}"'},
    )


def document_of(parts: Parts, job: Job) -> Document:
    """Everything that a job says; only one that is done says it."""
    if job.is_open:
        refused = Refused("this is not done yet")
        refused.status, refused.kind = 409, "not-done"
        raise refused
    read = [document_from(fields) for fields in parts.jobs.documents(job.id)]
    return Document(
        tuple(report for one in read for report in one.reports),
        tuple(error for one in read for error in one.errors),
        (job.told,) if job.told else (),
        read[0].tool_version if read else Document().tool_version,
    )


async def again(request: Request) -> Response:
    """The same files for another Windows."""
    job = job_of(request, "evaluate")
    form = await form_of(request)
    parts = parts_of(request)
    if not all(parts.uploads.has(file.sha256) for one in job.targets for file in one.files):
        raise NotFound("the files of this evaluation are deleted by now; upload them again")
    new = parts.line.offer(job_for("evaluate", options_of(form.words), job.targets))
    return RedirectResponse(f"/r/{new.id}", 303)


ROUTES = [
    Route("/", start),
    Route("/evaluate", take, methods=["POST"]),
    Route("/r/{id}", show),
    Route("/r/{id}/progress", progress),
    Route("/r/{id}/again", again, methods=["POST"]),
    Route("/r/{id}/download/{form}", download),
    Route("/r/{id}/{number:number}", show_target),
]
