"""The same as HTTP endpoints for programs: JSON in and out, usable from curl."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hvci import __version__
from hvci.report.verifier_settings import query_lines
from hvci.verifier.options import FLAGS
from hvci.web.answers import answer
from hvci.web.asking import job_for, name_of, options_of, received, received_raw, targets_of
from hvci.web.errors import Forbidden, Refused
from hvci.web.evaluate import rendered
from hvci.web.guard import PLAIN, SAFE
from hvci.web.jobs import Job
from hvci.web.openapi import description
from hvci.web.parts_of import Parts, job_of, parts_of
from hvci.web.shown import windows
from hvci.web.wizard import FLAG_WORDS, asked_run, seen

Handler = Callable[[Request], Any]


def describe(request: Request) -> Response:
    """What there is to ask, as OpenAPI."""
    return answer(description())


def to_description(request: Request) -> Response:
    """People find the description under a short name."""
    return RedirectResponse("/api/openapi.json", 307)


def about(request: Request) -> Response:
    """Who answers, and how much it takes."""
    parts = parts_of(request)
    limits = parts.settings.limits
    return answer(
        {
            "tool": "hvci",
            "version": __version__,
            "windows": [slug for slug, _, _ in windows("")],
            "limits": {
                "upload_bytes": limits.upload,
                "files": limits.files,
                "waiting": limits.waiting,
                "seconds_a_target": limits.seconds,
                "days_kept": round(limits.age / 86400, 3),
            },
            "waiting": parts.line.length,
            "fleet": bool(parts.settings.database),
        }
    )


async def create(request: Request) -> Response:
    """Take an upload."""
    form = await received(request)
    job = job_for("evaluate", options_of(form.words), targets_of(form.files))
    return _accepted(request, job)


async def put(request: Request) -> Response:
    """Take one file as the whole body."""
    options = options_of(dict(request.query_params))
    kept = await received_raw(request, request.query_params.get("name", "") or "unnamed")
    return _accepted(request, job_for("evaluate", options, targets_of([kept])))


def _accepted(request: Request, job: Job) -> Response:
    parts = parts_of(request)
    kept = parts.line.offer(job)
    return answer(job_fields(parts, kept), 202, {"location": f"/api/evaluations/{kept.id}"})


def show(request: Request) -> Response:
    """How far an evaluation is, and what it says in short."""
    return answer(job_fields(parts_of(request), job_of(request, "evaluate")))


def job_fields(parts: Parts, job: Job) -> dict[str, Any]:
    """A job as JSON."""
    progress = parts.line.progress(job.id) if job.is_open else None
    if job.is_open and progress is None:
        job = parts.jobs.find(job.id) or job  # it ended meanwhile
    done = 0 if job.is_open else len(job.targets)
    return {
        "id": job.id,
        "state": job.state,
        "name": name_of(job),
        "url": f"/r/{job.id}",
        "told": job.told,
        "target_os": job.options["target_os"] or None,
        "verify": job.options["verify"],
        "targets": len(job.targets),
        "done": progress.done if progress else done,
        "ahead": progress.ahead if progress else 0,
        "results": [_glance(one) for one in parts.jobs.glances(job.id)],
    }


def _glance(one: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("path", "fate", "sentence", "verdict", "sha256")}


def report(request: Request) -> Response:
    """The whole report in one of the formats."""
    job = job_of(request, "evaluate")
    return rendered(parts_of(request), job, str(request.path_params["form"]))


def delete(request: Request) -> Response:
    """Forget an evaluation and its files."""
    parts, job = parts_of(request), job_of(request, "evaluate")
    if job.is_open and parts.line.progress(job.id) is not None:
        refused = Refused("this is not done yet")
        refused.status, refused.kind = 409, "not-done"
        raise refused
    parts.jobs.delete(job.id)
    for target in job.targets:
        for file in target.files:
            if file.sha256 not in parts.line.needed():
                parts.uploads.forget(file.sha256)
    return Response(status_code=204)


def settings(request: Request) -> Response:
    """What is verified, and with which options."""
    found = parts_of(request).verified.read()
    drivers = [{"name": one.name, "sha256": one.sha256} for one in found.drivers]
    names = [name for bit, name in FLAGS.items() if found.flags & bit]
    return answer({"flags": f"{found.flags:#010x}", "checks": names, "drivers": drivers})


def reset(request: Request) -> Response:
    """Delete the settings."""
    return answer({"removed": parts_of(request).verified.reset()})


def query(request: Request) -> Response:
    """What `verifier /query` prints."""
    text = "\n".join(query_lines(parts_of(request).verified.read()))
    return PlainTextResponse(text + "\n")


async def create_run(request: Request) -> Response:
    """Verify drivers at once; the settings are theirs when it is done."""
    job = await asked_run(request, FLAG_WORDS)
    fields = run_fields(parts_of(request), job)
    return answer(fields, 202, {"location": f"/api/verifier/runs/{job.id}"})


def show_run(request: Request) -> Response:
    """How far a run is, and what was seen of each driver."""
    return answer(run_fields(parts_of(request), job_of(request, "verify")))


def run_fields(parts: Parts, job: Job) -> dict[str, Any]:
    """A run as JSON."""
    progress = parts.line.progress(job.id)
    job = parts.jobs.find(job.id) or job
    wanted = ("name", "proof", "sentence", "exit_code", "block", "analyses")
    return {
        "id": job.id,
        "state": job.state,
        "url": f"/verifier/run/{job.id}",
        "told": job.told,
        "flags": f"{job.options['flags']:#010x}",
        "drivers": len(job.targets),
        "done": progress.done if progress else len(job.targets),
        "results": [{name: one[name] for name in wanted} for one in seen(parts.jobs, job)],
    }


def _route(path: str, **handlers: Handler) -> Route:
    """One path with a handler for each method, so that a wrong method is told all of them.

    A change is made only for who can prove not to be a page of another origin.
    """

    async def handle(request: Request) -> Response:
        if request.method not in SAFE and not request.state.trusted:
            raise Forbidden(f"a change needs the header {PLAIN}, with any value")
        handler = handlers["GET" if request.method == "HEAD" else request.method]
        if iscoroutinefunction(handler):
            found: Response = await handler(request)
        else:
            found = await run_in_threadpool(handler, request)
        return found

    return Route(path, handle, methods=list(handlers))


ROUTES = [
    _route("/api/verifier/settings", GET=settings, DELETE=reset),
    Route("/api/verifier/query", query),
    _route("/api/verifier/runs", POST=create_run),
    Route("/api/verifier/runs/{id}", show_run),
    Route("/api", to_description),
    Route("/api/openapi.json", describe),
    Route("/api/about", about),
    _route("/api/evaluations", POST=create, PUT=put),
    _route("/api/evaluations/{id}", GET=show, DELETE=delete),
    Route("/api/evaluations/{id}/report/{form}", report),
]
