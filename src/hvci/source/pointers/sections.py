"""What source text says of sections, in pragmas and in the words of assemblers.

Theory of operation: `#pragma`, `__pragma(...)` and `_Pragma("...")` are one thing; one that a
macro holds counts at each use of the macro, with its arguments put in. Strings may be macros
too. What cannot be put together is a reason why the layout is not known. Knows pragmas and
macros, and the directives of MASM, armasm and GNU's assembler; what options mean is for `linker`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hvci.model import BuildSetting, SourceSite
from hvci.source.builds import linker
from hvci.source.pointers.macro_texts import arguments, between, end_of_use, every, names_of
from hvci.source.pointers.placed import is_of_gnu
from hvci.source.program.program import Macro, Program, Unit
from hvci.source.text.text import Source

MAX_PRAGMAS = 2000
"""Of one file."""
_LINE = re.compile(rb"pragma\b((?:[^\n\\]|\\\r?\n|\\)*)")
_HASH = (b"#", b"%:", b"??=")
_OPERATOR = re.compile(rb"\b(?:__pragma|_Pragma)\s*\(")
_CONTINUED = re.compile(rb"\\\r?\n")
_OPERATORS = frozenset((b"__pragma", b"_Pragma"))
_ABOUT = frozenset((b"linker", b"section", b"data_seg", b"code_seg", b"bss_seg", b"const_seg"))
_MARKS = frozenset((*_OPERATORS, b"pragma", b"__asm", b"asm", b"__asm__"))
_TELLING = re.compile(rb"\b(?:linker|section|(?:data|code|bss|const)_seg)\b")
_COMMENT = re.compile(rb"\s*comment\s*\(\s*(\w+)\s*,(.*)\)\s*\Z", re.DOTALL)
_SECTION = re.compile(rb"\s*(section|(?:data|code|bss|const)_seg)\s*\((.*)\)\s*\Z", re.DOTALL)
_STRING = re.compile(rb'"((?:[^"\\\n]|\\.)*)"')
_WORD = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*')
_PIECE = re.compile(rb'L?"((?:[^"\\\n]|\\.)*)"|([A-Za-z_]\w*)|(\S)')
_RIGHTS = {b"execute": "E", b"read": "R", b"write": "W", b"shared": "S", b"discard": "D"}


@dataclass
class Said:
    """What the pragmas of a file say, and where one could not be read."""

    settings: list[BuildSetting] = field(default_factory=list)
    lost: list[tuple[str, SourceSite]] = field(default_factory=list)


class Pragmas:
    """The pragmas of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = names_of(program, _OPERATORS, _holds)

    def are_in(self, path: str) -> bool:
        """Whether a file may say something of sections."""
        words = self.program.space.words.of(path)
        if words & _ABOUT:
            return bool(words & _MARKS or words & self.names)
        return bool(words & self.names) and any(self._tells(name) for name in words & self.names)

    def _tells(self, name: bytes) -> bool:
        """Whether a macro names sections by itself, or may through others."""
        for path in self.program.space.words.holding(name, self.program.paths):
            text = self.program.space.text(path)
            for macro in text.directives.macros.get(name, ()) if text is not None else ():
                words = {match[0] for match in _WORD.finditer(macro.body)}
                if words & _ABOUT or words & self.names:
                    return True
        return False

    def read(self, unit: Unit) -> Said:
        """Linker options and section rights that a file gives."""
        found = Said()
        pragmas = self._texts(unit) if not is_of_gnu(unit) else ()
        for count, (offset, text) in enumerate(pragmas):
            site = SourceSite(unit.source.path, *unit.source.position(offset))
            if count >= MAX_PRAGMAS:
                told = f"it has more than {MAX_PRAGMAS} pragmas; what the rest says was not read"
                found.lost.append((told, site))
                break
            _take(found, unit, self.program, site, text)
        for match in _GNU_INLINE.finditer(unit.source.plain):
            if unit.live(match.start()) is not False:
                found.settings += _gnu(unit.source, match)
        return found

    def _texts(self, unit: Unit) -> Iterator[tuple[int, bytes]]:
        """The text of each pragma that is compiled, with its place."""
        plain = unit.source.plain
        for match in _LINE.finditer(plain):
            before = plain[plain.rfind(b"\n", 0, match.start()) + 1 : match.start()].strip()
            is_telling = before in _HASH and _TELLING.search(match[1]) is not None
            if is_telling and unit.live(match.start()) is not False:
                yield match.start(), _CONTINUED.sub(b" ", match[1])
        words = self.program.space.words.of(unit.source.path)
        for match in _OPERATOR.finditer(plain) if words & _OPERATORS else ():
            if not unit.in_define(match.start()) and unit.live(match.start()) is not False:
                body, _ = between(plain, match.end())
                yield from ((match.start(), one) for one in _written(match[0] + body + b")"))
        for name in sorted(self.names & words):
            yield from self._uses(unit, name)

    def _uses(self, unit: Unit, name: bytes) -> Iterator[tuple[int, bytes]]:
        """The pragmas of a macro at each of its uses in a file."""
        plain, known = unit.source.plain, dict[bytes, list[bytes]]()
        for start in unit.source.places(name):
            if not unit.in_define(start) and unit.live(start) is not False:
                end = end_of_use(plain, start + len(name))
                text = b"" if _is_directive(plain, start) else plain[start:end]
                if text not in known:
                    texts = every(text, unit, self.program)
                    known[text] = [one for made in texts for one in _written(made)]
                yield from ((start, one) for one in known[text])


