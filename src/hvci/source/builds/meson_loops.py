"""Writes out `foreach` of Meson files: the body once for each element of a list or dictionary.

Knows text: lists, dictionaries, texts that are put together. A loop over what is not written in the
file stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

MAX_ROUNDS = 200
"""Elements of one loop."""
MAX_LOOPS = 100
MAX_TEXT = 1 << 20
_LOOP = re.compile(
    r"(?m)^[ \t]*foreach[ \t]+(\w+)(?:[ \t]*,[ \t]*(\w+))?[ \t]*:\s*"
    r"((?:(?!^[ \t]*(?:end)?foreach\b)[\s\S])*?)^[ \t]*endforeach\b"
)
"""One that holds no other: its names, and what stands behind them."""
_TEXT = r"'((?:\\.|[^'\\\n])*)'"
_JOINED = re.compile(rf"{_TEXT}\s*([+/])\s*{_TEXT}")
_FILLED = re.compile(r"\bf('[^'\n@]*')")
_FORMATTED = re.compile(rf"{_TEXT}\s*\.format\(\s*((?:{_TEXT}\s*,?\s*)*)\)")
_COMPARED = re.compile(rf"{_TEXT}\s*([!=]=)\s*{_TEXT}")
_CHOSEN = re.compile(r"\b(true|false)\s*\?\s*")
_DECIDED = re.compile(
    r"(?m)^[ \t]*if[ \t]+(true|false)[ \t]*\n((?:(?![ \t]*(?:if|elif|else|endif)\b).*\n)*)"
    r"(?:[ \t]*else[ \t]*\n((?:(?![ \t]*(?:if|endif)\b).*\n)*))?[ \t]*endif\b"
)
"""A condition that is decided, without others inside."""
_LITERAL = re.compile(_TEXT)


def written_out(text: str) -> str:
    """A text with its loops written out, the inner ones first."""
    at = 0
    for _ in range(MAX_LOOPS):
        match = _LOOP.search(text, at)
        if match is None or len(text) > MAX_TEXT:
            break
        made = _rounds(text, match)
        if made is None:
            at = match.end()
        else:
            text = text[: match.start()] + made + text[match.end() :]
    return text


def _rounds(text: str, match: re.Match[str]) -> str | None:
    rest = match[3]
    if rest[:1] in ("[", "{"):
        value, body = _bracketed(rest), rest[len(_bracketed(rest)) :]
    else:
        name, _, body = rest.partition("\n")
        given = re.findall(rf"(?m)^[ \t]*{re.escape(name.strip())}[ \t]*(\+?=)(?!=)", text)
        found = re.search(rf"(?m)^[ \t]*{re.escape(name.strip())}[ \t]*=[ \t]*(?=[\[{{])", text)
        if given != ["="] or found is None:
            return None
        value = _bracketed(text[found.end() :])
    elements = [*_elements(value[1:-1])][: MAX_ROUNDS + 1]
    if len(elements) > MAX_ROUNDS or len(body) * len(elements) > MAX_TEXT:
        return None
    return "\n".join(_round(body, (match[1], match[2] or ""), one) for one in elements)


def _round(body: str, names: tuple[str, str], element: str) -> str:
    """The body for one element; of a dictionary that is a key with its value."""
    values = (element, "")
    if names[1]:
        colon = next(_places(element, ":"), len(element))
        values = element[:colon].strip(), element[colon + 1 :].strip()
    for name, value in zip(names, values, strict=True):
        if name:
            plain = value[1:-1] if value[:1] == "'" else value
            body = _FILLED.sub(r"\1", body.replace(f"@{name}@", plain))
            used = re.compile(rf"{_TEXT}|(?<![\w.@]){re.escape(name)}\b(?!\s*:)")
            body = used.sub(partial(_put, value), body)
    return _folded(body)


def _put(value: str, match: re.Match[str]) -> str:
    return match[0] if match[0][:1] == "'" else value


def _folded(text: str) -> str:
    """A text with what can be put together or compared by now."""
    for _ in range(MAX_LOOPS):
        before = text
        text = _JOINED.sub(lambda one: f"'{one[1]}{one[2].strip('+')}{one[3]}'", text)
        text = _FORMATTED.sub(_format, text)
        text = _COMPARED.sub(_compare, text)
        text = _DECIDED.sub(lambda one: one[2] if one[1] == "true" else one[3] or "", text)
        if (match := _CHOSEN.search(text)) is not None:
            text = _choose(text, match)
        if text == before:
            break
    return text


def _format(match: re.Match[str]) -> str:
    made = match[1]
    for number, given in enumerate(_LITERAL.findall(match[2])):
        made = made.replace(f"@{number}@", given)
    return f"'{made}'"


def _compare(match: re.Match[str]) -> str:
    return str((match[1] == match[3]) == (match[2] == "==")).lower()


def _choose(text: str, match: re.Match[str]) -> str:
    """A text in which a condition is decided gives way to what is chosen."""
    rest = text[match.end() :]
    colon = next(_places(rest, ":"), len(rest))
    end = colon + 1 + next(_places(rest[colon + 1 :], ",)\n"), len(rest) - colon - 1)
    chosen = rest[:colon] if match[1] == "true" else rest[colon + 1 : end]
    return text[: match.start()] + chosen.strip() + rest[end:]


def _bracketed(text: str) -> str:
    """The list or dictionary at the beginning of a text."""
    depth = 0
    for match in re.finditer(rf"{_TEXT}|[\[\](){{}}]", text):
        depth += {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}.get(match[0], 0)
        if not depth:
            return text[: match.end()]
    return text


def _elements(text: str) -> Iterator[str]:
    at = 0
    for end in (*_places(text, ","), len(text)):
        if text[at:end].strip():
            yield text[at:end].strip()
        at = end + 1


def _places(text: str, signs: str) -> Iterator[int]:
    """Where signs stand outside of texts and brackets; a bracket that closes another ends it."""
    depth = 0
    for match in re.finditer(rf"{_TEXT}|[\[\](){{}}{re.escape(signs)}]", text):
        if not depth and match[0] in signs:
            yield match.start()
        depth += {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}.get(match[0], 0)
        if depth < 0:
            return
