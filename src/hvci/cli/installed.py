"""`hvci check --installed`: the drivers of a Windows folder or disk, and what to do about them.

Joins the installation with reports and with its event log; prints nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hvci.errors import HvciError, InputError
from hvci.evaluate import Options, evaluate_package
from hvci.model import Report
from hvci.report import Document, TargetError
from hvci.report.package import remedy

if TYPE_CHECKING:
    from hvci.installed.drivers import Windows

MOST_ROWS = 100
_LONGEST = 15
"""Characters of a computer's name in its registry; events have all of it."""


def look(words: Iterable[str], options: Options) -> Document:
    """What there is to say about every Windows that the words name."""
    whole = Document()
    for word in words:
        try:
            found = list(_windows(Path(word)))
            for one in found:
                whole = joined(whole, of_windows(one, options))
        except InputError as error:
            whole = joined(whole, Document(errors=(TargetError.of(word, error),)))
    return whole


def joined(one: Document, other: Document) -> Document:
    """What two documents say, in this order."""
    return Document(
        (*one.reports, *other.reports),
        (*one.errors, *other.errors),
        (*one.notices, *other.notices),
    )


def _windows(path: Path) -> Iterator[Windows]:
    from hvci.installed import disks, tree
    from hvci.installed.drivers import Windows

    if path.is_dir():
        found = tree.of_windows(path)
        if found is None:
            raise InputError(f"{path}: no Windows folder: it has no System32/config/SYSTEM")
        yield Windows(*found)
    elif path.is_file():
        for disk, folder in disks.windows_of(path):
            yield Windows(disk, folder)
    else:
        raise InputError(f"{path}: no such folder or disk image")


def of_windows(windows: Windows, options: Options) -> Document:
    """The reports of all drivers of a Windows, its state, and what to do.

    What of its registry could not be read is an error: drivers may stand there that nobody saw.
    """
    from hvci.installed.drivers import NO_DRIVER

    found = Document.of(evaluate_package(windows.drivers(), options))
    reports = found.reports
    notices = [*windows.notes, *_advice(reports), *_refused(windows, reports)]
    unread = windows.unread
    if not (reports or found.errors or unread):
        unread = [NO_DRIVER]
    missed = (TargetError.of(windows.tree.name, InputError(text)) for text in unread)
    return replace(found, errors=(*found.errors, *missed), notices=tuple(notices))


def _advice(reports: tuple[Report, ...]) -> Iterator[str]:
    """The lines that a person needs: driver, package, boot-critical or not, what to do."""
    found = [(one, advice) for one in reports if (advice := remedy(one)) is not None]
    found.sort(key=lambda pair: pair[0].package is None or pair[0].package.start != "boot")
    for report, advice in found:
        package = report.package
        name = package.service if package else ""
        service = f" (service {name})" if name else ""
        yield f"{report.target.path}{service}: {advice.command}    {advice.why}"


def _refused(windows: Windows, reports: tuple[Report, ...]) -> Iterator[str]:
    """What the event log of that Windows says of refused drivers."""
    data = None
    with contextlib.suppress(InputError):
        data = windows.events()
    if not data:
        return
    from hvci.logs import gather, refusals, to_lines

    try:
        gathered = gather([data])
    except HvciError as error:
        yield f"its event log was not read: {error}"
        return
    mine = windows.registry.computer
    if others := [name for name in gathered.computers if mine and name[:_LONGEST] != mine]:
        yield f"its event log is also of {', '.join(others)}, and this Windows is of {mine}"
    rows = refusals(gathered.seen, gathered.computer, reports, gathered.signers)
    for row in rows[:MOST_ROWS]:
        lines = [line.strip() for line in to_lines([row]) if line.strip()]
        yield "event log: " + "; ".join(lines)
    if len(rows) > MOST_ROWS:
        yield f"event log: {len(rows) - MOST_ROWS} more rows, see hvci import-log"
