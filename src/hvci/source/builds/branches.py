"""Runs the lines of a `sources` file: assignments, and which of them `!IF` lets count.

Theory of operation: conditions are evaluated as nmake does. What only the environment of a build
tells goes both ways: each is a variant of its own. Knows lines and names; knows no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hvci.source.builds.boolean import Boolean

MAX_VARIANTS = 16
"""Variants of one file; where there are more, the rest is left out."""
SHOWN = 40
"""Characters of a condition in a label."""
_LINE = re.compile(r"[^\n\\]*(?:\\(?:\r?\n|.|\Z)[^\n\\]*)*(?:\n|\Z)")
_ASSIGNMENT = re.compile(r"[ \t]*(\w+)[ \t]*=[ \t]*(.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"(?i)![ \t]*(\w+)[ \t]*(.*)", re.DOTALL)
_USED = re.compile(r"\$\((\w+)\)")
_TOKEN = re.compile(
    r'"[^"]*"|[A-Za-z_]\w*(?:\s*\([^()]*\))?|==|!=|<=|>=|&&|\|\||[<>!()]|0[xX][0-9a-fA-F]+|\d+|\S'
)
_ASKED = re.compile(r"(?i)(DEFINED|EXISTS?)\s*\(([^()]*)\)")


@dataclass(frozen=True)
class Assigned:
    """One assignment that counted."""

    name: str
    value: str
    offset: int


@dataclass
class Variant:
    """What the lines leave in one way to go through them."""

    chosen: dict[str, bool] = field(default_factory=dict)
    """Conditions that only the environment tells, and how they were taken."""
    values: dict[str, str] = field(default_factory=dict)
    assigned: list[Assigned] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The conditions as people read them."""
        parts = (("" if holds else "not ") + text[:SHOWN] for text, holds in self.chosen.items())
        return ", ".join(parts)


def variants(
    text: str, known: Mapping[str, str], telling: frozenset[str]
) -> tuple[list[Variant], bool]:
    """Every way through a text, and whether these are all.

    `known` are names that the environment gives; conditions matter around what is `telling`.
    """
    lines = [(match.start(), match[0]) for match in _LINE.finditer(text) if match[0]]
    telling = _used_by(lines, telling)
    found: list[Variant] = []
    todo: list[dict[str, bool]] = [{}]
    while todo and len(found) < MAX_VARIANTS:
        chosen = todo.pop(0)
        run = _Run(lines, known, telling, chosen)
        variant = run.variant()
        if run.asked is not None:
            todo += ({**chosen, run.asked: True}, {**chosen, run.asked: False})
        else:
            found.append(variant)
    return found, not todo


def _used_by(lines: list[tuple[int, str]], telling: frozenset[str]) -> frozenset[str]:
    """The names that others are made of, and these."""
    made: dict[str, set[str]] = {}
    for _, line in lines:
        if (match := _ASSIGNMENT.match(line)) is not None:
            used = {name.upper() for name in _USED.findall(match[2])}
            made.setdefault(match[1].upper(), set()).update(used)
    found, todo = set(telling), list(telling)
    while todo:
        more = made.get(todo.pop(), set()) - found
        found |= more
        todo += more
    return frozenset(found)


class _Asked(Exception):
    """A condition that only the environment tells."""


