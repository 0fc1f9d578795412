"""What an `#if` expression is worth, as C says: macros expanded, numbers computed.

A value is None where it depends on something that the sources do not say. Knows expressions;
asks its environment what a name stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from hvci.source.text.directives import Condition, Macro

Truth = bool | None
"""None: depends on something that the sources do not say."""
Number = int | None
Token = bytes | int | None
"""An operator or name, a number, or something unknown."""

MAX_DEPTH = 64
MAX_TOKENS = 4000
"""Tokens that one condition may expand to."""

_TOKEN = re.compile(
    rb"[A-Za-z_$]\w*|\.?[0-9](?:[\w.']|(?<=[eE])[-+])*|L?'(?:[^'\\\n]|\\.)+'|\"(?:[^\"\\\n]|\\.)*\""
    rb"|<<|>>|<=|>=|==|!=|&&|\|\||##|\.\.\.|[^\s]"
)
_NUMBER = re.compile(
    rb"(0[xX][0-9a-fA-F']+|0[bB][01']+|[0-9][0-9']*)(?:[uU]?(?:[lL]{0,2}|[zZ]|[iI](?:8|16|32|64))"
    rb"|[lL]{1,2}[uU]?)"
)
_HAS_INCLUDE = re.compile(rb'\b__has_include(?:_next)?\s*\(\s*(?:(["<])([^">\n]+)[">]|[^()]*)\s*\)')


class Environment(Protocol):
    """What is known at the place of a condition."""

    def defined(self, name: bytes) -> Truth:
        """Whether a name is defined."""

    def macro(self, name: bytes) -> Macro | int | None:
        """What a defined name stands for; None: cannot be told, or is not defined."""

    def undefined_value(self, name: bytes) -> Number:
        """What a name that stands for nothing is worth: 0 where all definitions are known."""

    def has_include(self, quoted: bool, name: str) -> Truth:
        """Whether a header can be included."""


def holds(condition: Condition, environment: Environment) -> Truth:
    """Whether a condition holds."""
    kind, text = condition
    if kind == "if":
        value = _evaluate(text, environment)
        return None if value is None else value != 0
    match = _FIRST_NAME.match(text)
    value = environment.defined(match[0]) if match else False
    return value if kind == "ifdef" or value is None else not value


_FIRST_NAME = re.compile(rb"[A-Za-z_]\w*")


def number(text: bytes) -> Number:
    """The value of an integer as C and MSVC spell it; None for anything else."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    digits = match[1].replace(b"'", b"")
    try:
        octal = len(digits) > 1 and digits[:1] == b"0" and digits.isdigit()
        return int(digits, 8 if octal else 0)
    except ValueError:
        return None


