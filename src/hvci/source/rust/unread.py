"""What belongs to a driver crate and nothing here reads: missing modules, linked C, other names.

Knows the text of crates and build scripts; follows no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hvci import catalog
from hvci.source.preprocess.tree import text_of, walk
from hvci.source.rust.cfg import RustText
from hvci.source.rust.modules import named

_LINKS = re.compile(
    r"\bcc::Build\b|\bcmake::|\bbindgen::|cargo::?rustc-link-lib=(?:static|[^\"\n]*\bstatic)[^\"\n]*"
    r"|cargo::?rustc-link-arg[^\"\n]*"
)
_NAMED = re.compile(rb'\blink_name\s*=\s*"(\w+)"')
_ASSEMBLY = re.compile(rb"\b(?:global_|naked_)?asm!\s*[({\[][^;]*")
_STRING = re.compile(rb'"(\w+)(?:\\0)?"')
_LOOKUPS = (b"MmGetSystemRoutineAddress", b"FltGetRoutineAddress", b"NdisGetRoutineAddress")
_INCLUDED = re.compile(rb"asm!\s*[({\[][^;]*?\binclude_(?:str|bytes)!\s*\(\s*\"([^\"\n]+)")
SHOWN = 4


def linked_by(script: str) -> str:
    """What a build script makes or links besides; empty where nothing is seen."""
    remarks = re.sub(r"//[^\n]*", "", script)
    found = list(dict.fromkeys(match[0].strip() for match in _LINKS.finditer(remarks)))
    found = [one for one in found if not one.startswith("bindgen")]
    return ", ".join(found[:SHOWN])


def renamed(texts: Sequence[RustText]) -> Iterator[tuple[RustText, int, str]]:
    """Routines that are judged and that an attribute gives another name, or assembly calls."""
    names = {name.encode() for name in catalog.ddis()}
    for text in texts:
        for block in _ASSEMBLY.finditer(text.source.text):
            for match in re.finditer(rb"\w+", block[0]):
                if match[0] in names:
                    yield text, block.start() + match.start(), match[0].decode()
        for match in _NAMED.finditer(text.source.text):
            if match[1] in names:
                yield text, match.start(), match[1].decode()


def looked_up(texts: Sequence[RustText]) -> Iterator[tuple[RustText, int, str]]:
    """Routines that are judged and named in strings, where the crate looks routines up."""
    names = {name.encode() for name, row in catalog.ddis().items() if row.rule.judged_by}
    if not any(one in text.source.text for text in texts for one in _LOOKUPS):
        return
    for text in texts:
        for match in _STRING.finditer(text.source.text):
            if match[1] in names:
                yield text, match.start(), match[1].decode()


def assembly_files(texts: Sequence[RustText]) -> Iterator[tuple[RustText, int, str]]:
    """Files of assembly that are taken in whole."""
    for text in texts:
        for match in _INCLUDED.finditer(text.source.text):
            yield text, match.start(), match[1].decode("utf-8", "replace")


def missing(
    texts: Sequence[RustText], roots: frozenset[str]
) -> Iterator[tuple[RustText, int, str]]:
    """Modules of which no file is here; those of tests are not asked for."""
    known = {one.source.path for one in texts}
    for text in texts:
        for node in walk(text.root):
            if node.type != "mod_item" or node.child_by_field_name("body") is not None:
                continue
            targets = [target for target, _ in named(text, node, text.source.path in roots)]
            if known.isdisjoint(targets) and b"test" not in _before(text, node.start_byte):
                yield text, node.start_byte, text_of(node.child_by_field_name("name")).decode()


def _before(text: RustText, offset: int) -> bytes:
    """The attributes that stand before an item."""
    lines = text.source.text[:offset].rstrip().split(b"\n")[-4:]
    kept = []
    for line in reversed(lines):
        if not line.lstrip().startswith(b"#"):
            break
        kept.append(line)
    return b"\n".join(kept)