def _holds(macro: Macro, wanted: frozenset[bytes]) -> bool:
    """Whether a macro writes a pragma that may be about sections, or uses one that does."""
    words = {match[0] for match in _WORD.finditer(macro.body)}
    if not words & wanted:
        return False
    is_direct = not wanted.isdisjoint(_OPERATORS)
    return not is_direct or bool(macro.parameters) or _TELLING.search(macro.body) is not None


def _is_directive(text: bytes, offset: int) -> bool:
    """Whether the line of an offset is one of the preprocessor."""
    start = text.rfind(b"\n", 0, offset) + 1
    return text[start:offset].lstrip()[:1] == b"#"


def _written(text: bytes) -> Iterator[bytes]:
    """The pragmas that operators in a text write."""
    for match in _OPERATOR.finditer(text):
        body, _ = between(text, match.end())
        if match[0].startswith(b"__pragma"):
            yield body
        else:
            yield b"".join(map(_plain, _STRING.findall(body)))


def _plain(text: bytes) -> bytes:
    """What stands in a string, without what keeps quotes in it."""
    return re.sub(rb"\\(.)", rb"\1", text)


# ------------------------------------------------------------------- meanings


def _take(found: Said, unit: Unit, program: Program, site: SourceSite, text: bytes) -> None:
    """What one pragma says, for each way in which its macros may be defined."""
    for written in every(text, unit, program):
        if (match := _COMMENT.match(written)) is not None and match[1] == b"linker":
            options = _string(match[2])
            if options is None:
                told = "the linker options of this pragma could not be put together"
                found.lost += [(told, site)] if (told, site) not in found.lost else []
            else:
                found.settings += linker.settings(options, site)
        elif (match := _SECTION.match(written)) is not None:
            found.settings += _of_section(match[1].decode(), match[2], site)


def _of_section(kind: str, text: bytes, site: SourceSite) -> Iterator[BuildSetting]:
    """The name and rights in `section(...)`, `data_seg(...)` and their like."""
    given = [one.strip() for one in arguments(text)]
    words = [_string(one, is_bare=True) or "" for one in given]
    names = [word for word, one in zip(words, given, strict=True) if one[-1:] == b'"']
    if not names and "push" not in words:
        names = [one for one in words if one and one != "pop" and one.encode() not in _RIGHTS]
    rights = "".join(_RIGHTS.get(one.lower().encode(), "") for one in words[1:])
    if names and names[0] and rights:
        yield BuildSetting("/SECTION", f"{names[0]},{rights}", site)
    if names and names[0] and ("W" in rights or not rights):
        yield BuildSetting("data_seg" if kind in ("section", "bss_seg") else kind, names[0], site)


def _string(text: bytes, is_bare: bool = False) -> str | None:
    """The string that literals make together; `is_bare`: a word is one too."""
    parts = list[bytes]()
    for match in _PIECE.finditer(text):
        if match[1] is not None:
            parts.append(_plain(match[1]) if b'\\"' in match[0] else match[1])
        elif match[2] is not None and is_bare:
            parts.append(match[2])
        else:
            return None
    return b"".join(parts).decode("utf-8", "replace").strip()


# ----------------------------------------------------------------- assemblers

_REMARK = re.compile(rb";[^\n]*")
_SEGMENT = re.compile(rb"(?im)^[ \t]*(\S+)[ \t]+SEGMENT\b([^\n]*)")
_AREA = re.compile(rb"(?im)^[ \t]+AREA[ \t]+\|?([^\s|,]+)\|?[ \t]*,([^\n]*)")
_GNU = re.compile(rb"(?m)^[^\n#]*?\.section[ \t]+\"?([^\s\",]+)\"?[ \t]*,[ \t]*\"([a-z0-9]*)\"")
_GNU_INLINE = re.compile(
    rb'"[^"\n]*?\.section[ \t]+(?:\\")?([^\s"\\,]+)(?:\\")?[ \t]*,[ \t]*\\"([a-z0-9]*)\\"'
)


def of_assembly(source: Source) -> Iterator[BuildSetting]:
    """Sections of an assembler text and the rights that it asks for."""
    text = _REMARK.sub(lambda match: b" " * len(match[0]), source.text)
    for match in _SEGMENT.finditer(text):
        words = match[2].decode("ascii", "replace").upper().replace("'", " ").split()
        rights = "".join(_RIGHTS.get(word.lower().encode(), "") for word in words)
        if "CODE" in words and "E" not in rights:
            rights += "E"
        if rights:
            yield _setting(source, match, rights)
    for match in _AREA.finditer(text):
        said = match[2].decode("ascii", "replace").upper().replace(",", " ").split()
        if "CODE" in said:
            yield _setting(source, match, "EW" if "READWRITE" in said else "E")
    for match in _GNU.finditer(source.text):
        yield from _gnu(source, match)


def _gnu(source: Source, match: re.Match[bytes]) -> Iterator[BuildSetting]:
    """A section of GNU's assembler for PE: "x" is code; "w", "d" and "s" may be written, "r" not.

    The last of these counts, as in binutils 2.40 and, but for "wr" and "rw", in LLVM 14.
    """
    flags = match[2].decode("ascii")
    last = max((flags.rfind(one), one) for one in "wdsr")
    rights = "E" * ("x" in flags) + "W" * (last[0] >= 0 and last[1] != "r")
    if rights:
        yield _setting(source, match, rights)


def _setting(source: Source, match: re.Match[bytes], rights: str) -> BuildSetting:
    name = match[1].decode("utf-8", "replace")
    return BuildSetting(
        "/SECTION", f"{name},{rights}", SourceSite(source.path, *source.position(match.start(1)))
    )
