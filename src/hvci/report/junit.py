"""JUnit XML: one test case per rule and target. Knows only the report."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as xml

from hvci.model import Finding, Outcome, Report, RuleResult
from hvci.report import words
from hvci.report.document import TOOL_NAME, Document, TargetError
from hvci.report.overview import fate_of_error
from hvci.report.safe import safe

_SKIPPED = (Outcome.NOT_CHECKED, Outcome.NOT_APPLICABLE)


def to_junit(document: Document) -> str:
    """The document as JUnit XML: a failure for what fails, an error for what is undecided."""
    root = xml.Element("testsuites", name=TOOL_NAME)
    for report in document.reports:
        _suite(root, report)
    for error in document.errors:
        _unreadable(root, error)
    if document.notices:
        policy = xml.SubElement(root, "testsuite", name="policy", tests="0")
        xml.SubElement(policy, "system-out").text = "\n".join(map(safe, document.notices))
    _total(root, list(root))
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, "unicode") + "\n"


def _suite(root: xml.Element, report: Report) -> None:
    suite = xml.SubElement(root, "testsuite", name=safe(report.target.path))
    for result in sorted(report.results, key=lambda result: result.rule):
        _case(suite, report, result)
    _total(suite, [suite])


def _case(suite: xml.Element, report: Report, result: RuleResult) -> None:
    name = safe(report.target.path)
    case = xml.SubElement(suite, "testcase", classname=name, name=result.rule, time="0")
    failures = words.open_findings(result, Outcome.FAIL)
    doubts = words.open_findings(result, Outcome.UNDECIDED)
    if result.rule in report.left_out:
        xml.SubElement(case, "skipped", message="left out on the command line")
        return
    if failures:
        _problem(case, "failure", result, failures + doubts)
    elif doubts or result.outcome is Outcome.UNDECIDED:
        _problem(case, "error", result, doubts)
    elif result.outcome in _SKIPPED:
        xml.SubElement(case, "skipped", message=safe(result.reason, 1000))
    others = [f for f in result.findings if f.suppressed or f.outcome is Outcome.NOTE]
    if others:
        xml.SubElement(case, "system-out").text = "\n".join(map(_line, others))


def _problem(case: xml.Element, kind: str, result: RuleResult, findings: Iterable[Finding]) -> None:
    lines = [_line(finding) for finding in findings]
    title = words.explanation(result.rule).title
    message = f"{title} ({len(lines)} places)" if lines else safe(result.reason, 1000)
    problem = xml.SubElement(case, kind, type=result.rule, message=message)
    problem.text = "\n".join(lines) or safe(result.reason, 1000)


def _line(finding: Finding) -> str:
    fix = f" -> {safe(finding.fix, 1000)}" if finding.fix else ""
    accepted = f" [{words.suppression(finding.suppressed)}]" if finding.suppressed else ""
    return f"{words.place(finding.site)}: {safe(finding.message, 1000)}{fix}{accepted}"


def _unreadable(root: xml.Element, error: TargetError) -> None:
    name = safe(error.path)
    suite = xml.SubElement(root, "testsuite", name=name)
    case = xml.SubElement(suite, "testcase", classname=name, name="read", time="0")
    said = f"{fate_of_error(error)}: {safe(error.message, 1000)}"
    if not error.applies:
        xml.SubElement(case, "skipped", message=said)
        _total(suite, [suite])
        return
    problem = xml.SubElement(case, "error", type=error.kind, message=said)
    problem.text = safe(error.advice, 1000)
    _total(suite, [suite])


def _total(element: xml.Element, suites: list[xml.Element]) -> None:
    counts = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counts.items():
        element.set(attribute, str(sum(len(suite.findall(f".//{tag}")) for suite in suites)))
