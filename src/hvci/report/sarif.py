"""SARIF 2.1.0: every rule's outcome for every target, for code scanning and result viewers.

Knows the report; `sarif_tool` knows the rules. `alerts_only` makes the log that GitHub's code
scanning takes: it shows every result as an alert, so what passes must stay out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from hvci.model import (
    Finding,
    Image,
    ImageSite,
    Outcome,
    Report,
    RuleResult,
    Site,
    SourceSite,
)
from hvci.report import lists, sarif_tool, trust, words
from hvci.report.document import Document
from hvci.report.encode import laid_out
from hvci.report.identity import Named, digest_for, named_findings, short_name
from hvci.report.sentence import summary, told_answers
from hvci.rules import RULES

Json = dict[str, Any]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 25_000
"""GitHub refuses a run with more; the rest is announced as a notification."""
_KINDS = MappingProxyType(
    {
        Outcome.FAIL: "fail",
        Outcome.UNDECIDED: "open",
        Outcome.NOTE: "informational",
        Outcome.NOT_CHECKED: "open",
        Outcome.PASS: "pass",
        Outcome.NOT_APPLICABLE: "notApplicable",
    }
)
_ALERT_LEVELS = MappingProxyType({Outcome.UNDECIDED: "warning", Outcome.NOTE: "note"})


def to_sarif(document: Document, *, alerts_only: bool = False) -> str:
    """The document as SARIF text."""
    results: list[Json] = []
    for index, report in enumerate(document.reports):
        results += _results(report, index, alerts_only)
    left_out = len(results) - MOST_RESULTS
    run = {
        "tool": {"driver": sarif_tool.driver(document.tool_version)},
        "taxonomies": sarif_tool.taxonomies(),
        "columnKind": "utf16CodeUnits",
        "artifacts": [_artifact(report) for report in document.reports],
        "invocations": [_invocation(document, left_out)],
        "results": results[:MOST_RESULTS],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return laid_out(log)


@lru_cache(maxsize=64)
def uri(path: str) -> str:
    """A path of any system as a URI reference; nothing of a hostile name survives unquoted."""
    slashed = path.replace("\\", "/")
    quoted = quote(slashed.encode("utf-8", "surrogatepass"), safe="/")
    if slashed.startswith("/"):
        return f"file://{quoted}"
    return f"file:///{quoted.replace('%3A', ':', 1)}" if slashed[1:3] == ":/" else quoted


def _artifact(report: Report) -> Json:
    target = report.target
    counters = {str(counter): count for counter, count in report.counters.items()}
    artifact: Json = {
        "location": {"uri": uri(target.path)},
        "length": target.size_bytes,
        "roles": ["analysisTarget"],
        "properties": {
            "verdict": report.verdict,
            "summary": summary(report),
            "gate": report.gate,
            "answers": told_answers(report),
            "counters": counters,
            "targetOs": report.target_os.slug,
            **trust.words(report),
            **({"listed": lists.matched(report)} if report.lists else {}),
            **({} if report.blocklisted is None else {"blocklisted": report.blocklisted}),
        },
    }
    if target.sha256:
        artifact["hashes"] = {"sha-256": target.sha256}
    return artifact


def _invocation(document: Document, left_out: int) -> Json:
    notes = [
        {
            "level": "error" if error.applies else "note",
            "descriptor": {"id": error.kind},
            "message": {"text": f"{error.path}: {error.message}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(error.path)}}}],
        }
        for error in document.errors
    ]
    for index, report in enumerate(document.reports):
        notes += [
            {"level": "note", "message": {"text": limit.reason}, "locations": [location]}
            for limit in report.limits
            for location in [_location(report, index, limit.site)]
        ]
    notes += [{"level": "warning", "message": {"text": text}} for text in document.notices]
    if left_out > 0:
        text = f"{left_out} more results are not listed"
        notes.append({"level": "warning", "message": {"text": text}})
    return {"executionSuccessful": not document.error_code, "toolExecutionNotifications": notes}


def _results(report: Report, index: int, alerts_only: bool) -> Iterator[Json]:
    for named in named_findings(report):
        result = _finding(report, index, named)
        yield _as_alert(result, named) if alerts_only else result
    if not alerts_only:
        for rule_result in sorted(report.results, key=lambda r: r.rule):
            if not rule_result.findings or rule_result.outcome is Outcome.NOT_CHECKED:
                yield _whole_rule(report, index, rule_result)


def _rule_fields(rule: str) -> Json:
    index = sarif_tool.rule_indexes().get(rule)
    return {"ruleId": rule} if index is None else {"ruleId": rule, "ruleIndex": index}


def _whole_rule(report: Report, index: int, result: RuleResult) -> Json:
    """The outcome of a rule that found nothing."""
    title = words.explanation(result.rule).title
    text = f"{result.outcome.replace('_', ' ')}: {result.reason or title}"
    return {
        **_rule_fields(result.rule),
        "kind": _KINDS[result.outcome],
        "level": "none",
        "message": {"text": text},
        "locations": [_location(report, index, None)],
    }


def _finding(report: Report, index: int, named: Named) -> Json:
    finding = named.finding
    failed = finding.outcome is Outcome.FAIL
    level = sarif_tool.level_of(RULES.get(named.result.rule)) if failed else "none"
    digest = digest_for(report, named.fingerprint)
    result: Json = {
        **_rule_fields(named.result.rule),
        "kind": _KINDS[finding.outcome],
        "level": level,
        "message": {"text": _message(finding)},
        "locations": [_location(report, index, finding.site)],
        "partialFingerprints": {"hvci/v1": digest, "primaryLocationLineHash": f"{digest[:16]}:1"},
        "properties": {
            "confidence": finding.confidence,
            "origin": finding.origin,
            "excerpt": list(finding.excerpt),
        },
    }
    if related := _source_of(finding.site):
        result["relatedLocations"] = [related]
    if taxa := sarif_tool.ddi_taxa(finding.ddi):
        result["taxa"] = taxa
    if finding.edits:
        result["fixes"] = [_fix(finding)]
    if finding.suppressed:
        result["suppressions"] = [_suppression(finding)]
    return result


def _fix(finding: Finding) -> Json:
    """The edits of a finding, which belong together."""
    changes: dict[str, list[Json]] = {}
    for edit in finding.edits:
        region = {
            "startLine": edit.line,
            "startColumn": edit.column,
            "endLine": edit.line,
            "endColumn": edit.end_column,
        }
        replacement = {"deletedRegion": region, "insertedContent": {"text": edit.new}}
        changes.setdefault(edit.path, []).append(replacement)
    levels = sorted({edit.level.value for edit in finding.edits})
    return {
        "description": {
            "text": f"hvci fix --level {levels[0]}: {finding.fix or 'ask for no executable memory'}"
        },
        "artifactChanges": [
            {"artifactLocation": {"uri": uri(path)}, "replacements": replacements}
            for path, replacements in changes.items()
        ],
    }


def _message(finding: Finding) -> str:
    text = finding.message or finding.outcome.value
    return f"{text}. Instead: {finding.fix}" if finding.fix else text


def _as_alert(result: Json, named: Named) -> Json:
    """An undecided finding or a note in the form that code scanning shows."""
    alert = {key: value for key, value in result.items() if key != "kind"}
    alert["level"] = _ALERT_LEVELS.get(named.finding.outcome, result["level"])
    if "relatedLocations" in alert:
        alert["locations"], alert["relatedLocations"] = (
            alert["relatedLocations"],
            alert["locations"],
        )
    for location in alert["locations"]:
        location["physicalLocation"].setdefault("region", {}).setdefault("startLine", 1)
    return alert


def _suppression(finding: Finding) -> Json:
    accepted = finding.suppressed
    assert accepted is not None
    in_source = isinstance(finding.site, SourceSite) and "toml" not in accepted.by
    return {
        "kind": "inSource" if in_source else "external",
        "status": "accepted",
        "justification": accepted.reason,
        "properties": {"by": accepted.by, "owner": accepted.owner, "expires": accepted.expires},
    }


def _location(report: Report, index: int, site: Site | None) -> Json:
    """Where something is: a region of a text file, or an address and an offset of an image."""
    if isinstance(site, SourceSite):
        return _source(site.path, site.line, site.column, site.function)
    artifact = {"uri": uri(report.target.path), "index": index}
    location: Json = {"physicalLocation": {"artifactLocation": artifact}}
    if site is None:
        return location
    physical = location["physicalLocation"]
    physical["address"] = _address(report, site)
    if (offset := _file_offset(report.image, site.rva)) is not None:
        physical["region"] = {"byteOffset": offset, "byteLength": 1}
    location["logicalLocations"] = list(_logical(report, site))
    return location


def _address(report: Report, site: ImageSite) -> Json:
    address: Json = {"relativeAddress": site.rva, "kind": "instruction"}
    if report.image is not None:
        address["absoluteAddress"] = report.image.image_base + site.rva
    if site.section:
        address["fullyQualifiedName"] = f"{site.section}+{site.rva:#x}"
    return address


def _file_offset(image: Image | None, rva: int) -> int | None:
    section = image.section_at(rva) if image else None
    inside = section is not None and rva - section.rva < section.raw_size
    return section.raw_offset + rva - section.rva if section and inside else None


def _logical(report: Report, site: ImageSite) -> Iterator[Json]:
    module = short_name(report.target.path)
    name = site.function or site.section or module
    yield {
        "name": name,
        "fullyQualifiedName": f"{module}!{name}",
        "kind": "function" if site.function else "module",
    }


def _source_of(site: Site) -> Json | None:
    """The source position that the symbols give for a place in an image."""
    if not isinstance(site, ImageSite) or site.file is None:
        return None
    return _source(site.file, site.line or 1, None, site.function)


def _source(path: str, line: int, column: int | None, function: str | None) -> Json:
    region = {"startLine": max(line, 1)} | ({"startColumn": max(column, 1)} if column else {})
    location: Json = {
        "physicalLocation": {"artifactLocation": {"uri": uri(path)}, "region": region}
    }
    if function:
        location["logicalLocations"] = [{"name": function, "kind": "function"}]
    return location
