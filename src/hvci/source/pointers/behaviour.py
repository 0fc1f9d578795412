"""Things that source text does and no DDI argument shows: CR0, code bytes, sections, SEC_IMAGE.

Theory of operation: each way has a pattern over text without comments; what needs more than a
pattern is confirmed in the syntax tree. Confidence is "proven" only where the text leaves no
other reading. Knows C and MASM text; knows nothing of projects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.model import BehaviourFact, Confidence, Origin, SourceSite
from hvci.source.preprocess.tree import text_of
from hvci.source.program.program import Program, Unit
from hvci.source.text.text import Source
from hvci.source.text.wordindex import WordIndex

WRITES = "writes-executable-memory"
IMAGE_DATA = "data-file-as-executable"

_WRITE_CR0 = re.compile(rb"\b_{1,2}writecr0\s*\(")
_ASM_CR0 = re.compile(
    rb"(?i)\bmov\s+%?cr0\s*,|\bmov[lq]?\s+%{0,2}[\w\[\]]+\s*,\s*%{1,2}cr0\b|\blmsw\s+\w"
)
_ASM_BLOCK = re.compile(rb"\b(?:__asm|_asm|asm|__asm__)\b")
_SEC_IMAGE = re.compile(rb"\bSEC_IMAGE\b")
_STORE = re.compile(
    rb"\*\s*\(\s*(?:volatile\s+)?(?:unsigned\s+)?(?:P?UCHAR|P?BYTE|P?ULONG\w*|char|long|int|"
    rb"uint\w+)\s*\*?\s*\)\s*&?([A-Za-z_]\w*)\s*=(?!=)"
)
_INDEXED = re.compile(
    rb"\(\s*\(\s*(?:volatile\s+)?(?:unsigned\s+)?(?:P?UCHAR|P?BYTE|P?CHAR|P?ULONG\w*|char|long|int|"
    rb"uint\w+)\s*\*?\s*\)\s*&?([A-Za-z_]\w*)\s*\)\s*\[[^\]\n]*\]\s*[|&^+-]?=(?!=)"
)
_COPY = re.compile(
    rb"(?:RtlCopyMemory|RtlMoveMemory|memcpy|RtlFillMemory|memset)\s*\(\s*"
    rb"\([^()]*\)\s*&?([A-Za-z_]\w*)\s*,"
)


def behaviours(unit: Unit, program: Program) -> Iterator[BehaviourFact]:
    """What one C or C++ file does."""
    source = unit.source
    if b"writecr0" in source.code:
        yield from _cr0(unit, program)
    if b"asm" in source.code:
        yield from _inline_assembly(unit, program)
    yield from _code_stores(unit, program)
    if b"SEC_IMAGE" in source.code:
        yield from _images_from_files(unit, program)


def _fact(
    source: Source, offset: int, rule: str, what: str, sure: Confidence, why: str, fix: str = ""
) -> BehaviourFact:
    line, column = source.position(offset)
    site = SourceSite(source.path, line, column)
    return BehaviourFact(rule, what, site, Origin.SOURCE, sure, why, fix)


def _kept(unit: Unit, pattern: re.Pattern[bytes], program: Program) -> Iterator[re.Match[bytes]]:
    """Matches in what a build keeps; those in a macro count where something uses it."""
    for match in pattern.finditer(unit.source.code):
        macro = unit.text.define_at(match.start())
        if unit.live(match.start()) is not False and (
            macro is None or program.mentions(macro.name)
        ):
            yield match


_CR0_FIX = "Map the pages again as writable with an MDL of data, or keep the data out of code."


_CLEARS = re.compile(
    rb"(?i)~|&=?\s*0x\w*FFFEFFFF|not\s+0?1[0-9]{4}h|0?FFFEFFFFh|0xFFFEFFFF|\bbtr\b|\$0xfffeffff"
    rb"|bittestandreset\w*\s*\([^;(),]*,\s*(?:16|0x10|[A-Za-z_])|\b(?:wp|\w*write_?protect\w*)\s*=\s*(?:0|FALSE)\b"
)
_COMPLEMENT = re.compile(
    rb"~\s*(?:\(\s*\w+\s*\)\s*)?\(?\s*(0[xX][0-9a-fA-F]+|\d+)[uUlL]*(?:\s*<<\s*(\d+))?"
)
WRITE_PROTECT = 1 << 16
"""How text takes a bit out of CR0."""
BEFORE_WRITE = 200
"""So many bytes before a write of CR0 may hold what is taken out."""


def _cr0_fact(source: Source, offset: int, text: bytes, how: str) -> BehaviourFact:
    """A write of CR0: likely a fault when the text before it takes a bit out."""
    text = _COMPLEMENT.sub(lambda match: match[0] if _takes(match) else b"", text)
    sure = Confidence.LIKELY if _CLEARS.search(text) else Confidence.POSSIBLE
    why = f"{how}; memory integrity does not let CR0.WP be cleared"
    return _fact(source, offset, WRITES, "writes CR0", sure, why, _CR0_FIX)


def _takes(match: re.Match[bytes]) -> bool:
    """Whether the number behind `~` has the bit for write protection."""
    number = int(match[1], 16 if match[1][:2].lower() == b"0x" else 10) << int(match[2] or 0)
    return number & WRITE_PROTECT != 0


def _cr0(unit: Unit, program: Program) -> Iterator[BehaviourFact]:
    code = unit.source.code
    for match in _kept(unit, _WRITE_CR0, program):
        start, end = match.start(), code.find(b";", match.end())
        text = code[max(0, start - BEFORE_WRITE) : end if end > 0 else match.end()]
        yield _cr0_fact(unit.source, start, text, "the intrinsic __writecr0")


def _inline_assembly(unit: Unit, program: Program) -> Iterator[BehaviourFact]:
    for match in _kept(unit, _ASM_BLOCK, program):
        end = _block_end(unit.source.code, match.end())
        block = unit.source.plain[match.start() : end]
        if found := _ASM_CR0.search(block):
            words = " ".join(found[0].decode("ascii", "replace").split())
            before = unit.source.plain[max(0, match.start() - BEFORE_WRITE) : end]
            yield _cr0_fact(unit.source, match.start(), before, f"inline assembly: {words}")


def _block_end(code: bytes, start: int) -> int:
    rest = code[start : start + 4000].lstrip()
    closing = {b"{": b"}", b"(": b");"}.get(rest[:1], b"\n")
    end = code.find(closing, start)
    return end if end >= 0 else min(len(code), start + 4000)


def _code_stores(unit: Unit, program: Program) -> Iterator[BehaviourFact]:
    """Stores through the name of a function."""
    for pattern in (_STORE, _INDEXED, _COPY):
        for match in _kept(unit, pattern, program):
            name, macro = match[1], unit.text.define_at(match.start())
            if macro is not None and name in (macro.parameters or ()):
                continue
            if not program.functions(name) or _is_declared_here(unit, match.start(), name):
                continue
            what = f"writes over the code of {name.decode('utf-8', 'replace')}"
            why = "the target of the store is the name of a function"
            fix = "Keep what changes in data; do not patch code."
            yield _fact(unit.source, match.start(), WRITES, what, Confidence.LIKELY, why, fix)


def _is_declared_here(unit: Unit, offset: int, name: bytes) -> bool:
    """Whether a variable of the enclosing function has that name."""
    function = unit.trees.at(offset).function_at(offset)
    if function is None:
        return False
    return name in function.parameters or any(
        any(text_of(d).endswith(name) for d in node.children_by_field_name("declarator"))
        for node in function.nodes("declaration", "init_declarator")
    )


def _images_from_files(unit: Unit, program: Program) -> Iterator[BehaviourFact]:
    for match in _kept(unit, _SEC_IMAGE, program):
        before = unit.source.code[max(0, match.start() - 400) : match.start()]
        call = re.search(rb"\b(\w*CreateSection\w*)\s*\([^;]*\Z", before)
        if call and call[1] not in _JUDGED:
            what = f"maps a file as an image with {call[1].decode('ascii', 'replace')}"
            why = "SEC_IMAGE in AllocationAttributes"
            fix = "Use SEC_IMAGE_NO_EXECUTE to look at an image; load code with ZwLoadDriver."
            sure = Confidence.POSSIBLE
            yield _fact(unit.source, match.start(), IMAGE_DATA, what, sure, why, fix)


_JUDGED = (b"ZwCreateSection", b"NtCreateSection")
"""Their arguments are followed (`executable_files.py`)."""


def _site(source: Source, offset: int) -> SourceSite:
    return SourceSite(source.path, *source.position(offset))


_MASM_COMMENT = re.compile(rb";[^\n]*")
_MASM_CR0 = re.compile(rb"(?im)^[ \t]*(?:\w+:[ \t]*)?mov[ \t]+cr0[ \t]*,")


def assembly_behaviours(source: Source) -> Iterator[BehaviourFact]:
    """What a MASM file does."""
    text = _MASM_COMMENT.sub(lambda match: b" " * len(match[0]), source.text)
    for match in _MASM_CR0.finditer(text):
        before = text[max(0, match.start() - BEFORE_WRITE) : match.end()]
        yield _cr0_fact(source, match.start(), before, "mov cr0 in assembly")


def worth_a_look(source: Source, index: WordIndex) -> bool:
    """A quick look before a file is examined."""
    text, path = source.text, source.path
    return (
        any(index.with_part(path, part) for part in _PARTS)
        or _STORE.search(text) is not None
        or _INDEXED.search(text) is not None
        or (any(index.with_part(path, part) for part in _COPIES) and _COPY.search(text) is not None)
    )


_PARTS = (b"cr0", b"CR0", b"Cr0", b"SEC_IMAGE")
_COPIES = (b"RtlCopyMemory", b"RtlMoveMemory", b"memcpy", b"RtlFillMemory", b"memset")
