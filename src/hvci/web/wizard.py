"""Driver Verifier Manager's pages over the emulated one: the same words, the same store.

What `hvci verifier` sets is shown here and the other way round. No driver is loaded and no computer
restarts: a run in the emulated machine takes the place of both.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hvci.errors import UsageError
from hvci.model.conclusion import part, rows, whole
from hvci.report.verifier_settings import query_lines, settings_lines
from hvci.verifier.block import counter_lines, statistics_lines
from hvci.verifier.options import CODE_INTEGRITY, FLAGS, STANDARD, parse
from hvci.verifier.options import Request as Options
from hvci.verifier.settings import VerifiedDriver
from hvci.web.answers import page
from hvci.web.asking import job_for, received, targets_of
from hvci.web.errors import Refused
from hvci.web.jobs import Job, Jobs, Target
from hvci.web.parts_of import Parts, form_of, job_of, parts_of
from hvci.web.uploads import Kept

TASKS = (
    ("standard", "Create standard settings", "The usual choice; add code integrity checks to it."),
    ("custom", "Create custom settings (for code developers)", "Choose the checks one by one."),
    ("delete", "Delete existing settings", "Forget options, drivers and statistics."),
    ("display", "Display existing settings", "What is set, as verifier /querysettings prints it."),
    (
        "query",
        "Display information about the currently verified drivers",
        "Counters of the last run, as verifier /query prints them.",
    ),
)
_LEADS = {
    "standard": f"/verifier/settings?flag={STANDARD:#x}",
    "custom": "/verifier/settings",
    "delete": "/verifier/delete",
    "display": "/verifier/display",
    "query": "/verifier/query",
}
RECENT = 40
FLAG_WORDS = (f"{CODE_INTEGRITY:#010x}", f"{CODE_INTEGRITY | STANDARD:#010x}")
"""What programs may say: code integrity checks alone, or with the standard choice."""


def start(request: Request) -> Response:
    """The first page: what to do."""
    return page(request, "verifier.html", tasks=TASKS)


def lead(request: Request) -> Response:
    """Next."""
    task = request.query_params.get("task", "")
    return RedirectResponse(_LEADS.get(task, "/verifier"), 303)


def choose_checks(request: Request) -> Response:
    """The second page: which checks."""
    return _checks(request, flags_of(request.query_params.getlist("flag")), "")


def _checks(request: Request, flags: int, wrong: str) -> Response:
    options = [
        (f"{bit:#010x}", name, bool(flags & bit), bit == CODE_INTEGRITY)
        for bit, name in sorted(FLAGS.items(), key=lambda one: one[0] != CODE_INTEGRITY)
    ]
    return page(request, "verifier_checks.html", options=options, wrong=wrong)


def flags_of(words: Sequence[str]) -> int:
    """The flags that boxes name; what is no number sets none."""
    flags = 0
    for word in words:
        try:
            flags |= int(word, 0) & 0xFFFF_FFFF
        except ValueError:
            continue
    return flags


def choose_drivers(request: Request) -> Response:
    """The third page: which drivers."""
    flags = flags_of(request.query_params.getlist("flag"))
    try:
        asked = options_of(flags, ("any.sys",))
    except UsageError as error:
        return _checks(request, flags, str(error))
    parts = parts_of(request)
    known = [(one.sha256, one.name) for one in known_drivers(parts)]
    return page(
        request,
        "verifier_drivers.html",
        flags=f"{flags:#010x}",
        names=[name for bit, name in FLAGS.items() if flags & bit],
        ignored=asked.ignored,
        known=known,
    )


def options_of(flags: int, drivers: Sequence[str]) -> Options:
    """What verifier.exe would make of it; raises `UsageError` as it does."""
    return parse(("/flags", f"{flags:#x}", "/driver", *(f"x{name}" for name in drivers)))


def known_drivers(parts: Parts) -> list[Kept]:
    """Drivers that were uploaded before and are still there, each content once."""
    jobs = (*parts.jobs.newest("evaluate", RECENT), *parts.jobs.newest("verify", RECENT))
    found: dict[str, Kept] = {}
    for job in jobs:
        for target in job.targets:
            if not target.is_folder and target.name.lower().endswith(".sys"):
                (file,) = target.files
                if file.sha256 not in found and parts.uploads.has(file.sha256):
                    found[file.sha256] = file
    return list(found.values())


async def run(request: Request) -> Response:
    """Finish: verify the drivers at once."""
    return RedirectResponse(f"/verifier/run/{(await asked_run(request)).id}", 303)


async def asked_run(request: Request, words: Sequence[str] = ()) -> Job:
    """The run that a form asks for, in the line."""
    form = await received(request, needs_files=False)
    parts = parts_of(request)
    if words and form.words.get("flags", words[0]) not in words:
        raise Refused(f"flags are one of {', '.join(words)}")
    chosen = set(form.lists.get("known", []))
    files = [*form.files, *(one for one in known_drivers(parts) if one.sha256 in chosen)]
    if not files:
        raise Refused("name the drivers: choose files, or drivers that were uploaded before")
    flags = flags_of(form.lists.get("flags", [])) or CODE_INTEGRITY
    try:
        options_of(flags, [file.name for file in files])
    except UsageError as error:
        raise Refused(str(error)) from error
    targets = tuple(Target(one.name, one.files) for one in _each(files))
    log_only = form.words.get("log_only", "") == "yes"
    options = {"flags": flags, "log_only": log_only, "run": secrets.token_hex(8)}
    return parts.line.offer(job_for("verify", options, targets))


def _each(files: Sequence[Kept]) -> list[Target]:
    return [target for file in files for target in targets_of([file])]


def keep_settings(parts: Parts, job: Job) -> None:
    """What a run that is done leaves in the store of the verifier; called once for each job."""
    if job.kind != "verify":
        return
    drivers = []
    glances = parts.jobs.glances(job.id)
    for number, (glance, target) in enumerate(zip(glances, job.targets, strict=True)):
        block = parts.jobs.documents(job.id, number)[0].get("block")
        if block is not None:
            sha256 = target.files[0].sha256
            drivers.append(VerifiedDriver(glance["name"], glance["name"], sha256, block))
    if drivers:
        parts.verified.write(int(job.options["flags"]), drivers)


def show_run(request: Request) -> Response:
    """A run: the drivers that wait, the one that runs, and what was seen of the others."""
    return page(
        request, "verifier_run.html", **_run_words(parts_of(request), job_of(request, "verify"))
    )


def show_progress(request: Request) -> Response:
    """The same, as the part of the page that changes."""
    words = _run_words(parts_of(request), job_of(request, "verify"))
    if words["progress"] is None:
        return Response(headers={"hx-refresh": "true"})
    return page(request, "verifier_seen.html", **words)


def _run_words(parts: Parts, job: Job) -> dict[str, Any]:
    progress = parts.line.progress(job.id)
    flags = int(job.options["flags"])
    return {
        "id": job.id,
        "told": job.told,
        "progress": progress,
        "total": len(job.targets),
        "flags": f"{flags:#010x}",
        "ignored": options_of(flags, ("any.sys",)).ignored,
        "log_only": job.options["log_only"],
        "seen": seen(parts.jobs, job),
    }


def seen(jobs: Jobs, job: Job) -> list[dict[str, Any]]:
    """What was seen of each driver that is done."""
    found = []
    for number, glance in enumerate(jobs.glances(job.id)):
        (document,) = jobs.documents(job.id, number)
        block = document.get("block")
        found.append({**glance, **(_seen(glance["name"], block) if block else {"block": None})})
        found[-1]["analyses"] = document.get("analyses", [])
    return found


def _seen(name: str, block: dict[str, Any]) -> dict[str, Any]:
    coverage = part(block, "coverage")
    return {
        "block": block,
        "entries": rows(block, "entry_points"),
        "stopped": {str(one.get("entry")): str(one.get("why")) for one in rows(block, "stopped")},
        "blocks": (whole(coverage, "blocks"), whole(coverage, "blocks_total")),
        "sites": (whole(coverage, "call_sites"), whole(coverage, "call_sites_total")),
        "natural": whole(coverage, "call_sites_natural"),
        "counters": [
            tuple(cell.strip() for cell in line.rpartition(":")[::2])
            for line in counter_lines(part(block, "counters"))
        ],
        "lines": statistics_lines(name, block),
    }


def display(request: Request) -> Response:
    """Display existing settings."""
    settings = parts_of(request).verified.read()
    return page(
        request,
        "verifier_screen.html",
        title="Existing settings",
        command="verifier /querysettings",
        lines=settings_lines(settings),
    )


def query(request: Request) -> Response:
    """Display information about the currently verified drivers."""
    settings = parts_of(request).verified.read()
    return page(
        request,
        "verifier_screen.html",
        title="Currently verified drivers",
        command="verifier /query",
        lines=query_lines(settings),
    )


def ask_delete(request: Request) -> Response:
    """Delete existing settings: what would go."""
    settings = parts_of(request).verified.read()
    names = [driver.name for driver in settings.drivers]
    return page(request, "verifier_delete.html", names=names, had=None)


async def delete(request: Request) -> Response:
    """Delete existing settings."""
    await form_of(request)
    had = parts_of(request).verified.reset()
    return page(request, "verifier_delete.html", names=[], had=had)


ROUTES = [
    Route("/verifier", start),
    Route("/verifier/next", lead),
    Route("/verifier/settings", choose_checks),
    Route("/verifier/drivers", choose_drivers),
    Route("/verifier/run", run, methods=["POST"]),
    Route("/verifier/run/{id}", show_run),
    Route("/verifier/run/{id}/progress", show_progress),
    Route("/verifier/display", display),
    Route("/verifier/query", query),
    Route("/verifier/delete", ask_delete, methods=["GET"]),
    Route("/verifier/delete", delete, methods=["POST"]),
]
