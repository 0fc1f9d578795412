"""Texts with their macros written out, and which macros of a program write some words.

Knows macros and strings; what a text says is for others.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hvci.source.program.program import Macro, Program, Unit

MAX_DEPTH = 6
"""Macros in macros that are written out."""
MAX_CHOICES = 16
"""Definitions of one macro that are tried."""
_CONTINUED = re.compile(rb"\\\r?\n")
_WORD = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*')


def names_of(
    program: Program, first: frozenset[bytes], holds: Callable[[Macro, frozenset[bytes]], bool]
) -> frozenset[bytes]:
    """The macros of a program that write some words, directly or in turn; `holds` says which."""
    found = frozenset[bytes]()
    wanted = first
    for _ in range(MAX_DEPTH):
        more = set[bytes]()
        for path in program.paths:
            held = program.space.words.among(path, wanted)
            text = program.space.text(path) if held else None
            if text is not None and b"define" in program.space.words.of(path):
                every = text.directives.macros.items()
                more.update(name for name, many in every if any(holds(one, wanted) for one in many))
        wanted = frozenset(more - found)
        found |= wanted
        if not wanted:
            break
    return found


def end_of_use(text: bytes, at: int) -> int:
    """Where a use of a macro ends whose name ends at an offset."""
    behind = re.compile(rb"\s*\(").match(text, at)
    return between(text, behind.end())[1] if behind is not None else at


def between(text: bytes, start: int) -> tuple[bytes, int]:
    """The text up to the parenthesis that closes one before an offset, and where it ends."""
    depth = 1
    for match in re.compile(rb'"(?:[^"\\\n]|\\.)*"|[()]').finditer(text, start, start + 20_000):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if not depth:
            return text[start : match.start()], match.end()
    return text[start : start + 20_000], min(len(text), start + 20_000)


def every(text: bytes, unit: Unit, program: Program) -> list[bytes]:
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
                end = end_of_use(text, match.end())
                if end == match.end():
                    continue
                given = arguments(text[match.end() : end].strip()[1:-1])
            parts += (text[at : match.start()], self.out(filled(macro, given), depth + 1))
            at = end
        return b"".join((*parts, text[at:]))

    def _macro(self, name: bytes) -> Macro | None:
        known = self.program.macros(name, self.unit.source.path)
        self.has_choice |= self.choice < len(known)
        return known[min(self.choice, len(known) - 1)][0] if known else None


def arguments(text: bytes) -> list[bytes]:
    """What stands between the commas of a list."""
    found, depth, at = list[bytes](), 0, 0
    for match in re.compile(rb'"(?:[^"\\\n]|\\.)*"|[(),]').finditer(text):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if match[0] == b"," and not depth:
            found.append(text[at : match.start()].strip())
            at = match.end()
    return [*found, text[at:].strip()]


def filled(macro: Macro, given: list[bytes]) -> bytes:
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
