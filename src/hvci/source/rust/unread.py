"""What belongs to a driver crate and nothing here reads: missing modules, linked C, other names.

Knows the text of crates and build scripts; follows no call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from hvci import catalog
from hvci.catalog.memory import LOOKUPS
from hvci.source.preprocess.tree import text_of, walk
from hvci.source.program.pasted import made_of
from hvci.source.rust.cfg import RustText
from hvci.source.rust.manifests import Dependency
from hvci.source.rust.modules import named

_LINKS = re.compile(
    r"\bcc::Build\b|\bcmake::|\bbindgen::|cargo::?rustc-link-lib=(?:static|[^\"\n]*\bstatic)[^\"\n]*"
    r"|cargo::?rustc-link-arg[^\"\n]*"
)
_NAMED = re.compile(rb'\blink_name\s*=\s*"(\w+)"')
_ASSEMBLY = re.compile(rb"\b(?:global_|naked_)?asm!\s*[({\[][^;]*")
_STRING = re.compile(rb'"(\w+)(?:\\0)?"')
_LOOKUPS = tuple(name.encode() for name in LOOKUPS)
_INCLUDED = re.compile(rb"asm!\s*[({\[][^;]*?\binclude_(?:str|bytes)!\s*\(\s*\"([^\"\n]+)")
_PASTED = re.compile(rb"\[<([^\[\]<>]*)>\]|\bconcat_idents!\s*[({\[]([^()]*)")
_WORDS = re.compile(rb"\w+")
_PART = re.compile(rb"(\$?)(\w+)(?:\s*:\s*\w+)*")
"""A word between the brackets of `paste!`, or a parameter of a macro, with how it is changed."""
SHOWN = 4
_DECLARING = ("bindgen", "wdk_build::")
"""What a build script names that writes declarations only."""


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


def pasted(texts: Sequence[RustText]) -> Iterator[tuple[RustText, int, str]]:
    """Routines whose names `paste!` or `concat_idents!` may make of the words of a crate."""
    every = [(text, one) for text in texts for one in _PASTED.finditer(text.source.text)]
    words = {word for text in texts for word in _WORDS.findall(text.source.text) if every}
    for text, glued in every:
        parts = [None if dollar else word for dollar, word in _PART.findall(glued[1] or glued[2])]
        for routine in sorted(made_of(parts, words)) if len(parts) > 1 else ():
            yield text, glued.start(), routine


def taken_in(
    texts: Sequence[RustText], known: Collection[str], script: str
) -> Iterator[tuple[RustText, int, str]]:
    """What `include!` takes in that is not among the files of a crate.

    What a build script writes that makes declarations of C headers holds no code.
    """
    for text in texts:
        for node in walk(text.root):
            if text_of(node.child_by_field_name("macro")) != b"include":
                continue
            named_files = [target for target, _ in named(text, node, is_root=False)]
            shown = " ".join(text_of(node).decode("utf-8", "replace").split())[:80]
            is_made = "OUT_DIR" in shown
            if is_made and any(one in script for one in _DECLARING):
                continue
            if is_made or not any(one in known for one in named_files):
                yield text, node.start_byte, shown


def elsewhere(every: Iterable[Dependency], on: Collection[str]) -> list[Dependency]:
    """The crates that one links and whose text is in no folder here, but for those of the kit."""
    away = (one for one in every if one.manifest is None and one.name not in KITS)
    return sorted((one for one in away if not one.optional or one.name in on), key=_name)


def _name(one: Dependency) -> str:
    return one.name


KITS = (
    *("wdk", "wdk-sys", "wdk-alloc", "wdk-panic", "wdk-macros"),
    *("windows-kernel-sys", "windows-kernel"),
)
"""Crates that stand for the WDK: what they ask for themselves is known to be no execution."""


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
