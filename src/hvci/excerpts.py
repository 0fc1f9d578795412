"""Adds to the findings of a report the code that leads to them, for a person to read.

Decides nothing; where there is no code to show, a finding stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from hvci.model import Finding, Origin, Report, SourceSite

BEFORE = 3
"""Source lines that are shown above a place."""
LONGEST = 200
"""Characters that are shown of one source line."""


def with_excerpts(report: Report, data: bytes = b"") -> Report:
    """The report with instructions or source lines; `data` is the image, if it is one."""
    read_lines = cache(_lines)

    def excerpt(finding: Finding) -> tuple[str, ...]:
        if isinstance(finding.site, SourceSite):
            return _source(finding.site, read_lines(finding.site.path))
        if report.image is None or finding.origin is Origin.IMAGE:
            return ()
        from hvci.binary.listing import listing

        return listing(data, report.image, finding.site, finding.ddi or "")

    results = (
        replace(result, findings=tuple(replace(f, excerpt=excerpt(f)) for f in result.findings))
        for result in report.results
    )
    return replace(report, results=tuple(results))


def _lines(path: str) -> tuple[str, ...]:
    """The lines of a text file; none when it cannot be read any more, or is no text."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError):
        return ()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in data:
        return ()
    text = data.decode("utf-16" if wide else "utf-8-sig", "replace")
    return tuple(text.splitlines())


def _source(site: SourceSite, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Lines with their numbers; the last one is the line of the place."""
    first = max(site.line - BEFORE, 1)
    shown = lines[first - 1 : site.line] if site.line <= len(lines) else ()
    return tuple(
        f"{number}: {line.expandtabs(4)[:LONGEST]}".rstrip()
        for number, line in enumerate(shown, first)
    )
