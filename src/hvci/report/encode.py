"""Reports as the JSON contract: plain dictionaries and lists, sorted, the same bytes every time.

Knows nothing of files, terminals or other formats; `decode` is its inverse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from hvci.model import (
    Counter,
    DebugId,
    Edit,
    Finding,
    FromLibrary,
    Gate,
    Image,
    ImageSite,
    JudgedCall,
    Limit,
    Report,
    RuleResult,
    Section,
    Site,
    SourceSite,
    Suppression,
    Value,
)
from hvci.report import lists, overview, package, trust
from hvci.report.document import SCHEMA_VERSION, TOOL_NAME, Document, TargetError
from hvci.report.flags import DLL_CHARACTERISTICS
from hvci.report.sentence import summary, told_answers

Json = dict[str, Any]

_LINES_TO = 3
"""How deep a document is laid out: a report's fields, and one line for each fact in a list."""
_encode = json.JSONEncoder(ensure_ascii=True).encode


_key = lru_cache(1024)(_encode)


def to_json(document: Document) -> str:
    """The document as JSON text that no terminal can take for a command.

    A fact is one line: easy to compare, and six times as fast to write as with an indent at every
    level, which Python's encoder in C does not do.
    """
    return laid_out(document_fields(document))


def laid_out(fields: Json) -> str:
    """JSON text with a line for each fact."""
    return _laid_out(fields, 0).replace("\x7f", "\\u007f") + "\n"


def _laid_out(value: object, depth: int) -> str:
    """JSON text with a line for each member down to some depth, compact below it."""
    if not value or not isinstance(value, dict | list) or depth > _LINES_TO:
        return _encode(value)
    if isinstance(value, dict):
        rows = [f"{_key(key)}: {_laid_out(each, depth + 1)}" for key, each in value.items()]
        begin, end = "{", "}"
    else:
        rows = [_laid_out(each, depth + 1) for each in value]
        begin, end = "[", "]"
    outer, inner = "  " * depth, "  " * (depth + 1)
    lines = f",\n{inner}".join(rows)
    return f"{begin}\n{inner}{lines}\n{outer}{end}"


def document_fields(document: Document) -> Json:
    """The whole document."""
    several = {"overview": _overview(document)} if overview.is_wanted(document) else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": TOOL_NAME, "version": document.tool_version},
        **several,
        "reports": [report_fields(report) for report in document.reports],
        "errors": [_error(error) for error in document.errors],
        "notices": list(document.notices),
    }


def _overview(document: Document) -> Json:
    """Many targets at a glance; all of it follows from the reports and errors."""
    rows = overview.rows(document)
    gates = [report.gate for report in document.reports]
    counters = [report.counters for report in document.reports]
    return {
        "targets": len(rows),
        "fates": {str(fate): sum(row.fate is fate for row in rows) for fate in overview.Fate},
        "gates": {str(gate): gates.count(gate) for gate in Gate},
        "counters": {str(counter): sum(each[counter] for each in counters) for counter in Counter},
        "worst_first": [_row(row) for row in rows],
    }


def _row(row: overview.Row) -> Json:
    """One target, with its place in "reports"; none where it could not be evaluated."""
    report = row.report
    counts = report.counters.items() if report else ()
    return {
        "path": row.path,
        "machine": row.machine or None,
        "fate": row.fate,
        "summary": row.sentence,
        "gate": report.gate if report else None,
        "counters": {str(counter): count for counter, count in counts if count},
        "report": row.index if report else None,
    }


def _error(error: TargetError) -> Json:
    return {
        "path": error.path,
        "kind": error.kind,
        "message": error.message,
        "advice": error.advice,
        "exit_code": error.exit_code,
    }


def report_fields(report: Report) -> Json:
    """One report; `verdict`, `summary`, `answers` and `counters` follow from the rest."""
    fields: Json = {
        "target": _target(report),
        "target_os": report.target_os.slug,
        "verdict": report.verdict,
        "summary": summary(report),
        "gate": report.gate,
        "answers": {
            **told_answers(report),
            "blocklisted": report.blocklisted,
            **trust.words(report),
        },
        "counters": {str(counter): count for counter, count in report.counters.items()},
        "rules": [_result(result) for result in sorted(report.results, key=lambda r: r.rule)],
        "calls": sorted_fields(_call(judged) for judged in report.calls),
        "limits": sorted_fields(limit_fields(limit) for limit in report.limits),
        "image": None if report.image is None else _image(report.image),
        "seconds": {stage: report.seconds[stage] for stage in sorted(report.seconds)},
    }
    if report.trust is not None:
        fields["trust"] = trust.fields(report.trust)
    if report.package is not None:
        fields["package"] = package.fields(report.package)
    if report.lists:
        fields["lists"] = [lists.fields(each) for each in report.lists]
    if report.verifier is not None:
        fields["verifier"] = dict(report.verifier)
    return fields


def _target(report: Report) -> Json:
    target = report.target
    return {
        "path": target.path,
        "sha256": target.sha256,
        "size_bytes": target.size_bytes,
        "kind": target.kind,
        "machine": target.machine,
    }


def sorted_fields(items: Iterable[Json]) -> list[Json]:
    """Sort by place, then by everything else, so that equal facts always stand in one order."""
    groups: dict[tuple[int, str, int, int], list[Json]] = {}
    for item in items:
        groups.setdefault(_place(item.get("site")), []).append(item)
    found: list[Json] = []
    for place in sorted(groups):
        group = groups[place]
        found += sorted(group, key=json.dumps) if len(group) > 1 else group
    return found


