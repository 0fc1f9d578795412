"""One line for each finding, as compilers print them. Knows only the report."""

from __future__ import annotations

from hvci.model import Report, SourceSite
from hvci.report import overview, words
from hvci.report.document import Document
from hvci.report.identity import Named, named_findings
from hvci.report.safe import safe
from hvci.report.sentence import summary


def to_concise(document: Document) -> str:
    """One line for each finding, `place: outcome: message [rule]`; never none for a target."""
    lines: list[str] = []
    for row in overview.rows(document):
        lines += _report(row.report) if row.report else _error(row)
    lines += [f"hvci: warning: {safe(notice, 2000)}" for notice in document.notices]
    return "".join(f"{line}\n" for line in lines)


def _report(report: Report) -> list[str]:
    """The findings that nobody accepted, then what is open without one."""
    open_ones = [one for one in named_findings(report) if one.finding.suppressed is None]
    lines = [_finding(report, one) for one in open_ones if not _is_again(report, one)]
    path = safe(report.target.path)
    lines += [
        f"{path}: undecided: {reason} [{', '.join(rules)}]"
        for reason, rules in words.open_rules(report).items()
    ]
    return lines or [f"{path}: {summary(report)}"]


def _finding(report: Report, named: Named) -> str:
    finding, path = named.finding, safe(report.target.path)
    site, told = finding.site, ""
    if isinstance(site, SourceSite):
        place = f"{safe(site.path)}:{site.line}:{site.column}"
    elif site.file and site.line:
        place, told = f"{safe(site.file)}:{site.line}", f" ({path} at {site.rva:#x})"
    else:
        place = f"{path}:{site.rva:#x}"
    fix = f"; instead: {safe(finding.fix, 1000)}" if finding.fix else ""
    message = safe(finding.message, 1000)
    return f"{place}: {finding.outcome}: {message}{told}{fix} [{named.result.rule}]"


def _is_again(report: Report, named: Named) -> bool:
    """Whether a finding of sources shows a call once more that the image shows."""
    return report.image is not None and named.finding not in words.once(named.result.findings)


def _error(row: overview.Row) -> list[str]:
    kind = "note" if row.fate is overview.Fate.NOT_A_DRIVER else "error"
    return [f"{safe(row.path)}: {kind}: {safe(row.sentence, 2000)}"]
