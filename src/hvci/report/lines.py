"""Outputs of one line per finding: CSV, MSBuild and GitHub annotations, and the readiness log.

Knows only the report; each output says which characters its reader would take for a command.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from hvci.model import Counter, Finding, ImageSite, Outcome, Report, SourceSite
from hvci.report import lists, overview, trust, words
from hvci.report.document import Document
from hvci.report.identity import Named, named_findings, short_name
from hvci.report.safe import safe
from hvci.report.sentence import summary, told_answers
from hvci.rules import RULES

_COLUMNS = (
    "target",
    "sha256",
    "machine",
    "verdict",
    "loads",
    "readiness",
    "runs",
    "gate",
    "summary",
    "rule",
    "outcome",
    "subcode",
    "ddi",
    "rva",
    "section",
    "function",
    "file",
    "line",
    "column",
    "message",
    "fix",
    "confidence",
    "count",
    "suppressed",
    "fingerprint",
    "signed",
    "driver_policy",
    "blocklisted",
    "listed",
    "image_check",
)
_VERDICTS = {
    overview.Fate.NOT_A_DRIVER: "not a driver",
    overview.Fate.NOT_TRIED: "not evaluated",
}
"""What stands in the verdict column where there is no report."""
_FORMULA = ("=", "+", "-", "@")


def code(rule: str) -> str:
    """The number of a rule, such as HVCI2000; a rule of another version is HVCI2999."""
    return f"HVCI{RULES[rule].number if rule in RULES else 2999}"


# ---------------------------------------------------------------------- CSV


def to_csv(document: Document) -> str:
    """One row for each finding and each rule that is open without one, but never none.

    A target that has none gets one all the same, and so does one that could not be read.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for report in document.reports:
        target = _target_cells(report)
        rows = [_row(report, named) for named in named_findings(report)]
        rows += [
            {"rule": rule, "outcome": Outcome.UNDECIDED, "message": reason, "count": 0}
            for reason, rules in words.open_rules(report).items()
            for rule in rules
        ]
        for row in rows or [{}]:
            writer.writerow(_cells({**target, **row}))
    for error in document.errors:
        fate = overview.fate_of_error(error)
        cells = {
            "target": error.path,
            "verdict": _VERDICTS.get(fate, "unreadable"),
            "summary": f"{fate}: {error.message}",
            "message": error.message,
        }
        writer.writerow(_cells(cells))
    return out.getvalue()


def _target_cells(report: Report) -> dict[str, object]:
    target = report.target
    answers = {name: answer or "" for name, answer in told_answers(report).items()}
    return {
        "target": target.path,
        "sha256": target.sha256,
        "machine": target.machine or target.kind,
        "verdict": report.verdict,
        **answers,
        "gate": report.gate,
        "summary": summary(report),
        **trust.words(report),
        "blocklisted": report.blocklisted,
        "listed": lists.matched(report),
    }


def _row(report: Report, named: Named) -> dict[str, object]:
    result, finding = named.result, named.finding
    accepted = words.suppression(finding.suppressed) if finding.suppressed else ""
    return {
        "rule": result.rule,
        "outcome": finding.outcome,
        "subcode": "" if result.subcode is None else f"{result.subcode:#x}",
        "ddi": finding.ddi,
        **_site_cells(finding),
        "message": finding.message,
        "fix": finding.fix,
        "confidence": finding.confidence,
        "count": report.counted(named.result, finding),
        "suppressed": accepted,
        "fingerprint": named.fingerprint,
    }


def _site_cells(finding: Finding) -> dict[str, object]:
    site = finding.site
    if isinstance(site, SourceSite):
        cells: dict[str, object] = {"file": site.path, "line": site.line, "column": site.column}
    else:
        cells = {"rva": f"{site.rva:#x}", "section": site.section}
        cells |= {"file": site.file, "line": site.line}
    return {**cells, "function": site.function}


def _cells(row: Mapping[str, object]) -> list[str]:
    return [_cell(row.get(column)) for column in _COLUMNS]


def _cell(value: object) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = "" if value is None else safe(str(value), 2000)
    return f"'{text}" if text.startswith(_FORMULA) else text


# ---------------------------------------------------------------------- build logs

_LEVELS = MappingProxyType({Outcome.FAIL: "warning", Outcome.UNDECIDED: "warning"})
_ANNOTATIONS = MappingProxyType(
    {Outcome.FAIL: "error", Outcome.UNDECIDED: "warning", Outcome.NOTE: "notice"}
)