def _place(site: Mapping[str, Any] | None) -> tuple[int, str, int, int]:
    if site is None:
        return (-1, "", 0, 0)
    if site["rva"] is not None:
        return (site["rva"], "", 0, 0)
    return (0, site["file"], site["line"], site["column"])


def _result(result: RuleResult) -> Json:
    return {
        "id": result.rule,
        "outcome": result.outcome,
        "reason": result.reason,
        "subcode": None if result.subcode is None else f"{result.subcode:#x}",
        "counter": result.counter,
        "questions": sorted(result.questions),
        "findings": sorted_fields(_finding(finding) for finding in result.findings),
    }


def _finding(finding: Finding) -> Json:
    return {
        "outcome": finding.outcome,
        "message": finding.message,
        "origin": finding.origin,
        "confidence": finding.confidence,
        "site": site_fields(finding.site),
        "ddi": finding.ddi,
        "fix": finding.fix,
        "count": finding.count,
        "excerpt": list(finding.excerpt),
        "edits": [_edit(edit) for edit in finding.edits],
        "tier": finding.tier,
        "suppressed": None if finding.suppressed is None else _suppression(finding.suppressed),
    }


def _edit(edit: Edit) -> Json:
    return {
        "path": edit.path,
        "start": edit.start,
        "end": edit.end,
        "line": edit.line,
        "column": edit.column,
        "end_column": edit.end_column,
        "old": edit.old,
        "new": edit.new,
        "level": edit.level,
    }


def _suppression(suppression: Suppression) -> Json:
    return {
        "reason": suppression.reason,
        "by": suppression.by,
        "owner": suppression.owner,
        "expires": suppression.expires,
    }


def site_fields(site: Site) -> Json:
    """A place; `rva` is null for a place in source text."""
    if isinstance(site, SourceSite):
        return {
            "rva": None,
            "section": None,
            "function": site.function,
            "file": site.path,
            "line": site.line,
            "column": site.column,
        }
    return _image_site(site)


def _image_site(site: ImageSite) -> Json:
    return {
        "rva": site.rva,
        "section": site.section,
        "function": site.function,
        "file": site.file,
        "line": site.line,
        "column": None,
    }


def _call(judged: JudgedCall) -> Json:
    call = judged.call
    return {
        "ddi": call.ddi,
        "origin": call.origin,
        "via": call.via,
        "site": site_fields(call.site),
        "arguments": {name: _value(call.arguments[name]) for name in sorted(call.arguments)},
        "executable": judged.executable,
        "tier": call.tier,
        "note": call.note,
        "unreached": call.unreached,
        "dead": call.dead,
        "library": None if call.library is None else _from_library(call.library),
    }


def _from_library(found: FromLibrary) -> Json:
    return {"name": found.name, "confidence": found.confidence, "why": found.why}


def _value(value: Value) -> Json:
    return {
        "possible": sorted(value.possible),
        "complete": value.complete,
        "reason": value.reason,
        "opt_in": sorted(value.opt_in),
    }


def limit_fields(limit: Limit) -> Json:
    """One limit."""
    return {
        "origin": limit.origin,
        "rules": sorted(limit.rules),
        "reason": limit.reason,
        "site": None if limit.site is None else site_fields(limit.site),
    }


def _image(image: Image) -> Json:
    """Header facts; informational, so that a reader can see what the rules saw."""
    flags = {name: bool(image.dll_characteristics & b) for name, b in DLL_CHARACTERISTICS.items()}
    return {
        "machine": image.machine,
        "pe32_plus": image.is_pe32_plus,
        "image_base": image.image_base,
        "size_of_image": image.size_of_image,
        "entry": image.entry,
        "section_alignment": image.section_alignment,
        "file_alignment": image.file_alignment,
        "subsystem": image.subsystem,
        "dll_characteristics": image.dll_characteristics,
        **flags,
        "linker_version": list(image.linker_version),
        "sections": [_section(section) for section in image.sections],
        "iat": None if image.iat is None else {"rva": image.iat[0], "size": image.iat[1]},
        "import_tables": [{"module": name, "rva": rva} for name, rva in image.import_tables],
        "odd_relocations": [{"rva": odd.rva, "type": odd.type} for odd in image.odd_relocations],
        "odd_relocation_count": image.odd_relocation_count,
        "signed": image.signed,
        "pdb": None if image.debug_id is None else _pdb(image.debug_id),
        "kmdf_version": image.kmdf_version,
        "hybrid": image.hybrid,
        **({"linking": image.linking} if image.linking else {}),
    }


def rights(section: Section) -> str:
    """Rights as "rwx" with dashes for what is missing."""
    readable = section.characteristics & 0x4000_0000
    return (
        ("r" if readable else "-")
        + ("w" if section.writable else "-")
        + ("x" if section.executable else "-")
    )


def _section(section: Section) -> Json:
    return {
        "name": section.name,
        "rva": section.rva,
        "virtual_size": section.virtual_size,
        "raw_offset": section.raw_offset,
        "raw_size": section.raw_size,
        "characteristics": section.characteristics,
        "rights": rights(section),
    }


def _pdb(debug_id: DebugId) -> Json:
    return {"guid": debug_id.guid, "age": debug_id.age, "path": debug_id.path}
