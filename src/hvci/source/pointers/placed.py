"""Variables and functions that attributes put into sections by name, and functions by pragma.

Theory of operation: an attribute belongs to the declaration around it; its macros are written out.
What is constant changes no rights. Knows declarations as text; what rights a section gets is for
the rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from hvci.model import BuildSetting, SourceSite
from hvci.source.pointers.macro_texts import every, names_of
from hvci.source.preprocess.predefined import Compiler
from hvci.source.program.program import Macro, Program, Unit

DATA, CODE = "data_seg", "code_seg"
WRITABLE = frozenset((".data", ".bss"))
_WORDS = frozenset((b"section", b"__section__", b"allocate", b"code_seg", b"link_section"))
_ATTRIBUTES = frozenset((b"__attribute__", b"__attribute", b"__declspec", b"_declspec", b"gnu"))
_PLACED = re.compile(
    rb"(?:\(|,|gnu\s*::)\s*(section|__section__|allocate|code_seg)\s*\(\s*((?:\"[^\"\n]*\"\s*)+)\)"
)
_STRING = re.compile(rb'"([^"\n]*)"')
_ATTRIBUTE = re.compile(
    rb"(?:__attribute(?:__)?|_?_declspec|alignas|_Alignas)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
    rb"|\[\[[^\]]*\]\]"
)
_WORD = re.compile(rb"[A-Za-z_]\w*")
_ENDS = (b";", b"{", b"}")
_LONGEST = 2000
"""Bytes of a declaration around an attribute."""
_PAGED = re.compile(rb"\balloc_text\s*\(\s*\"?([\w.$]+)\"?\s*,")


class Placed:
    """The declarations of one program that name sections."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = names_of(program, _ATTRIBUTES, _may_place)

    def are_in(self, path: str) -> bool:
        """Whether a file may put something into a section."""
        words = self.program.space.words.of(path)
        return bool(words & _WORDS and words & _ATTRIBUTES) or bool(words & self.names)

    def names_routines(self, path: str) -> bool:
        """Whether a file puts functions into sections by their names."""
        return b"alloc_text" in self.program.space.words.of(path)

    def routines(self, unit: Unit, names: Collection[str]) -> Iterator[BuildSetting]:
        """Of some sections, those that `alloc_text` puts functions into."""
        for match in _PAGED.finditer(unit.source.plain) if not is_of_gnu(unit) else ():
            name = match[1].decode("utf-8", "replace")
            if name.lower() in names and unit.live(match.start()) is not False:
                site = SourceSite(unit.source.path, *unit.source.position(match.start()))
                yield BuildSetting(CODE, name, site)

    def read(self, unit: Unit) -> Iterator[BuildSetting]:
        """The sections that a file puts variables and functions into."""
        words = self.program.space.words.of(unit.source.path)
        starts = set[int]()
        if words & _WORDS and words & _ATTRIBUTES:
            starts.update(at for word in words & _WORDS for at in unit.source.places(word))
        for name in self.names & words:
            starts.update(unit.source.places(name))
        seen = set[int]()
        for at in sorted(starts):
            begin, end = _declaration(unit.source.code, at)
            if begin in seen or unit.in_define(at) or unit.live(at) is False:
                continue
            seen.add(begin)
            text = unit.source.plain[begin:end]
            if text.lstrip()[:1] == b"#":
                continue
            site = SourceSite(unit.source.path, *unit.source.position(at))
            for written in every(text, unit, self.program):
                yield from _settings(written, site)


def _may_place(macro: Macro, wanted: frozenset[bytes]) -> bool:
    """Whether a macro writes an attribute that names a section, or uses one that does."""
    words = set(_WORD.findall(macro.body))
    return bool(words & wanted) and (wanted != _ATTRIBUTES or bool(words & _WORDS))


def _declaration(code: bytes, at: int) -> tuple[int, int]:
    """Where the declaration around an offset begins, and where its body or value does."""
    low, high = max(0, at - _LONGEST), at + _LONGEST
    begin = max(code.rfind(end, low, at) for end in _ENDS) + 1
    line = code.rfind(b"\n", begin, at) + 1
    while line > begin:  # lines of the preprocessor end what stands before them
        before = code.rfind(b"\n", begin, line - 1) + 1
        if code[max(before, begin) : line].lstrip()[:1] == b"#":
            begin = line
            break
        line = before
    match = re.compile(rb"[;{=]").search(code, at, high)
    return begin, match.start() + 1 if match is not None else min(len(code), high)


def _settings(text: bytes, site: SourceSite) -> Iterator[BuildSetting]:
    """What one declaration puts where."""
    named = [(one[1], b"".join(_STRING.findall(one[2]))) for one in _PLACED.finditer(text)]
    rest = _ATTRIBUTE.sub(b" ", text)
    is_function = re.search(rb"\w\s*\((?!\s*\*)", rest) is not None
    for how, name in named:
        shown = name.decode("utf-8", "replace").strip()
        if how == b"code_seg" or (how != b"allocate" and is_function):
            yield BuildSetting(CODE, shown, site)
        elif not _is_constant(rest):
            yield BuildSetting(DATA, shown, site)


def _is_constant(text: bytes) -> bool:
    """Whether a variable never changes: of a pointer its own `const` counts."""
    return re.search(rb"\bconst(?:expr)?\b", text.rpartition(b"*")[2]) is not None


def is_of_gnu(unit: Unit) -> bool:
    """Whether only GCC compiles a file, which passes over the pragmas of MSVC."""
    return bool(unit.runs) and all(run.compiler is Compiler.GCC for run in unit.runs)
