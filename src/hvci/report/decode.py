"""A saved JSON report, read back: the inverse of `encode`, and wary of what it reads.

Opens no file and judges nothing: verdict, answers and counters are computed again from the rules.
"""

from __future__ import annotations

import json
from dataclasses import replace

from hvci.errors import InputError
from hvci.model import (
    Answer,
    Confidence,
    Counter,
    DdiCall,
    DebugId,
    Edit,
    Executable,
    FileOffset,
    Finding,
    FromLibrary,
    Gate,
    Image,
    ImageSite,
    JudgedCall,
    Level,
    Limit,
    ListAnswer,
    Machine,
    Origin,
    Outcome,
    Question,
    Relocation,
    Report,
    RuleResult,
    Rva,
    Section,
    Site,
    SourceSite,
    Suppression,
    Target,
    Tier,
    Value,
    Via,
    WindowsVersion,
)
from hvci.report import lists, package, trust
from hvci.report.document import SCHEMA_VERSION, Document, TargetError
from hvci.report.fields import Fields, no_json, read
from hvci.report.flags import DLL_CHARACTERISTICS

_VERSIONS = {version.slug: version for version in WindowsVersion}
_VERSIONS["8-1"] = WindowsVersion.WINDOWS_8_1  # as older reports spell it


def from_json(text: str) -> Document:
    """Read a saved document; raise `InputError` that names the place when it is none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not a saved hvci report: {no_json(error)}") from error
    return document_from(data)


def document_from(data: object) -> Document:
    """Make a document of parsed JSON."""
    try:
        return read(Fields("document", data), _document)
    except InputError as error:
        raise InputError(f"this is not a saved hvci report: {error}") from error


def _document(fields: Fields) -> Document:
    version = fields.take("schema_version", int)
    if version != SCHEMA_VERSION:
        raise fields.refuse(f"has schema_version {version}, this hvci reads {SCHEMA_VERSION}")
    tool = fields.nested("tool", _tool)
    fields.drop("overview")
    return Document(
        fields.items("reports", _report),
        fields.items("errors", _error),
        fields.plain("notices", str),
        tool,
    )


def _tool(fields: Fields) -> str:
    fields.take("name", str)
    return fields.take("version", str)


def _error(fields: Fields) -> TargetError:
    return TargetError(
        fields.take("path", str),
        fields.take("kind", str),
        fields.take("message", str),
        fields.take("advice", str),
        fields.take("exit_code", int),
    )


def _report(fields: Fields) -> Report:
    fields.drop("verdict", "summary", "counters")
    gate = fields.maybe_word("gate", Gate)
    report = Report(
        target=fields.nested("target", _target),
        target_os=fields.word("target_os", _VERSIONS.__getitem__),
        results=fields.items("rules", _result),
        calls=fields.items("calls", _call),
        limits=fields.items("limits", _limit),
        image=fields.maybe_nested("image", _image),
        blocklisted=fields.nested("answers", _blocklisted),
        trust=fields.maybe_nested("trust", trust.read),
        package=fields.maybe_nested("package", package.read),
        lists=_lists(fields),
        verifier=fields.maybe("verifier", dict),
        seconds=fields.mapping("seconds", lambda inner, key: inner.take(key, float)),
    )
    return report if gate in (None, report.gate) else replace(report, policy_gate=gate)


def _lists(fields: Fields) -> tuple[ListAnswer, ...]:
    given = "lists" in fields.left()
    return fields.items("lists", lists.read) if given else ()


def _blocklisted(fields: Fields) -> Answer | None:
    fields.drop(*Question, "image_check", "signed", "driver_policy")
    return fields.maybe_word("blocklisted", Answer)


def _target(fields: Fields) -> Target:
    return Target(
        fields.take("path", str),
        fields.take("sha256", str),
        fields.take("size_bytes", int),
        fields.take("kind", str),
        fields.maybe_word("machine", Machine),
    )


def _result(fields: Fields) -> RuleResult:
    questions = fields.plain("questions", str)
    return RuleResult(
        rule=fields.take("id", str),
        outcome=fields.word("outcome", Outcome),
        findings=fields.items("findings", _finding),
        reason=fields.take("reason", str),
        subcode=fields.maybe_word("subcode", lambda text: int(text, 16)),
        counter=fields.maybe_word("counter", Counter),
        questions=frozenset(fields.made("question", word, Question) for word in questions),
    )


def _finding(fields: Fields) -> Finding:
    return Finding(
        outcome=fields.word("outcome", Outcome),
        message=fields.take("message", str),
        site=fields.nested("site", _site),
        origin=fields.word("origin", Origin),
        confidence=fields.word("confidence", Confidence),
        fix=fields.take("fix", str),
        ddi=fields.maybe("ddi", str),
        count=fields.take("count", int),
        excerpt=fields.plain("excerpt", str),
        edits=fields.items("edits", _edit),
        tier=fields.maybe_word("tier", Tier),
        suppressed=fields.maybe_nested("suppressed", _suppression),
    )


def _edit(fields: Fields) -> Edit:
    return Edit(
        path=fields.take("path", str),
        start=fields.take("start", int),
        end=fields.take("end", int),
        line=fields.take("line", int),
        column=fields.take("column", int),
        end_column=fields.take("end_column", int),
        old=fields.take("old", str),
        new=fields.take("new", str),
        level=fields.word("level", Level),
    )


def _suppression(fields: Fields) -> Suppression:
    return Suppression(
        fields.take("reason", str),
        fields.take("by", str),
        fields.take("owner", str),
        fields.take("expires", str),
    )


def _site(fields: Fields) -> Site:
    rva = fields.maybe("rva", int)
    function = fields.maybe("function", str)
    if rva is None:
        fields.drop("section")
        path, line = fields.take("file", str), fields.take("line", int)
        return SourceSite(path, line, fields.take("column", int), function)
    fields.drop("column")
    section, file = fields.take("section", str), fields.maybe("file", str)
    return ImageSite(Rva(rva), section, function, file, fields.maybe("line", int))


def _call(fields: Fields) -> JudgedCall:
    call = DdiCall(
        ddi=fields.take("ddi", str),
        arguments=fields.mapping("arguments", lambda inner, key: inner.nested(key, _value)),
        site=fields.nested("site", _site),
        origin=fields.word("origin", Origin),
        via=fields.word("via", Via),
        tier=fields.maybe_word("tier", Tier),
        note=fields.take("note", str),
        unreached=fields.take("unreached", bool),
        dead=fields.take("dead", str),
        library=fields.maybe_nested("library", _from_library),
    )
    return JudgedCall(call, fields.word("executable", Executable))


def _from_library(fields: Fields) -> FromLibrary:
    return FromLibrary(
        fields.take("name", str),
        fields.word("confidence", Confidence),
        fields.take("why", str),
    )


def _value(fields: Fields) -> Value:
    return Value(
        frozenset(fields.plain("possible", int)),
        fields.take("complete", bool),
        fields.take("reason", str),
        frozenset(fields.plain("opt_in", int)),
    )


def _limit(fields: Fields) -> Limit:
    return Limit(
        fields.word("origin", Origin),
        fields.plain("rules", str),
        fields.take("reason", str),
        fields.maybe_nested("site", _site),
    )


def _image(fields: Fields) -> Image:
    fields.drop(*DLL_CHARACTERISTICS)
    linker = fields.plain("linker_version", int)
    if len(linker) != 2:
        raise fields.refuse("needs two numbers as linker_version")
    return Image(
        machine=fields.word("machine", Machine),
        is_pe32_plus=fields.take("pe32_plus", bool),
        image_base=fields.take("image_base", int),
        size_of_image=fields.take("size_of_image", int),
        entry=Rva(fields.take("entry", int)),
        section_alignment=fields.take("section_alignment", int),
        file_alignment=fields.take("file_alignment", int),
        subsystem=fields.take("subsystem", int),
        dll_characteristics=fields.take("dll_characteristics", int),
        linker_version=(linker[0], linker[1]),
        sections=fields.items("sections", _section),
        iat=fields.maybe_nested("iat", lambda f: (Rva(f.take("rva", int)), f.take("size", int))),
        import_tables=fields.items(
            "import_tables", lambda f: (f.take("module", str), Rva(f.take("rva", int)))
        ),
        odd_relocations=fields.items(
            "odd_relocations", lambda f: Relocation(Rva(f.take("rva", int)), f.take("type", int))
        ),
        odd_relocation_count=fields.take("odd_relocation_count", int),
        signed=fields.take("signed", bool),
        debug_id=fields.maybe_nested("pdb", _pdb),
        kmdf_version=fields.maybe("kmdf_version", str),
        hybrid=fields.maybe("hybrid", str),
        linking=fields.maybe("linking", str) or "",
    )


def _section(fields: Fields) -> Section:
    fields.drop("rights")
    return Section(
        fields.take("name", str),
        Rva(fields.take("rva", int)),
        fields.take("virtual_size", int),
        FileOffset(fields.take("raw_offset", int)),
        fields.take("raw_size", int),
        fields.take("characteristics", int),
    )


def _pdb(fields: Fields) -> DebugId:
    guid, age = fields.take("guid", str), fields.take("age", int)
    return DebugId(guid, age, fields.take("path", str))
