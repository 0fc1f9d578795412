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
from hvci.source.program.program import Macro, Program, Unit
from hvci.source.text.text import Source

MAX_DEPTH = 6
"""Macros in macros that are written out."""
MAX_CHOICES = 16
"""Definitions of one macro that are tried."""
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
        self.names = _names(program)

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
        for count, (offset, text) in enumerate(self._texts(unit)):
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
                body, _ = _between(plain, match.end())
                yield from ((match.start(), one) for one in _written(match[0] + body + b")"))
        for name in sorted(self.names & words):
            yield from self._uses(unit, name)

    def _uses(self, unit: Unit, name: bytes) -> Iterator[tuple[int, bytes]]:
        """The pragmas of a macro at each of its uses in a file."""
        plain, known = unit.source.plain, dict[bytes, list[bytes]]()
        for start in unit.source.places(name):
            if not unit.in_define(start) and unit.live(start) is not False:
                end = _end_of_use(plain, start + len(name))
                text = b"" if _is_directive(plain, start) else plain[start:end]
                if text not in known:
                    every = _every(text, unit, self.program)
                    known[text] = [one for made in every for one in _written(made)]
                yield from ((start, one) for one in known[text])


def _names(program: Program) -> frozenset[bytes]:
    """The macros of a program in which a pragma about sections stands, directly or in turn."""
    found = frozenset[bytes]()
    wanted = _OPERATORS
    for _ in range(MAX_DEPTH):
        more = set[bytes]()
        for path in program.paths:
            held = program.space.words.among(path, wanted)
            text = program.space.text(path) if held else None
            if text is not None and b"define" in program.space.words.of(path):
                every = text.directives.macros.items()
                more.update(
                    name for name, many in every if any(_holds(one, wanted) for one in many)
                )
        wanted = frozenset(more - found)
        found |= wanted
        if not wanted:
            break
    return found


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


def _end_of_use(text: bytes, at: int) -> int:
    behind = re.compile(rb"\s*\(").match(text, at)
    return _between(text, behind.end())[1] if behind is not None else at


def _between(text: bytes, start: int) -> tuple[bytes, int]:
    """The text up to the parenthesis that closes one before an offset, and where it ends."""
    depth = 1
    for match in re.compile(rb'"(?:[^"\\\n]|\\.)*"|[()]').finditer(text, start, start + 20_000):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if not depth:
            return text[start : match.start()], match.end()
    return text[start : start + 20_000], min(len(text), start + 20_000)


def _written(text: bytes) -> Iterator[bytes]:
    """The pragmas that operators in a text write."""
    for match in _OPERATOR.finditer(text):
        body, _ = _between(text, match.end())
        if match[0].startswith(b"__pragma"):
            yield body
        else:
            yield b"".join(map(_plain, _STRING.findall(body)))


def _plain(text: bytes) -> bytes:
    """What stands in a string, without what keeps quotes in it."""
    return re.sub(rb"\\(.)", rb"\1", text)


# --------------------------------------------------------------------- macros


def _every(text: bytes, unit: Unit, program: Program) -> list[bytes]:
    """A text with its macros written out, in each way in which some macro may be defined."""
    found = dict.fromkeys((_Writer(unit, program, 0).out(text),))
    for choice in range(1, MAX_CHOICES):
        writer = _Writer(unit, program, choice)
        more = writer.out(text)
        if not writer.has_choice:
            break
        found[more] = None
    return list(found)


class _Writer:
    """Writes macros out; of one with several definitions, that with a number, or the last."""

    def __init__(self, unit: Unit, program: Program, choice: int) -> None:
        self.unit, self.program, self.choice = unit, program, choice
        self.has_choice = False
        """Whether some macro has a definition of that number."""

    def out(self, text: bytes, depth: int = 0) -> bytes:
        """A text with its macros written out, as far as they are known."""
        if depth > MAX_DEPTH:
            return text
        parts, at = list[bytes](), 0
        for match in _WORD.finditer(text):
            if match.start() < at or match[0][:1] == b'"':
                continue
            macro = self._macro(match[0])
            if macro is None:
                continue
            end, given = match.end(), list[bytes]()
            if macro.parameters is not None:
                end = _end_of_use(text, match.end())
                if end == match.end():
                    continue
                given = _arguments(text[match.end() : end].strip()[1:-1])
            parts += (text[at : match.start()], self.out(_filled(macro, given), depth + 1))
            at = end
        return b"".join((*parts, text[at:]))

    def _macro(self, name: bytes) -> Macro | None:
        known = self.program.macros(name, self.unit.source.path)
        self.has_choice |= self.choice < len(known)
        return known[min(self.choice, len(known) - 1)][0] if known else None


def _arguments(text: bytes) -> list[bytes]:
    found, depth, at = list[bytes](), 0, 0
    for match in re.compile(rb'"(?:[^"\\\n]|\\.)*"|[(),]').finditer(text):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if match[0] == b"," and not depth:
            found.append(text[at : match.start()].strip())
            at = match.end()
    return [*found, text[at:].strip()]


def _filled(macro: Macro, given: list[bytes]) -> bytes:
    """The body of a macro with its arguments, `#` made strings and `##` joined."""
    body = _CONTINUED.sub(b" ", macro.body)
    names = dict(zip(macro.parameters or (), given, strict=False))
    if b"..." in (macro.parameters or ()):
        names[b"__VA_ARGS__"] = b", ".join(given[len(macro.parameters or ()) - 1 :])

    def quoted(match: re.Match[bytes]) -> bytes:
        if match[1] not in names:
            return match[0]
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", names[match[1]]) + b'"'

    body = re.sub(rb"(?<!#)#\s*([A-Za-z_]\w*)", quoted, body)
    body = _WORD.sub(lambda match: names.get(match[0], match[0]), body)
    return re.sub(rb"\s*##\s*", b"", body)


# ------------------------------------------------------------------- meanings


def _take(found: Said, unit: Unit, program: Program, site: SourceSite, text: bytes) -> None:
    """What one pragma says, for each way in which its macros may be defined."""
    for every in _every(text, unit, program):
        if (match := _COMMENT.match(every)) is not None and match[1] == b"linker":
            options = _string(match[2])
            if options is None:
                told = "the linker options of this pragma could not be put together"
                found.lost += [(told, site)] if (told, site) not in found.lost else []
            else:
                found.settings += linker.settings(options, site)
        elif (match := _SECTION.match(every)) is not None:
            found.settings += _of_section(match[1].decode(), match[2], site)


def _of_section(kind: str, text: bytes, site: SourceSite) -> Iterator[BuildSetting]:
    """The name and rights in `section(...)`, `data_seg(...)` and their like."""
    words = [_string(one, is_bare=True) or "" for one in _arguments(text)]
    words = [one for one in words if one not in ("push", "pop")]
    names = [one for one in words if one.lower().encode() not in _RIGHTS]
    rights = "".join(_RIGHTS.get(one.lower().encode(), "") for one in words[1:])
    if names and rights:
        yield BuildSetting("/SECTION", f"{names[0]},{rights}", site)
    elif names:
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