def to_msvs(document: Document) -> str:
    """Lines that Visual Studio and MSBuild list as warnings; what is accepted is a mere message."""
    lines = [
        f"{_origin(report, named.finding)}: {level} {_said(named)}"
        for report, named in _named(document)
        if (level := _level(named))
    ]
    lines += [
        f"{safe(report.target.path)} : warning {code(rules[0])}: {_undecided(reason, rules)}"
        for report, reason, rules in _open(document)
    ]
    lines += [f"hvci : warning HVCI0002: {safe(notice, 2000)}" for notice in document.notices]
    lines += [
        f"{safe(error.path)} : {'error' if error.applies else 'message'} HVCI0004: "
        f"{overview.fate_of_error(error)}: {safe(error.message, 2000)}"
        for error in document.errors
    ]
    return "".join(f"{line}\n" for line in lines)


def _level(named: Named) -> str:
    """The category that MSBuild knows; empty for notes."""
    level = _LEVELS.get(named.finding.outcome, "")
    return "message" if level and named.finding.suppressed else level


def _named(document: Document) -> Iterator[tuple[Report, Named]]:
    for report in document.reports:
        for named in named_findings(report):
            if named.result.rule not in report.left_out:
                yield report, named


def _open(document: Document) -> Iterator[tuple[Report, str, list[str]]]:
    for report in document.reports:
        for reason, rules in words.open_rules(report).items():
            yield report, reason, rules


def _undecided(reason: str, rules: list[str]) -> str:
    return f"undecided: {reason} [{', '.join(rules)}]"


def _origin(report: Report, finding: Finding) -> str:
    file, line, column = source_position(finding)
    if file is None:
        return f"{safe(report.target.path)} "
    return f"{safe(file)}({line},{column})" if line else f"{safe(file)} "


def source_position(finding: Finding) -> tuple[str | None, int, int]:
    """File, line and column of a finding; no file when the source is not known."""
    site = finding.site
    if isinstance(site, ImageSite):
        return site.file, site.line or 0, 1
    return site.path, site.line, site.column


def _said(named: Named) -> str:
    """One sentence with the place in the image and what to write instead."""
    finding = named.finding
    site = finding.site
    place = f" at {words.place(site)}" if isinstance(site, ImageSite) else ""
    fix = f"; instead: {finding.fix}" if finding.fix else ""
    text = f"{finding.message}{place}{fix}"
    if finding.outcome is Outcome.UNDECIDED:
        text = f"undecided: {text}"
    if finding.suppressed:
        text = f"{words.suppression(finding.suppressed)}; {text}"
    return f"{code(named.result.rule)}: {safe(text, 2000)}"


def to_github(document: Document) -> str:
    """Workflow commands that GitHub shows as annotations in the changed files."""
    lines = [_annotation(report, named) for report, named in _named(document)]
    lines += [
        f"::warning file={_property(report.target.path)},title={rules[0]}::"
        f"{_data(f'{code(rules[0])}: {_undecided(reason, rules)}')}"
        for report, reason, rules in _open(document)
    ]
    lines += [f"::warning title=policy::{_data(notice)}" for notice in document.notices]
    lines += [
        f"::{'error' if error.applies else 'notice'} file={_property(error.path)}::"
        f"{_data(f'{overview.fate_of_error(error)}: {error.message}')}"
        for error in document.errors
    ]
    return "".join(f"{line}\n" for line in lines)


def _annotation(report: Report, named: Named) -> str:
    file, line, column = source_position(named.finding)
    properties = {"file": file or report.target.path, "title": named.result.rule}
    if line:
        properties |= {"line": str(line), "col": str(column)}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    finding = named.finding
    kind = "notice" if finding.suppressed else _ANNOTATIONS[finding.outcome]
    return f"::{kind} {listed}::{_data(_said(named))}"


def _data(text: str) -> str:
    return safe(text, 4000).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# ---------------------------------------------------------------------- readiness


def to_readiness(document: Document) -> str:
    """The `!verifier` counters of each driver, then the list of the readiness tool."""
    lines: list[str] = []
    for report in document.reports:
        lines += [f"Module: {safe(short_name(report.target.path))}", *_counter_lines(report), ""]
    failing = [report for report in document.reports if any(report.counters.values())]
    if failing:
        lines.append("InCompatible HVCI Kernel Driver Modules found")
    for report in failing:
        lines.append(f"Module: {safe(short_name(report.target.path))}")
        lines += [f"\tReason: {line.lower()}" for line in _counter_lines(report, zeros=False)]
    lines += [
        f"Module: {safe(error.path)} {overview.fate_of_error(error)}" for error in document.errors
    ]
    return "".join(f"{line}\n" for line in lines)


def _counter_lines(report: Report, *, zeros: bool = True) -> list[str]:
    counters: dict[Counter, int] = report.counters
    width = 36
    return [
        f"{words.counter_label(counter):<{width}}{count}"
        for counter, count in counters.items()
        if zeros or count
    ]