_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|([abfnrtv'\"?\\]))", re.DOTALL)
_ESCAPED = dict(zip(b"abfnrtv'\"?\\", b"\a\b\f\n\r\t\v'\"?\\", strict=True))


def character(text: bytes) -> Number:
    """The value of a character constant such as 'abcd' or '\\0'; None for anything else."""
    inner = text.strip().lstrip(b"L")[1:-1]
    if b"\\" in inner:
        if b"\\" in _ESCAPE.sub(b"", inner):
            return None
        inner = _ESCAPE.sub(_unescaped, inner)
    return int.from_bytes(inner, "big") if len(inner) <= 4 else None


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[3]:
        return bytes((_ESCAPED[match[3][0]],))
    return bytes((int(match[1], 16) if match[1] else int(match[2], 8) & 0xFF,))


@lru_cache(maxsize=1 << 14)
def tokens(text: bytes) -> tuple[Token, ...]:
    """A text in tokens, with its numbers read."""
    return tuple(_read(word) for word in _TOKEN.findall(text))


def _read(word: bytes) -> Token:
    if word[:1].isdigit():
        return number(word)
    if word[-1:] == b"'" and len(word) > 2:
        return character(word)
    return word


def _evaluate(text: bytes, environment: Environment) -> Number:
    if b"__has_include" in text:
        text = _HAS_INCLUDE.sub(lambda match: _has(match, environment), text)
    expansion = _Expansion(environment)
    parser = _Parser(expansion.expand(tokens(text), frozenset(), 0), environment)
    value = parser.conditional()
    return None if parser.at < len(parser.tokens) or parser.gave_up else value


def _has(match: re.Match[bytes], environment: Environment) -> bytes:
    if match[2] is None:
        return b" __unknown__() "
    found = environment.has_include(match[1] == b'"', match[2].decode("utf-8", "replace"))
    return b" __unknown__() " if found is None else b" 1 " if found else b" 0 "


class _Expansion:
    """Replaces macros until none is left; hostile ones are given up."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.left = MAX_TOKENS

    def expand(self, given: tuple[Token, ...], hidden: frozenset[bytes], depth: int) -> list[Token]:
        found: list[Token] = []
        words = list(given)
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            self.left -= 1
            if self.left < 0 or depth > MAX_DEPTH:
                return [None]
            if not isinstance(word, bytes) or not (word[:1].isalpha() or word[:1] in b"_$"):
                found.append(word)
            elif word == b"defined":
                at = self._defined(words, at, found)
            elif word == b"__unknown__":
                found.append(None)
                at += 2
            elif word in hidden:
                found.append(word)
            else:
                at = self._name(word, words, at, found, hidden, depth)
        return found

    def _defined(self, words: list[Token], at: int, found: list[Token]) -> int:
        inside = at < len(words) and words[at] == b"("
        at += inside
        name = words[at] if at < len(words) else None
        value = self.environment.defined(name) if isinstance(name, bytes) else None
        found.append(None if value is None else int(value))
        return at + 1 + inside

    def _name(
        self,
        name: bytes,
        words: list[Token],
        at: int,
        found: list[Token],
        hidden: frozenset[bytes],
        depth: int,
    ) -> int:
        macro = self.environment.macro(name)
        if macro is None:
            found.append(name if self.environment.defined(name) is False else None)
        elif isinstance(macro, int):
            found.append(macro)
        elif macro.parameters is None:
            inner = self.expand(tokens(macro.body), hidden | {name}, depth + 1)
            last = inner[-1] if inner else None
            if isinstance(last, bytes) and at < len(words) and words[at] == b"(":
                words[at:at] = [inner.pop()]
            found += inner
        elif at < len(words) and words[at] == b"(":
            given, at = _arguments(words, at)
            body = self._substituted(macro, given, hidden, depth)
            found += self.expand(body, hidden | {name}, depth + 1)
        else:
            found.append(name)
        return at

    def _substituted(
        self, macro: Macro, given: list[list[Token]], hidden: frozenset[bytes], depth: int
    ) -> tuple[Token, ...]:
        names = macro.parameters or ()
        by_name: dict[Token, list[Token]] = {}
        for index, name in enumerate(names):
            if name == b"...":
                rest = given[index:]
                joined = [word for one in rest for word in (*one, b",")][:-1]
                by_name[b"__VA_ARGS__"] = joined
            else:
                by_name[name] = given[index] if index < len(given) else []
        body = list(tokens(macro.body))
        found: list[Token] = []
        for at, word in enumerate(body):
            pasted = b"##" in (body[at - 1 : at] + body[at + 1 : at + 2])
            if word not in by_name:
                found.append(word)
            elif pasted:
                found += by_name[word]
            else:
                found += self.expand(tuple(by_name[word]), hidden, depth + 1)
        return tuple(_pasted(found)) if b"##" in body else tuple(found)


def _pasted(words: list[Token]) -> list[Token]:
    """The tokens with what stands around `##` made one."""
    found: list[Token] = []
    at = 0
    while at < len(words):
        if words[at] == b"##" and found and at + 1 < len(words):
            left, right = found.pop(), words[at + 1]
            sides = [str(x).encode() if isinstance(x, int) else x for x in (left, right)]
            found += (
                [None] if None in sides else tokens(b"".join(x for x in sides if x is not None))
            )
            at += 2
        else:
            found.append(words[at])
            at += 1
    return found


def _arguments(words: list[Token], at: int) -> tuple[list[list[Token]], int]:
    """The arguments in the parentheses that open at an index, and the index behind them."""
    found: list[list[Token]] = [[]]
    depth = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == b"(":
            depth += 1
            if depth == 1:
                continue
        elif word == b")":
            depth -= 1
            if depth == 0:
                break
        if word == b"," and depth == 1:
            found.append([])
        else:
            found[-1].append(word)
    return found, at


class _Parser:
    """Computes the value of expanded tokens."""

    def __init__(self, given: list[Token], environment: Environment) -> None:
        self.tokens = given
        self.environment = environment
        self.at = 0
        self.depth = 0
        self.gave_up = False

    def peek(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else b""

    def conditional(self) -> Number:
        value = self.binary(0)
        if self.peek() != b"?":
            return value
        self.at += 1
        first = self.conditional()
        if self.peek() == b":":
            self.at += 1
        second = self.conditional()
        if value is None:
            return first if first == second else None
        return first if value else second

    def binary(self, level: int) -> Number:
        """What operators that bind at least so tightly make, from left to right."""
        left = self.unary()
        while isinstance(word := self.peek(), bytes) and _BINDS.get(word, -1) >= level:
            self.at += 1
            left = _apply(word, left, self.binary(_BINDS[word] + 1))
        return left

    def unary(self) -> Number:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.gave_up = True
            return None
        word = self.peek()
        self.at += 1
        value: Number = None
        if isinstance(word, int):
            value = word
        elif word == b"(":
            value = self.conditional()
            if self.peek() == b")":
                self.at += 1
        elif word in _UNARY:
            inner = self.unary()
            value = None if inner is None else _UNARY[word](inner)
        elif isinstance(word, bytes) and (word[:1].isalpha() or word[:1] in (b"_", b"$")):
            value = self.environment.undefined_value(word)
            if self.peek() == b"(":  # looks like a macro that is not known
                _, self.at = _arguments(self.tokens, self.at)
                value = None
        elif word is not None:
            self.gave_up = True
        self.depth -= 1
        return value


_UNARY: dict[Token, Callable[[int], int]] = {
    b"!": lambda value: int(value == 0),
    b"~": lambda value: ~value,
    b"-": lambda value: -value,
    b"+": lambda value: value,
}
_LEVELS: tuple[tuple[bytes, ...], ...] = (
    (b"||",),
    (b"&&",),
    (b"|",),
    (b"^",),
    (b"&",),
    (b"==", b"!="),
    (b"<", b">", b"<=", b">="),
    (b"<<", b">>"),
    (b"+", b"-"),
    (b"*", b"/", b"%"),
)
_BINDS = {word: level for level, words in enumerate(_LEVELS) for word in words}
_OPERATORS: dict[bytes, Callable[[int, int], int]] = {
    b"|": lambda a, b: a | b,
    b"^": lambda a, b: a ^ b,
    b"&": lambda a, b: a & b,
    b"==": lambda a, b: int(a == b),
    b"!=": lambda a, b: int(a != b),
    b"<": lambda a, b: int(a < b),
    b">": lambda a, b: int(a > b),
    b"<=": lambda a, b: int(a <= b),
    b">=": lambda a, b: int(a >= b),
    b"<<": lambda a, b: (a << min(max(b, 0), 63)) & _WORD,
    b">>": lambda a, b: a >> min(max(b, 0), 63),
    b"+": lambda a, b: a + b,
    b"-": lambda a, b: a - b,
    b"*": lambda a, b: a * b,
    b"/": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    b"%": lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1),
}
_WORD = (1 << 64) - 1


def _apply(operator: bytes, left: Number, right: Number) -> Number:
    if operator == b"||":
        if left or right:
            return 1
        return None if None in (left, right) else 0
    if operator == b"&&":
        if 0 in (left, right):
            return 0
        return None if None in (left, right) else 1
    if left is None or right is None or (operator in (b"/", b"%") and right == 0):
        return None
    return _OPERATORS[operator](left, right)