class _Run:
    """One way through the lines."""

    def __init__(
        self,
        lines: list[tuple[int, str]],
        known: Mapping[str, str],
        telling: frozenset[str],
        chosen: Mapping[str, bool],
    ) -> None:
        self.lines, self.known, self.telling = lines, known, telling
        self.made = Variant(dict(chosen))
        self.asked: str | None = None
        self.blocks: list[tuple[bool, bool]] = []
        """For each `!IF` around: whether its lines count, and whether some branch did."""

    def variant(self) -> Variant:
        """Go through the lines, up to a condition that is open."""
        try:
            for at, (offset, line) in enumerate(self.lines):
                self._line(at, offset, line)
        except _Asked as asked:
            self.asked = str(asked)
        return self.made

    def _line(self, at: int, offset: int, line: str) -> None:
        if (match := _DIRECTIVE.match(line)) is not None:
            self._directive(at, match[1].lower(), " ".join(match[2].split()))
        elif all(counts for counts, _ in self.blocks) and (match := _ASSIGNMENT.match(line)):
            name = match[1].upper()
            value = re.sub(r"\\\r?\n", " ", match[2]).strip()
            value = self.expanded(value)
            self.made.values[name] = value
            self.made.assigned.append(Assigned(name, value, offset + match.start(1)))

    def expanded(self, text: str) -> str:
        """A text with what is known put in."""
        held = {**self.known, **self.made.values}
        return _USED.sub(lambda match: held.get(match[1].upper(), match[0]), text)

    def _directive(self, at: int, word: str, rest: str) -> None:
        if word in ("if", "ifdef", "ifndef"):
            is_inside = all(counts for counts, _ in self.blocks)
            holds = is_inside and self._holds(at, word, rest)
            self.blocks.append((holds, holds or not is_inside))
        elif word == "endif" and self.blocks:
            self.blocks.pop()
        elif word.startswith("else") and self.blocks:
            done = self.blocks.pop()[1]
            inner = word[4:] or rest.partition(" ")[0].lower()
            if inner in ("if", "ifdef", "ifndef"):
                asked = rest if word[4:] else rest.partition(" ")[2]
                holds = not done and self._holds(at, inner, asked)
            else:
                holds = not done
            self.blocks.append((holds, done or holds))
        elif word == "undef" and all(counts for counts, _ in self.blocks):
            self.made.values.pop(rest.upper(), None)

    def _holds(self, at: int, word: str, rest: str) -> bool:
        held = {**self.known, **self.made.values}
        truth: bool | None = None
        if word != "if":
            if rest.upper() in held:
                truth = word == "ifdef"
        else:
            truth = _Condition(self.expanded(rest), held).truth()
        if truth is not None:
            return truth
        key = f"{word.upper()} {rest}"
        if key not in self.made.chosen:
            if not self._matters(at):
                return True
            raise _Asked(key)
        return self.made.chosen[key]

    def _matters(self, at: int) -> bool:
        """Whether something in the branches of a condition says what is compiled."""
        depth = 1
        for _, line in self.lines[at + 1 :]:
            if (match := _DIRECTIVE.match(line)) is not None:
                word = match[1].lower()
                depth += (word in ("if", "ifdef", "ifndef")) - (word == "endif")
                if not depth:
                    return False
            elif (match := _ASSIGNMENT.match(line)) and match[1].upper() in self.telling:
                return True
        return False


class _Condition(Boolean):
    either, both, negation = "||", "&&", "!"

    def __init__(self, text: str, held: Mapping[str, str]) -> None:
        super().__init__()
        self.is_open = "$" in text
        self.words = _TOKEN.findall(text)
        self.held = held

    def truth(self) -> bool | None:
        """Whether it holds; None: something in it is not known."""
        value = self.holds()
        return None if self.is_open or self.at < len(self.words) else value

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def term(self) -> bool:
        word = self.take()
        if (match := _ASKED.fullmatch(word)) is not None:
            is_there = match[1].upper() == "DEFINED" and match[2].strip().upper() in self.held
            self.is_open = self.is_open or not is_there
            return is_there
        operator = self.peek()
        if operator not in ("==", "!=", "<", ">", "<=", ">="):
            return bool(self._number(word))
        self.take()
        other = self.take()
        if word[:1] == '"' or other[:1] == '"':
            same = word.strip('"') == other.strip('"')
            self.is_open = self.is_open or operator not in ("==", "!=")
            return same == (operator == "==")
        a, b = self._number(word), self._number(other)
        return {
            "==": a == b,
            "!=": a != b,
            "<": a < b,
            ">": a > b,
            "<=": a <= b,
            ">=": a >= b,
        }[operator]

    def _number(self, word: str) -> int:
        try:
            return int(word, 0)
        except ValueError:
            self.is_open = True
            return 0


def telling_apart(every: list[Variant], names: frozenset[str]) -> Iterator[Variant]:
    """The variants that differ in what some names hold, the first of each."""
    seen: set[tuple[str | None, ...]] = set()
    for one in every:
        key = tuple(one.values.get(name) for name in sorted(names))
        if key not in seen:
            seen.add(key)
            yield one
